"""The training loop on a small model: interruptions, checkpoints, the state that is kept, parts of a batch, errors."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import flip, make_context
from small_training import STEPS, Hook, Small, assert_same, settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from fusionseg.models.labels import VOID
from fusionseg.models.weights import read_weights
from fusionseg.pipeline.basics.processes import Processes
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.training.loop import seed_of

# Settings, and whether the model has BatchNorm that learns.
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "adamw": ({"optimiser": "adamw"}, False),
    "sgd": ({"optimiser": "sgd", "schedule": "poly"}, False),
    "all": ({"optimiser": "sgd", "schedule": "poly", "ema": 0.9, "accumulate": 2, "balance": True}, True),
    "bf16": ({"optimiser": "adamw", "ema": 0.99, "bf16": True, "loss": "cross-entropy+dice", "keep": "last"}, True),
}


def interrupt_at(place: int) -> Hook:
    def hook(now: int) -> None:
        if now == place:
            raise KeyboardInterrupt

    return hook


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [1, 4, 11])
def test_interrupted_training_continues_to_the_same_weights(tmp_path: Path, kind: str, step: int) -> None:
    setting, norm = settings(**KINDS[kind][0]), KINDS[kind][1]
    whole = Small(tmp_path / "whole", setting, norm=norm)
    whole.train()
    first = Small(tmp_path / "cut", setting, at_batch=interrupt_at(step), norm=norm)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    assert first.checkpoint.exists() and not (first.context.root / first.job.path).exists()
    second = Small(tmp_path / "cut", setting, norm=norm)
    second.train()
    assert second.batches == list(range(step, STEPS))  # what was done isn't done again
    assert_same(second, whole)
    assert not second.checkpoint.exists()


@pytest.mark.parametrize("validation", [0, 1, 2])
def test_interrupted_while_validating_nothing_is_lost(tmp_path: Path, validation: int) -> None:
    """The third validation is the last step's: without it, its figures and its state would be missing."""
    whole = Small(tmp_path / "whole", settings())
    whole.train()
    first = Small(tmp_path / "cut", settings(), at_validation=interrupt_at(validation))
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = Small(tmp_path / "cut", settings())
    second.train()
    assert_same(second, whole)


def test_interrupted_while_weights_are_updated_nothing_is_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes at any moment; between the weights' update and the count of steps it must not apply a step twice."""
    whole = Small(tmp_path / "whole", settings())
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
        Small(tmp_path / "cut", settings()).train()
    monkeypatch.undo()
    second = Small(tmp_path / "cut", settings())
    second.train()
    assert_same(second, whole)


