"""Every example in a docstring of `models` and `pipeline` is run."""

import doctest
import importlib
import pkgutil

import pytest

import fusionseg
import fusionseg.models
import fusionseg.pipeline

MODULES = ["fusionseg"] + [
    module.name
    for room in (fusionseg.models, fusionseg.pipeline)
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
]


def test_modules_are_found() -> None:
    some = {"fusionseg.models.stream", "fusionseg.pipeline.scoring.measures", "fusionseg.pipeline.graph"}
    assert some <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_examples_there_are() -> None:
    found = sum(len(doctest.DocTestFinder().find(importlib.import_module(name))) > 0 for name in MODULES)
    assert found == len(MODULES)
    examples = sum(
        len(test.examples) for name in MODULES for test in doctest.DocTestFinder().find(importlib.import_module(name))
    )
    assert examples >= 10
