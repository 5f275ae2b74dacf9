"""Several processes of one run, as `torchrun` or `accelerate launch` start them: who does what, and how they agree.

They share out the videos of a stage and the images of a training's step. The first one, "main", speaks and keeps the
run's record; the others follow it. All see the same files.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, cast

from fusionseg.pipeline.errors import BadFile, DamagedArtifact, UserError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
# How long one process may wait for another, which may be at a long video. One that ended is noticed at once.
_PATIENCE = timedelta(hours=12)
_STORE_PATIENCE = timedelta(seconds=5)
_SHARED_ERRORS = (BadFile, DamagedArtifact)  # the runner mends these and starts over, in all processes alike


class PeerLost(UserError):
    """Another process of this run ended."""


@dataclass(frozen=True)
class Processes:
    """This process's number among `count`; `device`: its device as the command line names it.

    Of one process alone, everything here does nothing, and costs nothing.
    """

    rank: int = 0
    count: int = 1
    device: str = "auto"

    @property
    def main(self) -> bool:
        """Whether this is the one that speaks, and writes what there is one of."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1

    def share(self, total: int) -> range:
        """Which of `total` things in order are this process's; shares differ by one at most.

        >>> [Processes(rank, 3).share(8) for rank in range(3)]
        [range(0, 2), range(2, 5), range(5, 8)]
        """
        return range(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of all processes' tensors, in place. Raises PeerLost."""
        if not self.alone:
            import torch.distributed as dist

            with _peers():
                dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order; they must be picklable. Raises PeerLost."""
        if self.alone:
            return [value]
        from accelerate.utils import gather_object

        with _peers():
            found: list[T] = gather_object([value])
        return found

    def wait(self) -> None:
        """Until all are here. Raises PeerLost."""
        if not self.alone:
            from accelerate import PartialState

            with _peers():
                PartialState().wait_for_everyone()

    def together(self, work: Callable[[], T]) -> list[T]:
        """What `work` gives in all processes. Where a file stops one of them, it stops all, with the same error."""
        if self.alone:
            return [work()]
        outcomes = self.gather(_outcome(work))
        for _, error in outcomes:
            if error is not None:
                raise error
        return [cast(T, value) for value, _ in outcomes]

    def from_main(self, work: Callable[[], T]) -> T:
        """What `work`, done by the main process alone, gives; its errors are everybody's."""
        return cast(T, self.together(lambda: work() if self.main else None)[0])

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes first, the others find done what it did."""
        if not self.main:
            self.wait()
        try:
            yield
        except _SHARED_ERRORS:  # all meet it; any other ends this process, and so the run
            if self.main:
                self.wait()
            raise
        if self.main:
            self.wait()


ALONE = Processes()


def _outcome(work: Callable[[], T]) -> tuple[T | None, UserError | None]:
    """A result, or an error that the runner may mend."""
    try:
        return work(), None
    except _SHARED_ERRORS as error:
        return None, error


@contextmanager
def _peers() -> Iterator[None]:
    """What the network says of a process that ended, in words."""
    try:
        yield
    except RuntimeError:
        raise PeerLost("another process of this run ended; the same command goes on from the last checkpoint") from None


def launched() -> int:
    """How many processes the launcher has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def join(device: str) -> Processes:
    """Meet the other processes of this run; `device` as the command line names it. Raises UserError."""
    if launched() == 1:
        return Processes(device=device)
    try:
        from accelerate import PartialState
    except ModuleNotFoundError:
        raise UserError("several processes need accelerate; install it (pip install accelerate)") from None
    gpu = _wants_gpu(device)
    with warnings.catch_warnings():  # how many threads a process takes is for OMP_NUM_THREADS to say
        warnings.simplefilter("ignore")
        state = PartialState(cpu=not gpu, timeout=_PATIENCE)
    name = f"cuda:{state.local_process_index}" if gpu else "cpu"
    return Processes(state.process_index, state.num_processes, name)


def _wants_gpu(device: str) -> bool:
    """Whether each process takes a GPU of its own. Raises UserError."""
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: each of several processes takes its own; expected auto, cpu or cuda")
    found, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cpu" or (device == "auto" and not found):
        return False
    if local >= found:
        raise UserError(
            f"process {local} of this machine has no GPU of its own: torch sees {found}; start as many processes as "
            "there are GPUs, or add --device cpu"
        )
    return True


def leave() -> None:
    """Part from the others, at the end of a run that went well."""
    if launched() > 1:
        import torch.distributed as dist

        dist.destroy_process_group()


def first_to_tell() -> bool:
    """Whether this process is the first of the run to say why it ends: one line is enough for all of them."""
    if launched() == 1:
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=_STORE_PATIENCE)
        return bool(store.add(f"fusionseg/ended/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1) == 1)
    except (KeyError, ValueError, RuntimeError):  # whoever kept the store is gone
        return int(os.environ.get("RANK", "0")) == 0