def test_interrupted_after_statistics_were_learnt_nothing_is_learnt_twice(tmp_path: Path) -> None:
    """A forward pass changes the statistics of trained BatchNorm before the step is done."""
    setting = settings(accumulate=2)
    whole = Small(tmp_path / "whole", setting, norm=True)
    whole.train()
    first = Small(tmp_path / "cut", setting, norm=True, checkpoint_seconds=0)
    passes = 0

    def logits(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal passes
        passes += 1
        found = Small.logits(model, tensors)
        if passes == 12:
            raise KeyboardInterrupt
        return found

    first.logits = logits  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = Small(tmp_path / "cut", setting, norm=True)
    second.train()
    assert second.batches[0] == 5
    assert_same(second, whole)


def test_killed_training_continues_from_its_last_checkpoint(tmp_path: Path) -> None:
    """A kill runs no handler: take the checkpoint of a training that saves after every step, half way."""
    whole = Small(tmp_path / "whole", settings())
    whole.train()
    kept: list[bytes] = []
    cut = Small(tmp_path / "cut", settings(), checkpoint_seconds=0)
    cut.at_batch = lambda step: kept.append(cut.checkpoint.read_bytes()) if step == 8 else None
    cut.train()
    (cut.context.root / cut.job.path).unlink()
    cut.checkpoint.write_bytes(kept[0])
    second = Small(tmp_path / "cut", settings())
    second.train()
    assert 0 < second.batches[0] < 8
    assert_same(second, whole)


def damage_by(change: Callable[[Small], object], root: Path) -> tuple[Small, Small]:
    """Train whole; interrupt, damage the checkpoint, train again; return both."""
    whole = Small(root / "whole", settings())
    whole.train()
    first = Small(root / "cut", settings(), at_batch=interrupt_at(7))
    with pytest.raises(KeyboardInterrupt):
        first.train()
    change(first)
    second = Small(root / "cut", settings())
    second.train()
    return second, whole


@pytest.mark.parametrize("kept", [0, 10, -20])
def test_truncated_checkpoint_is_passed_over(tmp_path: Path, kept: int) -> None:
    def change(small: Small) -> None:
        small.checkpoint.write_bytes(small.checkpoint.read_bytes()[:kept])

    second, whole = damage_by(change, tmp_path)
    assert second.batches == list(range(STEPS))
    assert_same(second, whole)


def test_checkpoint_with_a_flipped_bit_is_passed_over(tmp_path: Path) -> None:
    def change(small: Small) -> None:
        weight = small.model.weight.detach().numpy().tobytes()
        flip(small.checkpoint, small.checkpoint.read_bytes().index(weight) + 3, 6)

    second, whole = damage_by(change, tmp_path)
    assert_same(second, whole)


def test_foreign_checkpoint_is_passed_over(tmp_path: Path) -> None:
    second, whole = damage_by(lambda small: torch.save({"weights": torch.zeros(3)}, small.checkpoint), tmp_path)
    assert_same(second, whole)


def test_checkpoint_of_other_settings_is_passed_over(tmp_path: Path) -> None:
    def change(small: Small) -> None:
        other = Small(tmp_path / "other", settings(lr_head=0.5), at_batch=interrupt_at(5))
        with pytest.raises(KeyboardInterrupt):
            other.train()
        small.checkpoint.write_bytes(other.checkpoint.read_bytes())

    second, whole = damage_by(change, tmp_path)
    assert second.batches == list(range(STEPS))
    assert_same(second, whole)


def test_best_state_by_validation_is_kept(tmp_path: Path) -> None:
    small = Small(tmp_path, settings())
    small.scores = [0.25, 0.5, 0.125]
    record = small.train()
    state, header = small.result()
    assert all(torch.equal(state[k], v) for k, v in small.validated[1].items())
    assert not torch.equal(state["weight"], small.validated[2]["weight"])
    assert record.counts["best_validation_j"] == 0.5 and record.counts["steps"] == STEPS
    assert [(row["step"], row["J"]) for row in header["history"]] == [(4, 0.25), (8, 0.5), (12, 0.125)]


def test_the_first_of_equals_is_kept_and_a_j_of_zero_counts(tmp_path: Path) -> None:
    small = Small(tmp_path, settings())
    small.scores = [0.0, 0.0, 0.0]
    small.train()
    assert torch.equal(small.result()[0]["weight"], small.validated[0]["weight"])


def test_without_validation_the_last_state_is_kept(tmp_path: Path) -> None:
    small = Small(tmp_path, settings(validate_every=5))
    record = small.train(validate=False)
    state, header = small.result()
    assert torch.equal(state["weight"], small.model.state_dict()["weight"])
    assert "best_validation_j" not in record.counts
    assert [row["step"] for row in header["history"]] == [5, 10, 12]  # the last step always
    assert all("J" not in row for row in header["history"])


def test_training_learns_and_repeats_itself(tmp_path: Path) -> None:
    runs = [Small(tmp_path / name, settings(steps=30, validate_every=30, lr_head=0.2)) for name in ("a", "b")]
    records = [small.train() for small in runs]
    assert records[0].content == records[1].content
    assert records[0].counts["best_validation_j"] > 0.9


def test_batches_prepared_by_more_threads_give_the_same(tmp_path: Path) -> None:
    one, many = Small(tmp_path / "one", settings()), Small(tmp_path / "many", settings())
    many.context = make_context(tmp_path / "many", workers=4)
    assert one.train().content == many.train().content


def test_a_loss_that_is_no_number_ends_training_with_advice(tmp_path: Path) -> None:
    small = Small(tmp_path, settings())
    clean = small.batch
    small.batch = lambda step, all_: {
        **clean(step, all_),
        "images": clean(step, all_)["images"] * (np.nan if step == 5 else 1),
    }  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"the loss became nan: lower the learning rates \(lr_head is 0\.05\)"):
        small.train()
    assert not (tmp_path / small.job.path).exists()
    assert bool(small.model.weight.isfinite().all())  # the weights were left as they were


def test_gradients_are_clipped(tmp_path: Path) -> None:
    small = Small(tmp_path, settings(steps=1, optimiser="sgd", schedule="poly", lr_head=1.0, weight_decay=0))
    images = torch.full((1, 3, 2, 2), 1e4)
    small.batch = lambda *_: {"images": images, "labels": torch.ones(1, 2, 2, dtype=torch.long)}  # type: ignore[method-assign]
    with torch.no_grad():
        small.model.bias.copy_(torch.tensor([1e6, 0.0]))  # type: ignore[union-attr]
    before = small.model.weight.detach().clone()
    small.train(validate=False)
    assert (small.model.weight.detach() - before).norm().item() == pytest.approx(10, rel=1e-2)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("schedule", ["one-cycle", "poly"])
