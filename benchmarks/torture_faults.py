"""Failing disks of the torture bench: each system call of a save failed in turn, and a tmpfs that is really full."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from torture_cells import Cell
from torture_processes import Child, Paused, Strace, calls_of, fresh, outcome, said, whole_states

ERRORS = ("ENOSPC", "EIO", "EROFS")
KINDS = ("save_state", "save", "write_metrics", "write_run_report")
SENTENCES = ("could not write", "cannot be read")
CELL = Cell("average", "float32")


@dataclass(frozen=True)
class Fault:
    """One system call of one save, and the error that it ends with; `lasting`, so do all after it."""

    kind: str
    call: str
    number: int
    error: str
    lasting: bool = False


def killed_run(photos: Path, work: Path) -> Path:
    """Return a run that was killed in the middle of its second epoch, with two states."""
    run = work / "faults-begun"
    weights = work / "plain-float32" / "weights" / "best.safetensors"
    paused = Paused(CELL.command(photos, weights, work, run.name), work / "faults.log", "save_state", 9)
    paused.child.kill_after(0)
    return run


def faults(begun: Path, work: Path) -> list[Fault]:
    """Record the system calls of each kind of save, and return one fault for each of them and each error."""
    found: list[Fault] = []
    for kind in KINDS:
        run = _copy(begun, work / f"faults-{kind}")
        record, log = work / f"faults-{kind}.strace", work / "faults.log"
        paused = Paused(["resume", str(run), "--quiet"], log, kind)
        strace = Strace(paused.child.pid, record)
        paused.saved()
        strace.stop()
        paused.end()
        calls = calls_of(record)
        names = [name for name, _ in calls]
        places = [  # those on files of the run, and not of Python or of fonts
            (name, names[: place + 1].count(name)) for place, (name, on) in enumerate(calls) if str(run) in on
        ]
        found += [Fault(kind, name, number, error) for name, number in places for error in ERRORS]
        found += [Fault(kind, "fsync", 1, error, lasting=True) for error in ERRORS]
    return found


def bears(number: int, fault: Fault, begun: Path, work: Path) -> tuple[str, str]:
    """Let one system call of a save fail; return how the run took it, and what is wrong, or nothing."""
    run, log = _copy(begun, work / f"fault-{number}"), work / f"fault-{number}.log"
    record = work / f"fault-{number}.strace"
    paused = Paused(["resume", str(run), "--quiet"], log, fault.kind)
    when = f"{fault.number}+" if fault.lasting else str(fault.number)
    strace = Strace(paused.child.pid, record, f"{fault.call}:error={fault.error}:when={when}")
    saved = paused.saved()
    states = whole_states(run)
    code = paused.end()
    strace.stop()
    if "(INJECTED)" not in record.read_text(errors="replace"):
        return "", f"{fault}: no such call was made, so nothing failed"
    if not saved:
        return "", f"{fault}: the process died in the save with {code}: {said(log)}"
    if not states:
        return "", f"{fault}: no state loads after it"
    if code not in {0, 5} or (code == 5 and not any(one in said(log) for one in SENTENCES)):
        return "", f"{fault}: the run ended with {code}: {said(log)}"
    took = "went on to its end" if code == 0 else "stopped with a sentence"
    if code and (code := Child(["resume", str(run), "--quiet"], log).wait()):
        return took, f"{fault}: resumed, the run ended with {code}: {said(log)}"
    expected, found = outcome(work / CELL.reference), outcome(run)
    wrong = [key for key in expected if found.get(key) != expected[key]]
    fresh(run)
    return took, f"{fault}: differs in {', '.join(wrong)}" if wrong else ""


def full_disk(begun: Path, work: Path, *, quick: bool = False) -> tuple[dict[str, str], list[str]]:
    """Let a run meet a full and a read-only tmpfs in each kind of save; return what it did, and what is wrong."""
    place = work / "tmpfs"
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=False).returncode:
        return {}, ["a tmpfs cannot be mounted here (that takes root): nothing was tried on a full disk"]
    done, wrong = {}, []
    try:
        for kind in KINDS[:1] if quick else KINDS:
            for trouble in ("full", "read-only"):
                took, bad = _in_trouble(place, begun, work, kind, trouble)
                done[f"{trouble} tmpfs in {kind}"] = took
                wrong += bad
        small = _refused(place, work)
        done["too small before the start"] = small
        wrong += [] if "MB free, but the run needs" in small else [f"a small disk was not refused: {small}"]
    finally:
        subprocess.run(["umount", place], check=False)
    return done, wrong


def _in_trouble(place: Path, begun: Path, work: Path, kind: str, trouble: str) -> tuple[str, list[str]]:
    run, log, filler = _copy(begun, place / "run"), work / "tmpfs.log", place / "filler"
    fresh(log)
    paused = Paused(["resume", str(run), "--quiet"], log, kind)
    _begin(run, filler, trouble)
    saved, states = paused.saved(), whole_states(run)
    code = paused.end()
    _end(run, filler, trouble)
    after = whole_states(run)
    took, wrong = f"exit {code}: {said(log)}", []
    if not saved or not states or not after or code != 5:
        wrong.append(f"{trouble} tmpfs in {kind}: {states} states load then, {after} later; {took}")
    code = Child(["resume", str(run), "--quiet"], log).wait()
    if code or outcome(run) != outcome(work / CELL.reference):
        wrong.append(f"{trouble} tmpfs in {kind}: resumed with room again it differs, or ended with {code}")
    fresh(run)
    return took.replace(str(place), "TMPFS"), wrong


def _begin(run: Path, filler: Path, trouble: str) -> None:
    """Fill a tmpfs to its last byte, or make the run's folder read-only."""
    if trouble == "read-only":
        subprocess.run(["mount", "--bind", run, run], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", run], check=True)
        return
    with filler.open("wb", buffering=0) as file:
        size = 2**20
        while size:
            try:
                size = size if file.write(bytes(size)) == size else size // 2
            except OSError:
                size //= 2


def _end(run: Path, filler: Path, trouble: str) -> None:
    if trouble == "read-only":
        subprocess.run(["umount", run], check=True)
    filler.unlink(missing_ok=True)


def _refused(place: Path, work: Path) -> str:
    """Begin a run where there is no room for it; return what it says."""
    filler, log = place / "filler", work / "small.log"
    filler.write_bytes(bytes(shutil.disk_usage(place).free - 2**20))
    code = Child(["train", "digits", "--epochs", "1", "--threads", "1", "--quiet", "--out", str(place)], log).wait()
    filler.unlink()
    return said(log).replace(str(place), "TMPFS") if code == 5 else f"exit {code}: {said(log)}"


def _copy(begun: Path, to: Path) -> Path:
    shutil.copytree(begun, fresh(to))
    return to
