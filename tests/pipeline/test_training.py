"""The training loop on a tiny linear model: schedules, checkpoints, the best state, losses that explode."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import flip, make_context, make_job
from torch import Tensor, nn

from fusionseg.models.weights import read_weights
from fusionseg.pipeline.artifact import Record
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.job import Context, Job
from fusionseg.pipeline.profile import Training
from fusionseg.pipeline.training import seed_of, train
from fusionseg.pipeline.training_step import Task

STEPS = 12
Hook = Callable[[int], None]


def settings(**changes: Any) -> Training:
    return Training(**{"steps": STEPS, "validate_every": 4, "lr_head": 0.05, "loss": "cross-entropy", **changes})


class Tiny:
    """A linear model on random pixels, with hooks that may raise while a batch is made or while it is validated."""

    def __init__(
        self, root: Path, setting: Training, at_batch: Hook = lambda step: None, at_validation: Hook = lambda n: None
    ) -> None:
        torch.manual_seed(0)
        self.model = nn.Conv2d(3, 2, 1)
        self.settings = setting
        self.context: Context = make_context(root, workers=1, checkpoint_seconds=1000)
        self.job: Job = make_job(
            "motion-training", settings={"motion-training": setting.model_dump(mode="json")}, suffix=".safetensors"
        )
        self.at_batch, self.at_validation = at_batch, at_validation
        self.batches: list[int] = []
        self.validated: list[dict[str, Tensor]] = []
        self.scores: list[float] | None = None

    def batch(self, step: int, positions: range) -> dict[str, Tensor]:
        self.at_batch(step)
        self.batches.append(step)
        images = np.random.default_rng(step).normal(0, 1, (2, 3, 4, 4)).astype(np.float32)
        return {"images": torch.from_numpy(images), "labels": torch.from_numpy((images[:, 0] > 0).astype(np.int64))}

    @staticmethod
    def logits(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return model(tensors["images"]), tensors["labels"]

    def validate(self, model: nn.Module) -> float:
        self.at_validation(len(self.validated))
        assert not model.training
        self.validated.append({k: v.clone() for k, v in model.state_dict().items()})
        if self.scores:
            return self.scores[len(self.validated) - 1]
        images = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(9))
        return float((model(images).argmax(1) == (images[:, 0] > 0)).float().mean())

    def train(self, validate: bool = True) -> Record:
        groups = [{"params": list(self.model.parameters()), "lr": self.settings.lr_head}]
        task = Task(self.model, self.batch, self.logits, self.validate if validate else None, groups)
        return train(task, self.settings, self.job, self.context, {"kind": "tiny"})

    def result(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        state, header = read_weights(self.context.root / self.job.path())
        return state, {name: header[name] for name in ("history", "counts", "content", "kind", "key")}

    @property
    def checkpoint(self) -> Path:
        return self.context.root / self.job.path().with_suffix(".checkpoint")


def interrupt_at(place: int) -> Hook:
    def hook(now: int) -> None:
        if now == place:
            raise KeyboardInterrupt

    return hook


def assert_same(found: Tiny, expected: Tiny) -> None:
    (state, header), (wanted, wanted_header) = found.result(), expected.result()
    assert header == wanted_header
    assert all(torch.equal(state[name], value) for name, value in wanted.items())


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["one-cycle", "poly"])
@pytest.mark.parametrize("step", [1, 4, 7, 11])
def test_interrupted_training_continues_to_the_same_weights(
    tmp_path: Path, optimiser: str, schedule: str, step: int
) -> None:
    setting = settings(optimiser=optimiser, schedule=schedule)
    whole = Tiny(tmp_path / "whole", setting)
    whole.train()
    first = Tiny(tmp_path / "cut", setting, at_batch=interrupt_at(step))
    with pytest.raises(KeyboardInterrupt):
        first.train()
    assert first.checkpoint.exists() and not (first.context.root / first.job.path()).exists()
    second = Tiny(tmp_path / "cut", setting)
    second.train()
    assert second.batches == list(range(step, STEPS))  # what was done isn't done again
    assert_same(second, whole)
    assert not second.checkpoint.exists()


@pytest.mark.parametrize("validation", [0, 1, 2])
def test_interrupted_while_validating_nothing_is_lost(tmp_path: Path, validation: int) -> None:
    """The third validation is the last step's: without it, its figures and its state would be missing."""
    whole = Tiny(tmp_path / "whole", settings())
    whole.train()
    first = Tiny(tmp_path / "cut", settings(), at_validation=interrupt_at(validation))
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = Tiny(tmp_path / "cut", settings())
    second.train()
    assert_same(second, whole)


