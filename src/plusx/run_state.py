"""The state of a run on disk: saved whole, the one before kept, read back exactly, and only with the same data."""

from typing import Any

from torch import Tensor

from plusx import reporting
from plusx.data import Dataset
from plusx.data.split import read_splits
from plusx.errors import CheckpointError, DataError
from plusx.plan import Plan
from plusx.run_folder import RunFolder, typed
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


def save_state(folder: RunFolder, plan: Plan, progress: Progress) -> None:
    """Write the whole state, and keep the one before it.

    Raises:
        StorageError: It could not be written; the states that stood there still do.
    """
    values, tensors = progress.state_dict()
    header = {"plan": plan.to_dict(), "progress": values, "versions": reporting.versions()}
    write_tensors(folder.state, KIND, header, tensors, keep=folder.previous_state)


def read_state(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]:
    """Read the newest state that is whole.

    Raises:
        CheckpointError: There is none.
    """
    if not folder.state.exists() and not folder.previous_state.exists():
        raise CheckpointError(
            f"the run {str(folder.path)!r} has saved no state yet, so it cannot be resumed; "
            f"train it anew: plusx train --config {typed(folder.config)}"
        )
    try:
        return *read_tensors(folder.state, KIND), ()
    except CheckpointError as error:
        if not folder.previous_state.exists():
            raise
        return *read_tensors(folder.previous_state, KIND), (f"{error}; going on from the state before it",)
