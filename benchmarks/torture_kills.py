"""Random SIGKILLs of the torture bench: chains of runs killed again and again, then resumed to their end."""

import random
import signal
from collections import Counter
from pathlib import Path

from torture_cells import INGREDIENTS, PRECISIONS, WORKERS, Cell
from torture_processes import (
    SAVES,
    Child,
    Paused,
    Strace,
    fresh,
    left_over,
    outcome,
    reached_end,
    said,
    torn_files,
    whole_states,
)

from plusx import run_state
from plusx.run_folder import RunFolder

MOST = 6  # kills of one chain; it may be shorter
IN_SAVE, TORN, COLD = 0.5, 0.1, 0.1  # shares of the kills inside a save, of torn states after one, of new interpreters
# The system calls of a save, and how often it makes them at least: a later one of its kind may be of the next save.
CALLS = {
    "save_state": {"openat": 3, "write": 3, "fsync": 2, "close": 2, "lseek": 2, "rename": 1, "unlink": 1},
    "save": {"openat": 2, "write": 2, "fsync": 2, "close": 2, "lseek": 2, "rename": 1},
    "write_metrics": {"openat": 4, "write": 2, "fsync": 4, "close": 4, "rename": 2},
    "write_run_report": {"write": 6, "fsync": 12, "rename": 6, "mkdir": 1},
}


def chain(seed: int, photos: Path, work: Path, references: list[str]) -> tuple[Counter, list[str]]:
    """Kill one run up to six times, resume it to its end, and hold it against the unbroken one.

    Returns:
        What was done, counted, and what is wrong.
    """
    draw = random.Random(seed)
    chosen = [
        cell
        for name in INGREDIENTS
        for precision in PRECISIONS
        if (cell := Cell(name, precision, workers=draw.choice(WORKERS))).reference in references
    ]
    cell = draw.choice(chosen)
    name = f"chain-{seed}"
    run, log = fresh(work / name), work / f"{name}.log"
    weights = work / "plain-float32" / "weights" / "best.safetensors"
    begin = cell.command(photos, weights, work, name)
    counts: Counter = Counter()
    ours: set[str] = set()  # what this bench itself has torn
    for _ in range(draw.randint(2, MOST)):
        words = ["resume", str(run), "--quiet"] if run.exists() else begin
        if draw.random() < IN_SAVE:
            counts.update(_killed_in_save(words, log, draw, work / f"{name}.strace"))
        else:
            counts.update(_killed_any_time(words, log, draw, run))
        if run.exists():
            if not whole_states(run):
                return counts, [f"{name} ({cell}): no whole state after a kill"]
            ours &= (torn := set(torn_files(run)))
            if torn - ours:
                return counts, [f"{name} ({cell}): a kill left {', '.join(torn - ours)} half-written under its name"]
            ours |= (on_purpose := _torn(run, draw))
            counts["states torn on purpose"] += len(on_purpose)
    words = ["resume", str(run), "--quiet"] if run.exists() else begin
    code = Child(words, log).wait()
    counts["chains"] += 1
    if code:
        return counts, [f"{name} ({cell}): ended with {code}: {said(log)}"]
    expected, found = outcome(work / cell.reference), outcome(run)
    wrong = [key for key in expected if found.get(key) != expected[key]]
    if wrong:
        return counts, [f"{name} ({cell}): differs in {', '.join(wrong)}"]
    if left_over(run):
        return counts, [f"{name}: a killed process's file was not removed"]
    fresh(run)
    return counts, []


def _killed_any_time(words: list[str], log: Path, draw: random.Random, run: Path) -> Counter:
    cold, before = draw.random() < COLD, left_over(run)  # by an earlier kill
    child = Child(words, log, cold=cold)
    seconds = draw.uniform(0, 9 if cold else 3.5)
    code = child.kill_after(seconds)
    if code != -signal.SIGKILL:
        return Counter({"ended before they were killed": 1})
    where = "inside a save (its file was left half-written)" if left_over(run) and not before else "elsewhere"
    return Counter({"kills": 1, f"kills {where}": 1, "kills of a new interpreter": int(cold)})


def _killed_in_save(words: list[str], log: Path, draw: random.Random, record: Path) -> Counter:
    """Let the kernel kill the process at the entry of a system call between the first and the last of a save."""
    kind = draw.choices([name for _, name in SAVES], [6, 3, 2, 1])[0]
    most = {"save_state": 6, "save": 2, "write_metrics": 2, "write_run_report": 1}[kind]
    paused = Paused(words, log, kind, draw.randint(1, most))
    if not paused.reached:
        paused.end()
        return Counter({"ended before they were killed": 1})
    call = draw.choice(list(CALLS[kind]))
    number = draw.randint(1, CALLS[kind][call])
    strace = Strace(paused.child.pid, record, f"{call}:signal=KILL:when={number}")
    inside = not paused.saved()
    code = paused.end()
    strace.stop()
    inside = inside and not reached_end(record)
    if code != -signal.SIGKILL:
        return Counter({"ended before they were killed": 1})
    where = f"inside a save (at a system call of {kind})" if inside else "elsewhere"
    return Counter({"kills": 1, f"kills {where}": 1})


def _torn(run: Path, draw: random.Random) -> set[str]:
    """Sometimes flip a bit of the newest of two states."""
    found = run_state.states(RunFolder(run))
    if len(found) < 2 or whole_states(run) < 2 or draw.random() > TORN:
        return set()
    content = bytearray(found[0].read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    found[0].write_bytes(content)
    return {f"state/{found[0].name}"}
