"""The run that a torchrun job works on: when torchrun starts its ranks again, they go on with the run they had begun.

torchrun itself stays when a rank is killed; by which torchrun started it a run is known to be this job's. Also what
else the ranks make sure of before they train: that they have the same data, and the same teacher.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from plusx import launch, ranks
from plusx.data import Dataset
from plusx.errors import DataError
from plusx.request import Request
from plusx.run_folder import HIDDEN, RunFolder
from plusx.training.distillation import Teacher

FILE = "state/job.json"


def begun(out: Path, asked: Request, name: str) -> Path | None:
    """Return the run that this torchrun job has begun in `out` with the same request; None if there is none.

    A finished run is one only to ranks that were started again: a script may well ask for the same run twice. A folder
    that was not published yet is none: whoever makes the next one takes it away.
    """
    place = launch.place()
    if place is None:
        return None
    starters = set(ranks.gathered(launch.starter()))
    (again,) = ranks.largest(place.attempt)
    found = [] if not ranks.is_first() else [
        path.parent.parent
        for path in sorted(out.glob(f"*/{FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
        if not path.parent.parent.name.startswith(HIDDEN)
        and _is_it(path, starters, _told(asked, name), finished=again > 0)
    ]  # fmt: skip
    return ranks.from_first(found[0] if found else None)


def remember(folder: RunFolder, asked: Request, name: str) -> None:
    """Note in a run's folder whose it is."""
    if launch.place() is not None:
        starters = sorted(set(ranks.gathered(launch.starter())))
        folder.write_json(FILE, {"starters": starters, "asked": _told(asked, name), "finished": False})


def finish(folder: RunFolder) -> None:
    """Note that the run is finished."""
    file = folder.path / FILE
    if folder.writes and file.is_file():
        folder.write_json(FILE, {**json.loads(file.read_text(encoding="utf-8")), "finished": True})


def expect_same_data(data: Dataset) -> None:
    """Check that all ranks have read the same data.

    Raises:
        DataError: A rank's data differ from the first one's.
    """
    rows = repr([(sample.name, sample.sha256, sample.split, sample.target) for sample in data.samples])
    other = _other_rank(hashlib.sha256(rows.encode("utf-8", "backslashreplace")).hexdigest())
    if other:
        raise DataError(
            f"rank {other} reads other data from {data.origin!r} than rank 0; every machine needs the same files"
        )


def expect_same_teacher(teacher: Teacher) -> None:
    """Check that all ranks have the same teacher.

    Raises:
        DataError: A rank's file differs from the first one's.
    """
    other = _other_rank(teacher.sha256)
    if other:
        raise DataError(f"rank {other} has another teacher than rank 0; every machine needs the same file")


def _other_rank(given: str) -> int:
    """Return the first rank that gives something else than rank 0; 0 where all give the same."""
    first, *others = ranks.gathered(given)
    return next((rank for rank, one in enumerate(others, 1) if one != first), 0)


def _told(asked: Request, name: str) -> str:
    return hashlib.sha256(repr((asked, name)).encode("utf-8", "backslashreplace")).hexdigest()


def _is_it(path: Path, starters: set[str], told: str, *, finished: bool) -> bool:
    with suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads(path.read_text(encoding="utf-8"))
        return (
            bool(starters & set(noted["starters"])) and noted["asked"] == told and (finished or not noted["finished"])
        )
    return False