def test_interrupted_while_weights_are_updated_nothing_is_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes at any moment; between the weights' update and the count of steps it must not apply a step twice."""
    whole = Tiny(tmp_path / "whole", settings())
    whole.train()
    updates = 0
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: Any, **named: Any) -> Any:
        nonlocal updates
        result = original(self, *arguments, **named)
        updates += 1
        if updates == 6:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(KeyboardInterrupt):
        Tiny(tmp_path / "cut", settings()).train()
    monkeypatch.undo()
    second = Tiny(tmp_path / "cut", settings())
    second.train()
    assert_same(second, whole)


def test_killed_training_continues_from_its_last_checkpoint(tmp_path: Path) -> None:
    """A kill runs no handler: take the checkpoint of a training that saves after every step, half way."""
    whole = Tiny(tmp_path / "whole", settings())
    whole.train()
    kept: list[bytes] = []
    cut = Tiny(tmp_path / "cut", settings())
    cut.context = make_context(tmp_path / "cut", workers=1, checkpoint_seconds=0)
    cut.at_batch = lambda step: kept.append(cut.checkpoint.read_bytes()) if step == 8 else None
    cut.train()
    (cut.context.root / cut.job.path()).unlink()
    cut.checkpoint.write_bytes(kept[0])
    second = Tiny(tmp_path / "cut", settings())
    second.train()
    assert 0 < second.batches[0] < 8
    assert_same(second, whole)


def damage_by(change: Callable[[Tiny], object], root: Path) -> tuple[Tiny, Tiny]:
    """Train whole; interrupt, damage the checkpoint, train again; return both."""
    whole = Tiny(root / "whole", settings())
    whole.train()
    first = Tiny(root / "cut", settings(), at_batch=interrupt_at(7))
    with pytest.raises(KeyboardInterrupt):
        first.train()
    change(first)
    second = Tiny(root / "cut", settings())
    second.train()
    return second, whole


@pytest.mark.parametrize("kept", [0, 10, -20])
def test_truncated_checkpoint_is_passed_over(tmp_path: Path, kept: int) -> None:
    def change(tiny: Tiny) -> None:
        tiny.checkpoint.write_bytes(tiny.checkpoint.read_bytes()[:kept])

    second, whole = damage_by(change, tmp_path)
    assert second.batches == list(range(STEPS))
    assert_same(second, whole)


def test_checkpoint_with_a_flipped_bit_is_passed_over(tmp_path: Path) -> None:
    def change(tiny: Tiny) -> None:
        weight = tiny.model.weight.detach().numpy().tobytes()
        flip(tiny.checkpoint, tiny.checkpoint.read_bytes().index(weight) + 3, 6)

    second, whole = damage_by(change, tmp_path)
    assert_same(second, whole)


def test_foreign_checkpoint_is_passed_over(tmp_path: Path) -> None:
    second, whole = damage_by(lambda tiny: torch.save({"weights": torch.zeros(3)}, tiny.checkpoint), tmp_path)
    assert_same(second, whole)


def test_checkpoint_of_other_settings_is_passed_over(tmp_path: Path) -> None:
    def change(tiny: Tiny) -> None:
        other = Tiny(tmp_path / "other", settings(lr_head=0.5), at_batch=interrupt_at(5))
        with pytest.raises(KeyboardInterrupt):
            other.train()
        tiny.checkpoint.write_bytes(other.checkpoint.read_bytes())

    second, whole = damage_by(change, tmp_path)
    assert second.batches == list(range(STEPS))
    assert_same(second, whole)


