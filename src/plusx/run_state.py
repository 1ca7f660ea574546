"""The state of a run on disk: saved whole, the one before kept, read back exactly, and only with the same data."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from plusx import reporting
from plusx.data import Dataset
from plusx.data.split import read_splits
from plusx.errors import CheckpointError, DataError
from plusx.plan import Plan
from plusx.run_folder import RunFolder, typed
from plusx.start import Start
from plusx.storage import writing
from plusx.tensor_file import read_tensors, write_tensors
from plusx.training.progress import Progress

KIND = "state"


def check_same_data(folder: RunFolder, data: Dataset) -> None:
    """Refuse to resume on other data than the run began with."""
    now = {(sample.name, sample.sha256, sample.split) for sample in data.samples}
    then = {(row.path, row.sha256, row.split) for row in read_splits(folder.splits)}
    if now != then:
        changed = len(now ^ then)
        raise DataError(
            f"the data have changed since the run {str(folder.path)!r} began: {changed} entries differ from its "
            f"splits.csv; put the data back, or train anew: plusx train --config {typed(folder.config)}"
        )


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
        warnings: Sentences about the state itself: damaged, or saved under other versions.
    """

    plan: Plan
    progress: dict[str, Any]
    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    elapsed: float
    start: Start | None
    warnings: tuple[str, ...]


def save_state(
    folder: RunFolder,
    plan: Plan,
    progress: Progress,
    notes: tuple[str, ...],
    elapsed: float,
    start: Start | None = None,
) -> None:
    """Write the whole state, and keep the one before it.

    Raises:
        StorageError: It could not be written; the states that stood there still do.
    """
    values, tensors = progress.state_dict()
    header = {
        "plan": plan.to_dict(),
        "progress": values,
        "versions": reporting.versions(),
        "notes": list(notes),
        "elapsed": elapsed,
        "start": dataclasses.asdict(start) if start else None,
    }
    write_tensors(folder.state, KIND, header, tensors, keep=folder.previous_state)


def read_state(folder: RunFolder) -> State:
    """Read the newest state that is whole.

    Raises:
        CheckpointError: There is none.
    """
    if not folder.state.exists() and not folder.previous_state.exists():
        raise CheckpointError(
            f"the run {str(folder.path)!r} has saved no state yet, so it cannot be resumed; "
            f"train it anew: plusx train --config {typed(folder.config)}"
        )
    warnings: list[str] = []
    try:
        header, tensors = read_tensors(folder.state, KIND)
    except CheckpointError as error:
        if not folder.previous_state.exists():
            raise
        header, tensors = read_tensors(folder.previous_state, KIND)
        warnings.append(f"{error}; going on from the state before it")
        if folder.state.exists():  # or the next save would keep it in the place of the good one
            with writing(folder.state):
                folder.state.replace(folder.state.with_name("damaged.safetensors"))
    now = reporting.versions()
    changed = [f"{name} {then} -> {now[name]}" for name, then in header["versions"].items() if now.get(name) != then]
    if changed:
        warnings.append(
            f"saved under other versions ({', '.join(changed)}): the bits may differ from the unbroken run's"
        )
    notes = tuple(header["notes"])
    start = Start.from_dict(header["start"]) if header.get("start") else None
    plan = Plan.from_dict(header["plan"])
    return State(plan, header["progress"], tensors, notes, header["elapsed"], start, tuple(warnings))
