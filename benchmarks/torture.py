"""Whether a run survives everything: kills, failing system calls, a full disk, damaged files, every ingredient.

    python benchmarks/torture.py --minutes 60

Real processes of `plusx train` and `plusx resume` are killed by SIGKILL at random moments and inside saves, and what
they come to is held, by sha256, against runs that nobody broke. In 60 minutes: the whole matrix (ingredient x precision
x eager or compiled x workers x place), every system call of a save failed with three errors, 2,000 damaged files, a
full disk, and random kills in the time that is left. In less, a part of each, drawn at random. Printed: counts; the
exit code is 1 if anything is wrong.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

# Runs compute with the threads that they are told; while those wait, other runs have the cores.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

import matplotlib.pyplot as plt  # noqa: F401 - so that forked runs need not
import sklearn.metrics  # noqa: F401
import torch
from torture_cells import MENDED, Cell, cells, make_photos, passes
from torture_damage import corruptions
from torture_faults import CELL, bears, faults, full_disk, killed_run
from torture_kills import chain
from torture_processes import Child, said

import plusx.experiment  # noqa: F401 - so that forked runs need not
from plusx.device import Device
from plusx.reporting import environment

RESULTS = Path(__file__).parent / "results"
ENOUGH = {"kills": 300, "inside": 60, "corruptions": 2000}  # in an hour
PARTS = ("damage", "failures", "matrix", "kills")
FAILURES_UNTIL, MATRIX_UNTIL = 0.35, 0.87  # of the time; what is not done then is left out, and counted
QUICK = 15  # minutes below which only samples are drawn
ALWAYS = (CELL.ingredient, "everything")  # what even those hold


def warm_up() -> None:
    """Compile something small, so that forked runs find the compiler ready: one takes 3.3 instead of 4.7 seconds.

    Without gradients: a process whose threads for them are running cannot be forked. Nor could forked runs share the
    compiler's own processes.
    """
    from torch._inductor import config

    config.compile_threads = 1
    with torch.no_grad():
        torch.compile(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()))(torch.ones(2, 3, 8, 8))


def unbroken(cell: Cell, photos: Path, work: Path) -> str:
    """Make the run that nobody breaks; return what is wrong with it, or nothing."""
    weights, log = work / "plain-float32" / "weights" / "best.safetensors", work / f"{cell.reference}.log"
    code = Child(cell.command(photos, weights, work, cell.reference), log).wait()
    if code:
        return f"the unbroken run {cell.reference} ended with {code}: {said(log)}"
    expected = MENDED.get(cell.ingredient, "")
    if expected not in (work / cell.reference / "log.txt").read_text(encoding="utf-8"):
        return f"the unbroken run {cell.reference} does not say {expected!r}: nothing was mended in it"
    return ""


class Bench:
    """The torture of one call: its folder, its processes, its time, and what was found."""

    def __init__(self, minutes: float, processes: int, work: Path) -> None:
        self.minutes, self.work = minutes, work
        self.began = time.monotonic()
        self.photos = make_photos(work / "photos")
        self.pool = ProcessPoolExecutor(processes, mp_context=get_context("fork"))
        self.processes = processes
        self.wrong: list[str] = []
        self.figures: dict[str, object] = {}

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def each(self, work: Callable[..., object], tasks: list[tuple], part: float = 1.0) -> list[tuple[tuple, object]]:
        """Do tasks in the processes until this part of the time is over; return those that were done, with results.

        Whatever came before, a tenth of the time is left for them.
        """
        waiting, running, done = list(reversed(tasks)), {}, []
        end = max(60 * self.minutes * part, self.seconds + 6 * self.minutes)
        while running or (waiting and self.seconds < end):
            while waiting and len(running) < self.processes and self.seconds < end:
                task = waiting.pop()
                running[self.pool.submit(work, *task)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                try:
                    done.append((task, future.result()))
                except Exception:  # noqa: BLE001 - the bench itself failed: that is no pass
                    self.fail(f"{work.__name__}{task[:1]}: {traceback.format_exc(limit=-3)}")
        if not done:
            self.fail(f"{work.__name__}: there was no time for any")
        return done

    def fail(self, what: str) -> None:
        """Note and say what is wrong."""
        self.wrong.append(what)
        print(f"WRONG  {what}", flush=True)

    def say(self, text: str) -> None:
        """Say how far it is."""
        print(f"{self.seconds / 60:5.1f} min  {text}", flush=True)

    def references(self, *, compiled: bool = False) -> list[str]:
        """Make the unbroken runs of all ingredients; return the names of those that there are."""
        names = {cell.reference: (cell, self.photos, self.work) for cell in cells(compiled=compiled)}
        first = Cell("plain", "float32")
        if not compiled and (problem := unbroken(first, self.photos, self.work)):
            raise SystemExit(problem)
        tasks = [task for name, task in names.items() if compiled or name != first.reference]
        if self.minutes < QUICK:
            kept = [task for task in tasks if task[0].ingredient in ALWAYS]
            drawn = 1 if compiled else max(3, int(3 * self.minutes))
            tasks = kept + random.sample([task for task in tasks if task not in kept], drawn)
        good = [] if compiled else [first.reference]
        for (cell, *_), problem in self.each(unbroken, tasks, MATRIX_UNTIL):
            if problem:
                self.fail(str(problem))
            else:
                good.append(cell.reference)
        return good

    def matrix(self, references: list[str], *, compiled: bool = False) -> None:
        """Kill and resume each field of the matrix once."""
        fields = [cell for cell in cells(compiled=compiled) if cell.reference in references]
        random.shuffle(fields)
        tasks = [(cell, random.randint(1, 3), self.photos, self.work) for cell in fields]
        done = self.each(passes, tasks, MATRIX_UNTIL)
        failed = [f"{task[0]}: {problem}" for task, problem in done if problem]
        for problem in failed:
            self.fail(problem)
        whole = len(cells(compiled=compiled))
        name = "matrix, compiled" if compiled else "matrix, eager"
        self.figures[name] = {"cells": whole, "run": len(done), "passed": len(done) - len(failed)}
        self.say(f"{name}: {len(done) - len(failed)} of {len(done)} cells passed ({whole} in all)")
        if self.minutes >= 60 and len(done) < whole:
            self.fail(f"{name}: there was time for {len(done)} of {whole} cells only")

    def damage(self) -> None:
        """Damage a state file."""
        state = max((self.work / CELL.reference / "state").glob("[0-9]*.safetensors"))
        noticed, wrong = corruptions(state, ENOUGH["corruptions"], self.work)
        self.figures["corruptions"] = {"detected": noticed.total(), "undetected": len(wrong), **noticed}
        self.say(f"{noticed.total()} of {noticed.total() + len(wrong)} corruptions of a state file detected")
        for problem in wrong:
            self.fail(problem)

    def failures(self) -> None:
        """Fail the system calls of saves, and fill a disk."""
        begun = killed_run(self.photos, self.work)
        found = faults(begun, self.work)
        random.shuffle(found)
        done = self.each(
            bears, [(number, fault, begun, self.work) for number, fault in enumerate(found)], FAILURES_UNTIL
        )
        took = Counter(str(how) for _, (how, _) in done if how)
        for _, (_, problem) in done:
            if problem:
                self.fail(problem)
        calls = sorted({task[1].call for task, _ in done})
        self.figures["system calls failed"] = {"found": len(found), "run": len(done), **took, "calls": calls}
        self.say(f"{len(done)} of {len(found)} failing system calls ({', '.join(calls)}): {dict(took)}")
        if self.minutes >= 60 and len(done) < len(found):
            self.fail(f"there was time for {len(done)} of {len(found)} failing system calls only")
        disk, wrong = full_disk(begun, self.work, quick=self.minutes < QUICK)
        self.figures["full disk"] = disk
        self.say(f"{len(disk)} full, read-only and small disks met")
        for problem in wrong:
            self.fail(problem)

    def kills(self, references: list[str]) -> None:
        """Kill at random until the time is over."""
        counts: Counter = Counter()
        seeds = random.sample(range(10**6), 10_000)
        tasks = [(seed, self.photos, self.work, references) for seed in seeds]
        for _, (counted, wrong) in self.each(chain, tasks):
            counts.update(counted)
            for problem in wrong:
                self.fail(problem)
        inside = sum(count for name, count in counts.items() if name.startswith("kills inside"))
        self.figures["kills"] = {**counts, "kills inside a save, all": inside}
        self.say(f"{counts['kills']} SIGKILLs, {inside} of them inside a save; {counts['chains']} chains resumed")
        for name, count in sorted(counts.items()):
            self.say(f"    {name}: {count}")
        if self.minutes >= 60 and (counts["kills"] < ENOUGH["kills"] or inside < ENOUGH["inside"]):
            self.fail(f"expected {ENOUGH['kills']} kills and {ENOUGH['inside']} inside saves in an hour")

    def all(self, parts: list[str]) -> None:
        """Do the parts that are wanted."""
        references = self.references()
        self.say(f"{len(references)} unbroken runs")
        if "damage" in parts:
            self.damage()
        if "failures" in parts:
            self.failures()
        if "matrix" in parts:
            self.matrix(references)
            self.matrix(self.references(compiled=True), compiled=True)
        if "kills" in parts:
            self.kills(references)


def main() -> int:
    """Torture, print, write the results; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to do")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="an empty folder to work in, which is kept")
    given = parser.parse_args()
    random.seed(given.seed)
    work = given.work or Path(tempfile.mkdtemp(prefix="torture-"))
    work.mkdir(parents=True, exist_ok=True)
    warm_up()
    bench = Bench(given.minutes, given.processes, work)
    bench.all(given.parts)
    bench.pool.shutdown()
    where = {key: value for key, value in environment(Device()).items() if key != "device"}
    text = {"minutes": given.minutes, "seed": given.seed, **bench.figures, "wrong": bench.wrong, "environment": where}
    if tuple(given.parts) == PARTS:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "torture.json").write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    bench.say("FAILED" if bench.wrong else "passed: nothing was lost, doubled or changed")
    if not given.work and not bench.wrong:
        shutil.rmtree(work)
    return 1 if bench.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