def test_best_state_by_validation_is_kept(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, settings())
    tiny.scores = [0.25, 0.5, 0.125]
    record = tiny.train()
    state, header = tiny.result()
    assert all(torch.equal(state[k], v) for k, v in tiny.validated[1].items())
    assert not torch.equal(state["weight"], tiny.validated[2]["weight"])
    assert record.counts["best_validation_j"] == 0.5 and record.counts["steps"] == STEPS
    assert [(row["step"], row["J"]) for row in header["history"]] == [(4, 0.25), (8, 0.5), (12, 0.125)]


def test_the_first_of_equals_is_kept_and_a_j_of_zero_counts(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, settings())
    tiny.scores = [0.0, 0.0, 0.0]
    tiny.train()
    assert torch.equal(tiny.result()[0]["weight"], tiny.validated[0]["weight"])


def test_without_validation_the_last_state_is_kept(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, settings(validate_every=5))
    record = tiny.train(validate=False)
    state, header = tiny.result()
    assert torch.equal(state["weight"], tiny.model.state_dict()["weight"])
    assert "best_validation_j" not in record.counts
    assert [row["step"] for row in header["history"]] == [5, 10, 12]  # the last step always
    assert all("J" not in row for row in header["history"])


def test_training_learns_and_repeats_itself(tmp_path: Path) -> None:
    runs = [Tiny(tmp_path / name, settings(steps=30, validate_every=30, lr_head=0.2)) for name in ("a", "b")]
    records = [tiny.train() for tiny in runs]
    assert records[0].content == records[1].content
    assert records[0].counts["best_validation_j"] > 0.9


def test_batches_prepared_by_more_threads_give_the_same(tmp_path: Path) -> None:
    one, many = Tiny(tmp_path / "one", settings()), Tiny(tmp_path / "many", settings())
    many.context = make_context(tmp_path / "many", workers=4)
    assert one.train().content == many.train().content


def test_a_loss_that_is_no_number_ends_training_with_advice(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, settings())
    clean = tiny.batch
    tiny.batch = lambda step, all_: {
        **clean(step, all_),
        "images": clean(step, all_)["images"] * (np.nan if step == 5 else 1),
    }  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"the loss became nan: lower the learning rates \(lr_head is 0\.05\)"):
        tiny.train()
    assert not (tmp_path / tiny.job.path()).exists()
    assert bool(tiny.model.weight.isfinite().all())  # the weights were left as they were


def test_gradients_are_clipped(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, settings(steps=1, optimiser="sgd", schedule="poly", lr_head=1.0, weight_decay=0))
    images = torch.full((1, 3, 2, 2), 1e4)
    tiny.batch = lambda *_: {"images": images, "labels": torch.ones(1, 2, 2, dtype=torch.long)}  # type: ignore[method-assign]
    with torch.no_grad():
        tiny.model.bias.copy_(torch.tensor([1e6, 0.0]))  # type: ignore[union-attr]
    before = tiny.model.weight.detach().clone()
    tiny.train(validate=False)
    assert (tiny.model.weight.detach() - before).norm().item() == pytest.approx(10, rel=1e-2)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("schedule", ["one-cycle", "poly"])
def test_the_shortest_trainings_work(tmp_path: Path, steps: int, schedule: str) -> None:
    tiny = Tiny(tmp_path, settings(steps=steps, schedule=schedule))
    assert tiny.train().counts["steps"] == steps


def test_seeds_differ_by_stage_and_setting_and_repeat() -> None:
    jobs = [make_job(stage) for stage in ("appearance-training", "motion-training")]
    seeds = [seed_of(job, settings(seed=seed)) for job in jobs for seed in (0, 1)]
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**32 for seed in seeds)
    assert seeds[0] == seed_of(jobs[0], settings(seed=0, steps=99))
