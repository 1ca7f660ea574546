"""The state of a run on disk: saved whole, the one before kept, read back exactly, and only with the same data.

Each save is a file of its own, state/000001.safetensors and so on, and what is older than the one before it goes only
when the new one is on the disk: at every instant two whole states can be read, or one, as long as there was but one.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from plusx import ranks
from plusx.arithmetic import arithmetic, differences
from plusx.data import Dataset
from plusx.data.split import read_splits, split_rows
from plusx.device import Device
from plusx.errors import CheckpointError, DataError, PlusxError, StorageError
from plusx.launch import resuming
from plusx.plan import Plan
from plusx.run_folder import DAMAGED, RunFolder, typed
from plusx.start import Start
from plusx.storage import writing
from plusx.tensor_file import read_tensors, write_tensors
from plusx.training.distillation import Teacher
from plusx.training.progress import Progress

KIND = "state"
TEACHER = "teacher.json"
KEPT = 2
SLOTS = {"sgd": 1}  # tensors a weight that an optimizer keeps; the others keep two
SMALL, REPORT = 2**16, 8 * 2**20  # bytes of a header, and of a report with its pictures
SPLIT_ROW = 160  # bytes of a sample's row in splits.csv: a sum, and a path
BEARABLE = 3  # saves in a row that may fail within an epoch; the next stops the run


def check_same_data(folder: RunFolder, data: Dataset, teacher: Teacher | None = None) -> None:
    """Refuse to resume on other data than the run began with, or with another teacher."""
    now, then = split_rows(data), read_splits(folder.splits)
    if now != then:
        changed = len(set(now) ^ set(then))
        how = f"{changed} entries differ from its splits.csv" if changed else "their order is another one"
        raise DataError(
            f"the data have changed since the run {str(folder.path)!r} began: {how}; put the data back, or train "
            f"anew: plusx train --config {typed(folder.config)}"
        )
    if teacher and json.loads((folder.path / TEACHER).read_text(encoding="utf-8"))["sha256"] != teacher.sha256:
        raise DataError(
            f"the teacher of the run {str(folder.path)!r} has changed since it began; put the file back, or train "
            f"anew: plusx train --config {typed(folder.config)}"
        )


def remember_teacher(folder: RunFolder, teacher: Teacher | None) -> None:
    """Keep the sum of the teacher's file: what is taught is a part of the run, but the file is not."""
    if teacher:
        folder.write_json(TEACHER, {"sha256": teacher.sha256})


@dataclass(frozen=True)
class State:
    """What was saved of a run.

    Attributes:
        plan: What is run.
        progress: The plain values of its progress.
        tensors: The tensors of its progress.
        notes: Sentences about the run that its report shows.
        elapsed: Seconds since the run began, pauses left out.
        start: What it started from, if not from new weights.
        warnings: Sentences about the state itself: a newer one is damaged.
        arithmetic: What its bits depended on, for each rank.
    """

    plan: Plan
    progress: dict[str, Any]
    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    elapsed: float
    start: Start | None
    warnings: tuple[str, ...]
    arithmetic: list[dict[str, str]]

    def expect_same_arithmetic(self, folder: RunFolder, device: Device, *, anyway: bool = False) -> str:
        """Compare what the bits depend on, then and now, for each rank; all of them call this.

        Returns:
            A sentence on what differs, which the user allowed; empty where nothing does.

        Raises:
            CheckpointError: Something differs, and the user did not allow it.
        """
        changed = ", ".join(differences(self.arithmetic, ranks.gathered(arithmetic(device))))
        if changed and not anyway:
            raise CheckpointError(
                f"the run {str(folder.path)!r} would not end with the bits of the unbroken run here: {changed}; resume "
                f"it as it was, or accept other bits: {resuming(folder.path)} --anyway"
            )
        return f"resumed with --anyway: the bits may differ from the unbroken run's ({changed})" if changed else ""


