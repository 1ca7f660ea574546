"""Real processes of plusx for the torture bench: forked from one that has imported it, killed, failed and compared.

A forked run is a process of its own that runs the same `main` as the command; only its imports are not waited for. What
is done to it is done by the system: SIGKILL, or strace, which lets one system call fail or kills at its entry.
"""

import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from plusx import run_report, run_state
from plusx.checkpoint import Checkpoint
from plusx.cli import main
from plusx.run_folder import RunFolder

TIMES = {"seconds", "waiting"}  # what of a run's numbers is time
COMPARED = ("predictions.csv", "scores.json", "per_class.csv", "confusion.csv", "splits.csv", "classes.json")
END = "getppid"  # the system call with which a save ends in strace's record
LIMIT = 600.0  # seconds after which a run counts as hanging


class Child:
    """One running command of plusx.

    Args:
        arguments: What `plusx` is given.
        log: The file that takes all it prints.
        before: Called in the new process first.
        cold: Start a new interpreter, as a user does, instead of forking.
    """

    def __init__(
        self, arguments: list[str], log: Path, before: Callable[[], None] | None = None, *, cold: bool = False
    ) -> None:
        self.began = time.monotonic()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if cold:
            words = [sys.executable, "-m", "plusx", *arguments]
            prints = [(os.POSIX_SPAWN_DUP2, out, stream) for stream in (1, 2)]
            self.pid = os.posix_spawn(sys.executable, words, os.environ, file_actions=prints)
            os.close(out)
            return
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                os.dup2(out, 1)
                os.dup2(out, 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
                if before:
                    before()
                code = main(arguments)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        os.close(out)

    def kill_after(self, seconds: float) -> int:
        """SIGKILL the process after some seconds, unless it ends before; return how it ended, as `wait` does."""
        return self.wait(seconds)

    def wait(self, seconds: float = LIMIT) -> int:
        """Wait, and SIGKILL what takes longer; return the exit code, or minus the signal."""
        end = self.began + seconds
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= end:
                os.kill(self.pid, signal.SIGKILL)
                return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            time.sleep(min(0.002, max(end - time.monotonic(), 0.0)))


SAVES = (
    (run_state, "save_state"),
    (Checkpoint, "save"),
    (RunFolder, "write_metrics"),
    (run_report, "write_run_report"),
)  # fmt: skip


def around_saves(before: Callable[[str], None], after: Callable[[str], None]) -> None:
    """Call something before and after everything that a run saves, in this process."""

    def wrapped(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def saving(*given: object, **named: object) -> object:
            before(name)
            try:
                return real(*given, **named)
            finally:
                after(name)

        return saving

    for owner, name in SAVES:
        real = getattr(owner, name)
        fake = wrapped(name, real)
        setattr(owner, name, fake)
        for module in list(sys.modules.values()):
            if module.__name__.startswith("plusx") and vars(module).get(name) is real:
                setattr(module, name, fake)


class Paused:
    """A run that waits before a save of one kind, so that strace can be put on it, and after it, if that is wanted.

    Args:
        arguments: What `plusx` is given.
        log: The file that takes all it prints.
        kind: Which save: a name of SAVES.
        number: Which of these, from 1.
    """

    def __init__(self, arguments: list[str], log: Path, kind: str = "save_state", number: int = 1) -> None:
        (told, tell), (go, self._go) = os.pipe(), os.pipe()
        count = 0

        def before(name: str) -> None:
            nonlocal count
            count += name == kind
            if name == kind and count == number:
                os.write(tell, b"s")
                os.read(go, 1)

        def after(name: str) -> None:
            if name == kind and count == number:
                os.getppid()  # END in the record
                os.write(tell, b"e")
                os.read(go, 1)

        def hooks() -> None:
            os.close(told)
            os.close(self._go)
            around_saves(before, after)

        self.child = Child(arguments, log, hooks)
        os.close(tell)
        os.close(go)
        self._told = told
        self.reached = self._hears(b"s")

    def _hears(self, expected: bytes) -> bool:
        ready, _, _ = select.select([self._told], [], [], LIMIT)
        return bool(ready) and os.read(self._told, 1) == expected

    def go_on(self) -> None:
        """Let it go on from where it waits."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, b"g")

    def saved(self) -> bool:
        """Let it save, and wait for the end of that; False if the process was killed in it."""
        self.go_on()
        return self._hears(b"e")

    def end(self) -> int:
        """Let it go on to its end; return the exit code, or minus the signal."""
        self.go_on()
        code = self.child.wait()
        os.close(self._told)
        os.close(self._go)
        return code


class Strace:
    """strace on a waiting process, with what it is to do to one system call of it."""

    def __init__(self, pid: int, record: Path, inject: str = "") -> None:
        words = ["-e", f"inject={inject}"] if inject else []
        calls = "%file,%desc,getppid"
        self.process = subprocess.Popen(
            ["strace", "-y", "-p", str(pid), "-e", f"trace={calls}", *words, "-o", str(record)], stderr=subprocess.PIPE
        )
        line = self.process.stderr.readline()  # "strace: Process 17 attached"
        if b"attached" not in line:
            raise RuntimeError(f"strace cannot be put on a process: {line.decode(errors='replace').strip()}")

    def stop(self) -> None:
        """Take it off."""
        self.process.terminate()
        self.process.communicate()


def calls_of(record: Path) -> list[tuple[str, str]]:
    """Return the system calls that strace recorded up to the end of the save: their names, and what they were given."""
    calls = re.findall(r"^(\w+)\((.*)", record.read_text(errors="replace"), flags=re.MULTILINE)
    names = [name for name, _ in calls]
    return calls[: names.index(END)] if END in names else calls


def reached_end(record: Path) -> bool:
    """Whether the save that strace recorded came to its end."""
    return f"{END}(" in record.read_text(errors="replace")


def outcome(run: Path) -> dict[str, str]:
    """Return what a finished run came to: sums of the weights' files, of the scores', and of all but times."""
    sums = {
        name: hashlib.sha256((run / name).read_bytes()).hexdigest()
        for name in ("weights/best.safetensors", "weights/last.safetensors", *COMPARED)
    }
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    untimed = json.dumps([{name: value for name, value in row.items() if name not in TIMES} for row in rows])
    head = (run / "metrics.csv").read_text(encoding="utf-8").splitlines()
    return {**sums, "metrics": untimed, "rows of metrics.csv": str(len(head))}


def epochs(run: Path) -> int:
    """Return how many epochs a finished run has."""
    return len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())


def whole_states(run: Path) -> int:
    """Return how many states of a run can be read and are whole."""
    count = 0
    for path in run_state.states(RunFolder(run)):
        with contextlib.suppress(run_state.CheckpointError):
            run_state.read_tensors(path, run_state.KIND)
            count += 1
    return count


def torn_files(run: Path) -> list[str]:
    """Return the files of a run that stand under their names and are not whole: no kill may leave one."""
    kinds = {"state": run_state.KIND, "weights": "checkpoint"}
    torn = []
    for path in (*run.glob("state/[0-9]*.safetensors"), *run.glob("weights/*.safetensors")):
        try:
            run_state.read_tensors(path, kinds[path.parent.name])
        except run_state.CheckpointError:
            torn.append(str(path.relative_to(run)))
    for path in run.glob("[!.]*.json*"):
        try:
            lines = path.read_text(encoding="utf-8")
            [json.loads(text) for text in (lines.splitlines() if path.suffix == ".jsonl" else [lines])]
        except ValueError:
            torn.append(path.name)
    return torn


def left_over(run: Path) -> bool:
    """Whether a killed process left a file that it was writing."""
    return any(run.rglob(".*.part"))


def said(log: Path) -> str:
    """Return the last line that a run printed."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""


def fresh(path: Path) -> Path:
    """Return a path at which nothing is."""
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    return path
