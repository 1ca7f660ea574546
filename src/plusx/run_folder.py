"""The folder of a run: what lies where in it, its log, that no run overwrites another and no two processes write one.

A new folder has a hidden name until its plan and its first state are in it (`publish`): a run that exists can always
be resumed. While a process works on a run it holds a lock that ends with the process, however that ends.

runs/digits-1/
    config.yaml  environment.json  classes.json  splits.csv  rejected.csv  log.txt
    metrics.csv  metrics.jsonl  predictions.csv  scores.json  per_class.csv  confusion.csv  calibration.csv
    report.html  plots/  samples/
    weights/best.safetensors  weights/last.safetensors
    state/000007.safetensors  state/000008.safetensors  state/lock
"""

import csv
import errno
import io
import json
import math
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from plusx.errors import CheckpointError, StorageError, UsageError
from plusx.launch import resuming
from plusx.storage import OTHER_OUT, PART, remove_leftovers, sync_folder, write_text, writing

if sys.platform != "win32":
    import fcntl

FOLDERS = ("plots", "samples", "weights", "state")
HIDDEN = ".run."
EVALUATIONS, DAMAGED = "evaluations", "damaged.safetensors"


class RunFolder:
    """The folder of one run.

    Attributes:
        writes: Whether this process writes to it; of several ranks, the first alone does.
    """

    writes = True

    def __init__(self, path: Path) -> None:
        self._at(path)
        self._wanted: Path | None = None  # the name to take, while it is hidden
        self._numbered = False
        self._unwritten: list[str] = []

    def _at(self, path: Path) -> None:
        self.path = path
        self.best = path / "weights" / "best.safetensors"
        self.last = path / "weights" / "last.safetensors"
        self.states = path / "state"
        self.config = path / "config.yaml"
        self.splits = path / "splits.csv"

    @classmethod
    def create(cls, out: Path, data: str, name: str = "") -> "RunFolder":
        """Make a new folder under a hidden name; `publish` will call it `out/name` or `out/data-1`, `out/data-2` ...

        Raises:
            UsageError: A run of that name exists, or the name is a path.
            StorageError: The folder cannot be made.
        """
        cls.check(out, name)
        _remove_abandoned(out)
        with writing(out):
            hidden = out / f"{HIDDEN}{os.getpid()}-{secrets.token_hex(4)}{PART}"
            for folder in FOLDERS:
                (hidden / folder).mkdir(parents=True)
        made = cls(hidden)
        made._wanted, made._numbered = out / (name or data), not name
        return made

    def publish(self) -> None:
        """Give the folder its name, now that the run in it can be resumed.

        Raises:
            UsageError: A run of that name was made in the meantime.
            StorageError: It cannot be renamed.
        """
        wanted, number = self._wanted, 0
        assert wanted is not None  # noqa: S101 - it is published once
        while True:
            number += 1
            path = wanted.with_name(f"{wanted.name}-{number}") if self._numbered else wanted
            with writing(path):
                if not path.exists() and _renamed(self.path, path):
                    break
            if not self._numbered:
                raise _taken(path)
        self._wanted = None
        self._at(path)
        with writing(path):
            sync_folder(path.parent)

    @contextmanager
    def held(self) -> Generator[None]:
        """Keep other processes from writing to this run within the block; a folder that is still hidden then goes.

        Raises:
            UsageError: Another process is at work on it.
            StorageError: The folder cannot be written.
        """
        try:
            with writing(self.states):
                lock = (self.states / "lock").open("a")
            with lock:
                if _locked(lock.fileno()) is False:
                    raise UsageError(
                        f"another process is at work on the run {str(self.path)!r}; wait for it, or stop it first"
                    )
                for folder in (self.path, *(self.path / name for name in FOLDERS)):
                    remove_leftovers(folder)
                yield
        except StorageError as error:
            if self._wanted or error.instead != OTHER_OUT:
                raise
            raise StorageError(error.found, error.remedy, "move the run elsewhere; then resume it") from error
        finally:
            if self._wanted:
                shutil.rmtree(self.path, ignore_errors=True)

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
            raise _taken(out / name)
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

    def size(self) -> int:
        """Return how many bytes the run's own files have: later evaluations and damaged states are none of them."""
        with writing(self.path):
            files = [path for path in self.path.rglob("*") if path.is_file()]
            others = (self.path / EVALUATIONS, self.states / DAMAGED)
            return sum(path.stat().st_size for path in files if not any(path.is_relative_to(one) for one in others))

    def log(self, text: str) -> None:
        """Add lines to log.txt, each with the time; what cannot be written now is written before the next line."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self._unwritten += [f"{stamp}  {line}\n" for line in text.splitlines()]
        content = "".join(self._unwritten).encode("utf-8", "backslashreplace")
        with suppress(OSError), (self.path / "log.txt").open("ab", buffering=0) as log:
            end = log.tell()
            if log.write(content) == len(content):
                self._unwritten.clear()
            else:
                log.truncate(end)

    def mend(self) -> None:
        """Take away the part of a line that a killed process left at the end of the log.

        Raises:
            StorageError: It cannot be written.
        """
        file = self.path / "log.txt"
        with writing(file), file.open("ab+") as log:
            log.seek(0)
            content = log.read()
            log.truncate(content.rfind(b"\n") + 1)

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


class WatchedFolder(RunFolder):
    """The folder of a run that another process writes: all that writes to it does nothing."""

    writes = False

    def publish(self) -> None:
        """Leave the name as it is."""

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold nothing."""
        yield

    def log(self, text: str) -> None:
        """Write nothing."""

    def mend(self) -> None:
        """Mend nothing."""

    def write(self, name: str, text: str) -> None:
        """Write nothing."""


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"the run {str(path)!r} exists and is not overwritten; choose another --name, "
        f"or go on with it: {resuming(path)}"
    )


def _renamed(path: Path, to: Path) -> bool:
    """Rename a folder; False if another process has just taken the name."""
    try:
        path.rename(to)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
            return False
        raise
    return True


def _locked(descriptor: int) -> bool | None:
    """Lock an open file for this process; False if another has it, None where the system or the disk knows no locks."""
    if sys.platform == "win32":
        return None
    try:
        # A lock of the process, not of the open file: worker processes, which may outlive it, must not hold it.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in {errno.EACCES, errno.EAGAIN} else None
    return True


def _remove_abandoned(out: Path) -> None:
    """Remove what processes that were killed before their run began have left; those at work hold their locks.

    Where there are no locks nobody knows who is at work, and all is left.
    """
    for path in out.glob(f"{HIDDEN}*{PART}"):
        # Locks are a process's: they say nothing of another run of this one.
        if not path.name.startswith(f"{HIDDEN}{os.getpid()}-") and (path / "state" / "lock").is_file():
            with suppress(OSError), (path / "state" / "lock").open("a") as lock:
                if _locked(lock.fileno()):
                    shutil.rmtree(path, ignore_errors=True)


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
