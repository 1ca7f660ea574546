"""Rivals that take turns: each trains in a process of its own and is frozen while it is not its turn.

A rival's process calls its `Turn` after every training step. The process that measures tells it how many steps to make
and reads how long they took; then it stops the rival and its data workers with SIGSTOP, so that nothing is fetched or
computed meanwhile, and wakes the next one. A change of the machine's speed therefore hits all alike.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

LEAVING = 20  # seconds that a rival has to end by itself


class Turn:
    """In a rival's process: called after every step with the images of it; waits when its turn is over."""

    def __init__(self) -> None:
        self.channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what the rival prints goes to its log
        self.left, self.steps, self.images = 1, 1, 0
        self.began = time.perf_counter()

    def __call__(self, images: int) -> None:
        """Count a step; at the end of the turn say how long it took and wait for the next."""
        self.images += images
        self.left -= 1
        if self.left:
            return
        on_gpu = wait_for_gpu()
        seconds = time.perf_counter() - self.began
        answer = {"steps": self.steps, "images": self.images, "seconds": seconds, **memory(), **on_gpu}
        self.channel.write(json.dumps(answer) + "\n")
        self.channel.flush()
        words = sys.stdin.readline()
        if not words.strip():
            raise SystemExit(0)
        self.left = self.steps = int(words)
        self.images, self.began = 0, time.perf_counter()


def wait_for_gpu() -> dict[str, float]:
    """Wait until the GPU is done, if there is one, and return the most memory that it gave out, in MiB."""
    import torch

    if not torch.cuda.is_available():
        return {}
    torch.cuda.synchronize()
    return {"gpu": torch.cuda.max_memory_allocated() / 2**20}


def memory() -> dict[str, float]:
    """Return this process's largest resident set so far, and what its workers hold of their own now, in MiB."""
    try:
        return {
            "resident": number_in(Path("/proc/self/status"), "VmHWM") / 1024,
            "workers": sum(private(child) for child in children(os.getpid())) / 1024,
        }
    except OSError:  # not Linux
        return {}


def number_in(file: Path, name: str) -> int:
    """Return the number of a line such as "VmHWM:  123 kB"; 0 if there is none."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def children(process: int) -> list[int]:
    """Return the processes below one, as numbers."""
    found: list[int] = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, file.read_text(encoding="utf-8").split()):
            found += [child, *children(child)]
    return found


def private(process: int) -> int:
    """Return the KiB of memory that a process shares with no other; 0 if it has gone."""
    try:
        file = Path(f"/proc/{process}/smaps_rollup")
        return number_in(file, "Private_Clean") + number_in(file, "Private_Dirty")
    except OSError:
        return 0


class Rival:
    """In the measuring process: a rival's process, frozen except in its turn."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name, self.log, self.error = name, log, ""
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                start_new_session=True,
            )
        self._signal(signal.SIGSTOP)

    def take(self, steps: int = 0) -> dict[str, Any] | None:
        """Let it make so many steps, or with 0 its first one, and freeze it again; None if it has failed."""
        if self.error:
            return None
        assert self.process.stdin
        assert self.process.stdout
        self._signal(signal.SIGCONT)
        try:
            if steps:
                self.process.stdin.write(f"{steps}\n")
                self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            self.error = last_words(self.log)
            return None
        self._signal(signal.SIGSTOP)
        return json.loads(line)

    def close(self) -> None:
        """End it and its workers."""
        self._signal(signal.SIGCONT)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.process.communicate(timeout=LEAVING)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def leave_cleanly() -> None:
    """Let SIGTERM end this process as an error does: the rivals, who may be frozen, are ended first."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def last_words(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it ended without a word"


def compared(rates: Mapping[str, Sequence[float]], ours: str) -> list[dict[str, Any]]:
    """Sum up what was measured in rounds: the median of each, and how many times as fast ours was, round by round.

    Args:
        rates: Images a second of each rival, one number a round.
        ours: Which of them is held against the others.
    """
    rows: list[dict[str, Any]] = []
    for name, found in rates.items():
        ratios = [mine / theirs for mine, theirs in zip(rates.get(ours, ()), found, strict=False)]
        row: dict[str, Any] = {"name": name, "images": median(found), "low": min(found), "high": max(found)}
        row["rounds"] = len(found)
        if ratios:
            row |= {"ratio": median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}
        rows.append(row)
    return rows


def store(file: Path, result: Mapping[str, Any], counted: str = "rounds") -> None:
    """Write a result, unless the one that is there is fuller: has rivals, or turns of them, that this one lacks.

    Args:
        file: Where it belongs.
        result: Its "rows" are of one rival each.
        counted: What of a row says how many turns there were.
    """
    if file.is_file():
        now, before = _turns(result, counted), _turns(json.loads(file.read_text(encoding="utf-8")), counted)
        if any(now.get(rival, 0) < turns for rival, turns in before.items()):
            print(f"Not written: {file.name} has more rivals or {counted} than this run; delete it to replace it.")
            return
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _turns(result: Mapping[str, Any], counted: str) -> dict[tuple[str, str], int]:
    """The turns of each rival in each work, of whatever file size (in brackets); one where that is not said."""
    return {(row.get("work", "").split(" (")[0], row["name"]): row.get(counted, 1) for row in result["rows"]}
