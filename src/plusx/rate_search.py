"""Searching for the learning rate of a run that might be made: what `plusx lr-find` does and writes."""

import csv
import io
from collections.abc import Generator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from plusx import memory
from plusx.errors import UsageError
from plusx.evaluation.plots import rate_curve, to_png, to_svg
from plusx.events import Advanced, Event, Noted, Section
from plusx.experiment import sitting_of
from plusx.plan import Plan
from plusx.request import Request
from plusx.storage import write_bytes, write_text, writing
from plusx.training.rate_finder import HIGHEST, LOWEST, STEPS, Found, Tried, find_rate


@dataclass(frozen=True)
class RateSearch:
    """A finished search: the plan that it was made for, what it found, and where that is written."""

    plan: Plan
    found: Found
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what --json prints."""
        return {
            "folder": str(self.folder),
            "recipe": self.plan.recipe.name,
            "model": self.plan.architecture.name,
            "batch_size": self.plan.recipe.batch_size,
            "learning_rate": self.plan.recipe.learning_rate,
            "steepest": self.found.steepest,
            "minimum_tenth": self.found.tenth,
            "tried": [vars(one) for one in self.found.tried],
        }


def search(
    asked: Request,
    *,
    out: Path = Path("lr-find"),
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
) -> Generator[Event, None, RateSearch]:
    """Search for the learning rate of the run that was asked for; write the curve, and a cache if one is asked for.

    Args:
        asked: What to train on and how.
        out: Where the folder with the curve is made.
        lowest: The first learning rate.
        highest: The last one.
        steps: How many are tried.

    Raises:
        UsageError, DataError, StorageError: The request, the data or the disk do not allow it.
    """
    if not 0 < lowest < highest:
        raise UsageError(f"the rates go from {lowest:g} to {highest:g}; expected two above 0, the lower one first")
    if steps < 2:
        raise UsageError(f"steps is {steps}, but must be at least 2; 200 is usual")
    with memory.bounded():
        sitting, _, _ = yield from sitting_of(asked)
        yield from sitting.training.load()
        for note in sitting.notes:
            yield Noted(note, "warning")
        plan = sitting.plan
        work = find_rate(
            sitting.network, plan.task, sitting.training, plan.recipe, sitting.device, sitting.teacher,
            lowest=lowest, highest=highest, steps=steps,
        )  # fmt: skip
        found = yield from _shown(work, steps)
    folder = _new_folder(out, sitting.data.name)
    _write(folder, found)
    yield _screen(plan, found, folder)
    return RateSearch(plan, found, folder)


def _shown(work: Generator[Tried, None, Found], steps: int) -> Generator[Event, None, Found]:
    """Do the search, and say after each rate how far it is."""
    done = 0
    while True:
        try:
            one = next(work)
        except StopIteration as end:
            return end.value
        done += 1
        yield Advanced("trying rates", done, steps, "steps", f"{one.learning_rate:.1e}: loss {one.smoothed:.3f}")


def _new_folder(out: Path, name: str) -> Path:
    with writing(out):
        for number in count(1):
            folder = out / f"{name}-{number}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                if not folder.parent.is_dir():
                    raise
                continue
            return folder
    raise AssertionError("numbers do not end")


def _write(folder: Path, found: Found) -> None:
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("learning_rate", "loss", "smoothed"))
    rows.writerows((one.learning_rate, one.loss, one.smoothed) for one in found.tried)
    write_text(folder / "rates.csv", table.getvalue())
    marks = {"falls fastest": found.steepest, "a tenth of the lowest": found.tenth}
    points = [(one.learning_rate, one.loss, one.smoothed) for one in found.tried]
    figure = rate_curve(points, {name: rate for name, rate in marks.items() if rate})
    write_bytes(folder / "rates.png", to_png(figure))
    write_text(folder / "rates.svg", to_svg(figure))


def _screen(plan: Plan, found: Found, folder: Path) -> Section:
    recipe = plan.recipe
    rows = [
        ("network", f"{plan.architecture.name}, {recipe.optimizer}, batches of {recipe.batch_size:,}"),
        ("tried", f"{len(found.tried)} rates, up to {found.tried[-1].learning_rate:.2g}" if found.tried else "none"),
    ]
    if found.steepest and found.tenth:
        rows += [
            ("falls fastest", f"--learning-rate {found.steepest:.2g}"),
            ("a tenth of the lowest", f"--learning-rate {found.tenth:.2g}"),
        ]
    else:
        rows.append(("falls fastest", "nowhere by as much as 5 %; try more --rates, or another --highest"))
    rows += [("the recipe's own", f"{recipe.learning_rate:g} ({recipe.name})"), ("curve", str(folder / "rates.png"))]
    return Section("Learning rate", tuple(rows))
