"""The folder of a run: what lies where in it, its log, and that no run ever overwrites another.

runs/digits-1/
    config.yaml  environment.json  classes.json  splits.csv  rejected.csv  log.txt
    metrics.csv  metrics.jsonl  predictions.csv  scores.json  per_class.csv  confusion.csv  calibration.csv
    report.html  plots/  samples/
    weights/best.safetensors  weights/last.safetensors
    state/latest.safetensors  state/previous.safetensors
"""

import csv
import errno
import io
import json
import math
import os
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plusx.errors import CheckpointError, UsageError
from plusx.storage import write_text, writing

FOLDERS = ("plots", "samples", "weights", "state")


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "weights" / "best.safetensors"
        self.last = path / "weights" / "last.safetensors"
        self.state = path / "state" / "latest.safetensors"
        self.previous_state = path / "state" / "previous.safetensors"
        self.config = path / "config.yaml"
        self.splits = path / "splits.csv"

    @classmethod
    def create(cls, out: Path, data: str, name: str = "") -> "RunFolder":
        """Make a new folder: `out/name`, or the first free one of `out/data-1`, `out/data-2` ...

        Raises:
            UsageError: A run of that name exists, or the name is a path.
            StorageError: The folder cannot be made.
        """
        cls.check(out, name)
        with writing(out):
            number = 1
            while True:
                path = out / (name or f"{data}-{number}")
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    if name:
                        raise
                    number += 1
            for folder in FOLDERS:
                (path / folder).mkdir()
        return cls(path)

    @staticmethod
    def check(out: Path, name: str) -> None:
        """Check that a run's folder can be made, before any work is done for it; `out` itself is made.

        Raises:
            UsageError: The name is a path, or a run of that name exists.
            StorageError: `out` cannot be made or written.
        """
        if name in {".", ".."} or "/" in name or "\\" in name:
            raise UsageError(f"the run's name {name!r} is a path; give a plain --name, and the folder with --out")
        if name and (out / name).exists():
            raise UsageError(
                f"the run {str(out / name)!r} exists and is not overwritten; choose another --name, "
                f"or go on with it: plusx resume {typed(out / name)}"
            )
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            if not os.access(out, os.W_OK):
                raise PermissionError(errno.EACCES, "not writable")

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of a run.

        Raises:
            CheckpointError: It is no run's folder.
        """
        folder = cls(path)
        if not path.is_dir() or not folder.config.is_file():
            found = "has no config.yaml" if path.is_dir() else "does not exist"
            raise CheckpointError(f"the run {str(path)!r} {found}; expected the folder of a run, such as runs/digits-1")
        return folder

    def log(self, text: str) -> None:
        """Add lines to log.txt, each with the time.

        Raises:
            StorageError: The log cannot be written.
        """
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        file = self.path / "log.txt"
        with writing(file), file.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.writelines(f"{stamp}  {line}\n" for line in text.splitlines())

    def write(self, name: str, text: str) -> None:
        """Write a text file of the run, whole or not at all."""
        write_text(self.path / name, text)

    def write_json(self, name: str, value: object) -> None:
        """Write a value as JSON."""
        self.write(name, json.dumps(value, ensure_ascii=False, indent=1) + "\n")

    def write_rejected(self, rejected: Iterable[tuple[str, str]]) -> None:
        """Write rejected.csv: the name of each file that was set aside, and why."""
        self.write("rejected.csv", table([{"path": name, "reason": why} for name, why in rejected], ("path", "reason")))

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write metrics.csv and metrics.jsonl: a row an epoch, the same numbers in both."""
        self.write("metrics.csv", table(history))
        self.write("metrics.jsonl", "".join(json.dumps(_finite(row)) + "\n" for row in history))


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no word for what is not a number."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def typed(path: Path | None) -> str:
    """Return a path as it is typed in a shell."""
    return shlex.quote(str(path))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Return rows as CSV text; the columns are those named, or all that occur in the order of first sight."""
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