@dataclass
class Saves:
    """When a state is due within an epoch, and what becomes of a save that fails there: it is said, and borne.

    Args:
        seconds: Between two saves.
        failed: How many have failed in a row.
    """

    seconds: float
    failed: int = 0
    last: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        """Whether it is time for one."""
        return time.monotonic() - self.last > self.seconds

    def save(self, save: Callable[[], None]) -> None:
        """Save where it must not fail: at the end of an epoch and of the run."""
        save()
        self.failed, self.last = 0, time.monotonic()

    def attempt(self, save: Callable[[], None]) -> str:
        """Save where the run can go on without: the state before stands, and the next save is not far.

        Returns:
            What to say of a failure, once; else nothing.

        Raises:
            StorageError: Too many in a row have failed.
        """
        try:
            self.save(save)
        except StorageError as error:
            self.failed, self.last = self.failed + 1, time.monotonic()
            if self.failed > BEARABLE:
                raise
            borne = StorageError(error.found, error.remedy)  # what could be done instead is for a run that ends
            return f"{borne}; training goes on, and the next save tries again" if self.failed == 1 else ""
        return ""


def states(folder: RunFolder) -> list[Path]:
    """Return the saved states, the newest first.

    Raises:
        OSError: The folder cannot be read; it is not empty then.
    """
    found = [path for path in folder.states.iterdir() if path.suffix == ".safetensors" and path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


def save_state(
    folder: RunFolder,
    plan: Plan,
    progress: Progress,
    notes: tuple[str, ...],
    elapsed: float,
    device: Device,
    start: Start | None = None,
) -> None:
    """Write the whole state, and keep the one before it; of several ranks, all take part and the first writes.

    Raises:
        StorageError: It could not be written; the states that stood there still do.
    """
    values, tensors = progress.state_dict()
    all_ranks = ranks.gathered(arithmetic(device))
    if not folder.writes:
        return
    header = {
        "plan": plan.to_dict(),
        "progress": values,
        "arithmetic": all_ranks,
        "notes": list(notes),
        "elapsed": elapsed,
        "start": dataclasses.asdict(start) if start else None,
    }
    with writing(folder.states):
        before = states(folder)
    number = 1 + (int(before[0].stem) if before else 0)
    write_tensors(folder.states / f"{number:06}.safetensors", KIND, header, tensors)
    for path in before[KEPT - 1 :]:
        with suppress(OSError):  # the next save tries again
            path.unlink()


def read_state(folder: RunFolder) -> State:
    """Read the newest state that is whole.

    Newer ones that are not are put aside as state/damaged.safetensors, so that no save takes them for the one to keep.

    Raises:
        CheckpointError: There is none.
    """
    try:
        found = states(folder)
    except OSError as error:
        raise CheckpointError(
            f"the states of {str(folder.path)!r} cannot be read: {error.strerror or error}"
        ) from error
    damaged: list[tuple[Path, CheckpointError]] = []
    for path in found:
        try:
            header, tensors = read_tensors(path, KIND)
            break
        except CheckpointError as error:
            damaged.append((path, error))
    else:
        why = damaged[0][1] if damaged else f"the run {str(folder.path)!r} holds no saved state"
        raise CheckpointError(
            f"{why}; it cannot be resumed, train it anew: plusx train --config {typed(folder.config)}"
        )
    for path, _ in damaged:
        with writing(path):
            path.replace(path.with_name(DAMAGED))
    warnings = tuple(f"{error}; going on from the state before it" for _, error in damaged)
    try:
        plan, depended = Plan.from_dict(header["plan"]), [dict(one) for one in header["arithmetic"]]
    except (TypeError, ValueError, LookupError, PlusxError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be understood by this plusx: {error}") from error
    start = Start.from_dict(header["start"]) if header["start"] else None
    notes = tuple(header["notes"])
    return State(plan, header["progress"], tensors, notes, header["elapsed"], start, warnings, depended)


def space_needed(plan: Plan, network: nn.Module, samples: int, test_samples: int) -> int:
    """Return about how many bytes a run will have on the disk at most, the file being written included."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    recipe = plan.recipe
    copies = 1 + SLOTS.get(recipe.optimizer, 2) + (recipe.average_decay > 0) + (recipe.lookahead_steps > 0)
    if recipe.not_finite == "rollback":  # the beginning of the epoch is in the state, too
        copies *= 2
    tables = samples * SPLIT_ROW + test_samples * (100 + 12 * len(plan.task.classes))
    return (KEPT + 1) * (copies * weights + SMALL) + 3 * (weights + SMALL) + REPORT + tables
