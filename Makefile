# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What an installed copy depends on: links are made file by file, so a new file needs a new installation.
SOURCES := pyproject.toml $(wildcard constraints*.txt fusionseg/*.py fusionseg/cli/*.py models/*.py pipeline/*.py pipeline/*/* pipeline/*/templates/* flows/*.py profiles/* data_manifests/* weights/* weights/*/*)

# The Python that makes .venv: the one that made it, where that still works.
MAKER = $(if $(shell $(BIN)/python -c "import pip" 2> /dev/null && echo yes),$(BIN)/python,$(PYTHON))
# The build of PyTorch: CPU=1 for processors alone, CPU=0 for the default one; without either, what .venv holds.
HELD := $(if $(wildcard $(VENV)/torch-cpu),cpu,default)
TORCH := $(or $(if $(filter 1,$(CPU)),cpu),$(if $(filter 0,$(CPU)),default),$(HELD))
CONSTRAINTS := constraints$(if $(filter cpu,$(TORCH)),-cpu).txt
ifeq ($(origin CPU),command line)
ifeq ($(filter 0 1,$(CPU)),)
$(error CPU=$(CPU): say CPU=1 for PyTorch without CUDA, CPU=0 for the default build)
endif
endif
ifneq ($(TORCH),$(HELD))
.PHONY: $(VENV)/installed
endif

.PHONY: demo test fast lint types docs clean

demo: $(VENV)/installed
	$(BIN)/fusionseg demo

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

fast: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "not real and not system"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .

# From a folder without Python: in this one mypy would take fusionseg/ for the whole package.
types: $(VENV)/installed-dev
	cd docs && ../$(BIN)/mypy --config-file ../pyproject.toml -p fusionseg
	cd docs_site && ../$(BIN)/mypy --config-file ../pyproject.toml .

# Strict: links, anchors and pages left out are errors. Read build/site/index.html; the search works with `mkdocs serve`.
docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What the machine lacks is told before anything is downloaded. A .venv without pip is a broken one, and made anew; so is
# one that holds the other build of PyTorch. OpenCV's build with windows shares its files with the one without.
# What follows from the graph is written too: deployments, the DAG in pipeline/__init__.py.
# "strict" links file by file, so that type checkers follow and the folders of the checkout keep their names.
$(VENV)/installed: $(SOURCES)
	@command -v $(MAKER) > /dev/null || { echo "fusionseg: error: no $(PYTHON) here; install it, or name one by PYTHON=" >&2; exit 2; }
	@$(MAKER) -I fusionseg/machine.py $(VENV) --torch $(TORCH)
	@test $(MAKER) = $(BIN)/python || $(PYTHON) -m venv --clear $(VENV)
ifeq ($(TORCH),cpu)
	@$(BIN)/python -I fusionseg/machine.py --wheels $(CONSTRAINTS)
endif
ifneq ($(TORCH),$(HELD))
	$(MAKER) -m venv --clear $(VENV)
endif
	@$(if $(filter cpu,$(TORCH)),touch $(VENV)/torch-cpu)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) --config-settings editable_mode=strict -e .
	$(BIN)/python -m fusionseg.flows.derived
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) --config-settings editable_mode=strict -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .venv-newest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