def test_the_shortest_trainings_work(tmp_path: Path, steps: int, schedule: str) -> None:
    small = Small(tmp_path, settings(steps=steps, schedule=schedule))
    assert small.train().counts["steps"] == steps


def test_seeds_differ_by_stage_and_setting_and_repeat() -> None:
    stages = ("appearance-training", "motion-training")
    seeds = [seed_of(stage, settings(seed=seed)) for stage in stages for seed in (0, 1)]
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**32 for seed in seeds)
    assert seeds[0] == seed_of(stages[0], settings(seed=0, steps=99))


@pytest.mark.parametrize("loss", ["cross-entropy", "dice", "cross-entropy+dice"])
@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_parts_of_a_batch_train_as_the_whole(tmp_path: Path, loss: str, balance: bool, parts: int) -> None:
    """Images of unlike void: a mean of means would be another step."""
    one, many = (
        Small(tmp_path / str(n), settings(accumulate=n, loss=loss, balance=balance, optimiser="sgd"))
        for n in (1, parts)
    )
    one.train(validate=False)
    many.train(validate=False)
    for name, value in one.model.state_dict().items():
        assert torch.allclose(many.model.state_dict()[name], value, rtol=1e-5, atol=1e-7)


def test_parts_and_the_whole_have_the_same_first_loss(tmp_path: Path) -> None:
    losses = []
    for parts in (1, 4):
        small = Small(tmp_path / str(parts), settings(accumulate=parts, steps=1, balance=True))
        small.train()
        losses.append(small.result()[1]["history"][0]["loss"])
    assert losses[0] == losses[1]


def test_the_running_mean_is_validated_and_kept(tmp_path: Path) -> None:
    small = Small(tmp_path, settings(ema=0.9, keep="last"), norm=True)
    small.train()
    state, raw = small.result()[0], small.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in small.validated[-1].items())
    for name in ("0.weight", "1.weight", "1.running_mean"):
        assert not torch.equal(state[name], raw[name])


def test_validation_leaves_the_weights_that_train_alone(tmp_path: Path) -> None:
    often, once = (Small(tmp_path / str(n), settings(ema=0.9, validate_every=n), norm=True) for n in (1, STEPS))
    often.train()
    once.train()
    for name, value in once.model.state_dict().items():
        assert torch.equal(often.model.state_dict()[name], value)


@pytest.mark.parametrize(("keep", "kept", "other"), [("best", 8, "last"), ("last", 12, "best")])
def test_best_and_last_are_both_there_whichever_goes_on(tmp_path: Path, keep: str, kept: int, other: str) -> None:
    small = Small(tmp_path, settings(keep=keep))
    small.scores = [0.25, 0.5, 0.125]
    small.train()
    state, header = small.result()
    beside, found = read_weights(small.logs / f"{other}.safetensors")
    states = {8: small.validated[1], 12: small.validated[2]}
    assert header["kept_step"] == kept and found["kept_step"] == 20 - kept
    assert all(torch.equal(state[name], value) for name, value in states[kept].items())
    assert all(torch.equal(beside[name], value) for name, value in states[20 - kept].items())
    assert found["key"] == header["key"] and found["kind"] == "tiny"


@pytest.mark.parametrize("scores", [None, [0.1, 0.2, 0.3]])
def test_weights_that_are_best_and_last_are_written_once(tmp_path: Path, scores: list[float] | None) -> None:
    small = Small(tmp_path, settings())
    small.scores = scores
    small.train(validate=scores is not None)
    assert not list(small.logs.glob("*.safetensors"))


def scalars(small: Small, name: str) -> list[tuple[int, float]]:
    """What TensorBoard shows of a training."""
    events = EventAccumulator(str(small.logs))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_shows_every_step_once_after_going_on(tmp_path: Path) -> None:
    """The first training's last checkpoint is older than its last events."""
    kept: list[bytes] = []
    first = Small(tmp_path, settings(), checkpoint_seconds=0)
    first.at_batch = lambda step: kept.append(first.checkpoint.read_bytes()) if step == 8 else None
    first.train()
    losses, names = scalars(first, "loss"), ("loss", "learning_rate", "images_per_second")
    assert [step for step, _ in losses] == list(range(1, STEPS + 1))
    (first.context.root / first.job.path).unlink()
    first.checkpoint.write_bytes(kept[0])
    second = Small(tmp_path, settings())
    second.train()
    assert second.batches[0] > 0
    for name in names:
        assert [step for step, _ in scalars(second, name)] == list(range(1, STEPS + 1))
    assert scalars(second, "loss") == losses
    found = dict(scalars(second, "validation_J"))
    assert found == pytest.approx({row["step"]: row["J"] for row in second.result()[1]["history"]})
    assert scalars(second, "learning_rate")[1][1] == pytest.approx(0.05 * (0.05 + 0.95 / STEPS / 0.1))


def test_no_clipping_with_a_limit_of_nothing(tmp_path: Path) -> None:
    plain = settings(steps=1, optimiser="sgd", schedule="poly", lr_head=1.0, weight_decay=0)
    moves = []
    for setting in (plain, plain.model_copy(update={"clip_norm": 0.0}), plain.model_copy(update={"clip_norm": 1e-3})):
        small = Small(tmp_path / str(setting.clip_norm), setting)
        before = small.model.weight.detach().clone()
        small.train(validate=False)
        moves.append((small.model.weight.detach() - before).norm().item())
    assert moves[0] == moves[1] > 1e-2 and moves[2] < 1e-3 * (1 + 1e-3)


def test_gradients_that_are_no_numbers_end_training_with_advice(tmp_path: Path) -> None:
    small = Small(tmp_path, settings(clip_norm=0.0))
    small.model.weight.register_hook(lambda gradient: gradient * np.inf)
    before = small.model.weight.detach().clone()
    with pytest.raises(UserError, match=r"the gradients' norm became (inf|nan): lower the learning rates"):
        small.train()
    assert torch.equal(small.model.weight, before)


def test_an_error_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    small = Small(tmp_path, settings(), checkpoint_seconds=0)
    images = small.batch

    def batch(step: int, positions: range) -> dict[str, torch.Tensor]:
        found = images(step, positions)
        return {**found, "images": found["images"] * (np.nan if step == 5 else 1)}

    small.batch = batch  # type: ignore[method-assign]
    with pytest.raises(UserError, match="the last checkpoint is kept"):
        small.train()
    mended = Small(tmp_path, settings())
    mended.train()
    assert mended.batches[0] == 5
    assert "goes on from step 5 of 12" in mended.said[0]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 4 TB"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_change(tmp_path: Path, error: Exception) -> None:
    small = Small(tmp_path, settings(accumulate=2))

    def logits(model: nn.Module, tensors: object) -> None:
        raise error

    small.logits = logits  # type: ignore[method-assign,assignment]
    with pytest.raises(UserError) as caught:
        small.train()
    assert caught.value.args[0] == (
        "motion-training: out of memory; raise motion-training.accumulate (now 2; up to .batch), or lower .batch (4) "
        "or .crop ([240, 424]) with --set; the last checkpoint is kept"
    )


def test_too_large_a_tensor_is_out_of_memory(tmp_path: Path) -> None:
    """What PyTorch says on this machine, not what it said when these tests were written."""
    small = Small(tmp_path, settings())
    small.logits = lambda model, tensors: torch.empty(1 << 46)  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(UserError, match="motion-training: out of memory"):
        small.train()


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    small = Small(tmp_path, settings())
    small.logits = lambda model, tensors: torch.zeros(2) + torch.zeros(3)  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(RuntimeError, match="size of tensor"):
        small.train()


def void_at(small: Small, steps: range) -> None:
    """Make all labels of some steps void."""
    images = small.batch

    def batch(step: int, positions: range) -> dict[str, torch.Tensor]:
        found = images(step, positions)
        return {**found, "labels": found["labels"].clone().fill_(VOID)} if step in steps else found

    small.batch = batch  # type: ignore[method-assign]


def test_a_step_of_void_teaches_nothing_and_counts(tmp_path: Path) -> None:
    small = Small(tmp_path, settings(steps=2, optimiser="sgd", momentum=0, weight_decay=0))
    void_at(small, range(1))
    before = small.model.weight.detach().clone()
    small.train()
    one = Small(tmp_path / "one", settings(steps=1, optimiser="sgd", momentum=0, weight_decay=0, validate_every=9))
    void_at(one, range(1))
    with pytest.raises(UserError, match="1 steps in a row"):
        one.train()
    assert torch.equal(one.model.weight, before) and not torch.equal(small.model.weight, before)


def test_nothing_but_void_for_long_is_an_error(tmp_path: Path) -> None:
    small = Small(tmp_path, settings())
    void_at(small, range(5, 9))
    with pytest.raises(UserError, match=r"motion-training: 4 steps in a row had no labelled pixel.*raise .*crop"):
        small.train()
    fewer = Small(tmp_path / "fewer", settings())
    void_at(fewer, range(5, 8))
    assert fewer.train().counts["steps"] == STEPS


def test_more_processes_than_images_are_refused(tmp_path: Path) -> None:
    small = Small(tmp_path, settings(batch=2), processes=Processes(0, 3, "cpu"))
    with pytest.raises(UserError, match=r"motion-training\.batch = 2 is less than the 3 processes; raise it"):
        small.train()
