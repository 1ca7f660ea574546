"""The matrix of the torture bench: ingredients of training x precision x compilation x workers x place of the kill.

Threads are not a dimension of their own: each ingredient computes with two, eager in one precision and compiled in the
other, and with one elsewhere.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torture_processes import Child, epochs, fresh, outcome, said, torn_files, whole_states

from plusx import run_state

SIDES = (14, 16, 18, 20)  # images of several sizes are read from their files each time, so workers have work
# What an ingredient does not say otherwise.
BASICS = ("--model", "resnet20", "--image-size", "16", "--epochs", "4", "--batch-size", "8", "--validation", "0.2",
          "--test", "0.2", "--save-minutes", "0.000001", "--quiet")  # fmt: skip

# What is trained with: one line each. {weights} is a checkpoint of the first run, {cache} a folder for all.
INGREDIENTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "average": ("--average-decay", "0.9"),
    "plateau": ("--schedule", "plateau", "--patience", "0", "--factor", "0.5"),
    "one-cycle": ("--schedule", "one_cycle",),
    "step": ("--schedule", "step", "--milestones", "0.3,0.6"),
    "warm-up": ("--schedule", "cosine", "--warmup-epochs", "1.5", "--minimum-learning-rate", "0.01"),
    "early-stopping": ("--early-stopping", "1", "--epochs", "6"),
    "monitor-loss": ("--monitor", "loss"),
    "stochastic-depth": ("--stochastic-depth", "0.3"),
    "dropout": ("--model", "wrn16-4", "--dropout", "0.3"),
    "randaugment": ("--policy", "randaugment", "--policy-magnitude", "20"),
    "trivialaugment": ("--policy", "trivialaugment"),
    "cutout": ("--cutout", "5"),
    "resized-crop": ("--random-resized-crop", "--crop-scale", "0.25", "1"),
    "cache": ("--random-resized-crop", "--cache", "{cache}"),
    "erase": ("--erase", "0.5", "--flip", "--alternating-flip", "--pad-and-crop", "2", "--padding-mode", "reflect",
              "--views", "shift"),
    "decay": ("--weight-decay", "0.01", "--decay-norm-and-bias", "--schedule", "constant"),
    "steps": ("--steps", "13", "--warmup-rate", "0.01", "--warmup-epochs", "1"),
    "clip": ("--gradient-clip", "0.5"),
    "smoothing": ("--label-smoothing", "0.1"),
    "no-momentum": ("--momentum", "0", "--no-nesterov"),
    "adam": ("--optimizer", "adam", "--learning-rate", "0.002"),
    "adamw": ("--optimizer", "adamw", "--learning-rate", "0.002"),
    "lamb": ("--optimizer", "lamb", "--learning-rate", "0.005"),
    "lookahead": ("--lookahead-steps", "3"),
    "lookahead-grows": ("--lookahead-steps", "3", "--lookahead-grows", "--lookahead-share", "0.2"),
    "lookahead-average": ("--lookahead-steps", "3", "--average-decay", "0.9"),
    "mixup": ("--mixup", "0.4"),
    "cutmix": ("--cutmix", "1.0"),
    "mixup-cutmix": ("--mixup", "0.4", "--cutmix", "1.0"),
    "binary": ("--loss", "binary_cross_entropy"),
    "binary-threshold": ("--loss", "binary_cross_entropy", "--binary-threshold", "0.2", "--mixup", "0.4"),
    "bias-rate": ("--bias-rate", "8"),
    "repeats": ("--repeats", "2"),
    "growing": ("--first-size", "0.5", "--growing", "0.6"),
    "last-size": ("--first-size", "0.5", "--last-size", "0.75", "--growing", "0.4"),
    "exact-statistics": ("--exact-statistics", "3"),
    "keep-last": ("--keep", "last"),
    "no-validation": ("--validation", "0"),
    "overfit": ("--overfit-batches", "2"),
    "frozen-scales": ("--frozen-scales", "--views", "flip"),
    "fast": ("--recipe", "fast", "--model", "resnet8"),
    "fixup": ("--norm", "fixup"),
    "finetune": ("--weights", "{weights}"),
    "head-first": ("--weights", "{weights}", "--head-epochs", "1.5", "--rate-decay", "0.5"),
    "frozen": ("--weights", "{weights}", "--freeze", "stem", "--frozen-norms"),
    "teacher": ("--teacher", "{weights}", "--teacher-share", "0.7", "--teacher-temperature", "4"),
    # Without norms at this rate the loss is no finite number in step 4, nor at half of it; at a quarter it always is.
    "rollback": ("--not-finite", "rollback", "--norm", "none", "--learning-rate", "1.5"),
    # One picture is a hundred times as bright as the others: the gradients of its step are too large for float32.
    "skip": ("--not-finite", "skip", "--norm", "none", "--learning-rate", "0.001", "--gradient-clip", "1",
             "--label-smoothing", "0.5", "--mean", "0,0,0", "--deviation", "2e-20,2e-20,2e-20"),
    "everything": ("--average-decay", "0.9", "--schedule", "plateau", "--patience", "0", "--stochastic-depth", "0.2",
                   "--policy", "randaugment", "--mixup", "0.4", "--cutmix", "1.0", "--lookahead-steps", "3",
                   "--gradient-clip", "1", "--label-smoothing", "0.1", "--seed", "5"),
}  # fmt: skip
# Pictures of one size are held in memory; files are read each time where sizes differ.
PHOTOS = {"fast": "one-size", "skip": "one-bright"}  # all others: "sizes"
MENDED = {"rollback": "back to the beginning of epoch", "skip": "the step is left out"}  # what their runs must say
PRECISIONS, WORKERS, PLACES = ("float32", "bfloat16"), (0, 2), ("mid-epoch", "end")


def make_photos(folder: Path, count: int = 20) -> Path:
    """Write noisy pictures of three classes: in several sizes, in one size, and all dark but one, which is white."""
    for place, sides in (("sizes", SIDES), ("one-size", SIDES[:1]), ("one-bright", SIDES)):
        for target, name in enumerate(("上", "middle", "low")):
            (folder / place / name).mkdir(parents=True)
            for number in range(count):
                random = np.random.default_rng((target, number))
                side = sides[number % len(sides)]
                pixels = random.integers(0, 120, (side, side, 3)).astype(np.uint8)
                pixels[target * side // 3 : (target + 1) * side // 3] += 130
                if place == "one-bright":
                    pixels = pixels // 100 if target + number else np.full_like(pixels, 255)
                Image.fromarray(pixels).save(folder / place / name / f"{number:03}.png")
    return folder


@dataclass(frozen=True)
class Cell:
    """One field of the matrix; with workers and place left out, what an unbroken run is made for."""

    ingredient: str
    precision: str
    compiled: bool = False
    workers: int = 0
    place: str = "mid-epoch"

    @property
    def reference(self) -> str:
        """The name of its unbroken run, which has no workers: these must not matter."""
        return f"{self.ingredient}-{self.precision}{'-compiled' if self.compiled else ''}"

    @property
    def threads(self) -> int:
        """How many it computes with; its unbroken run has as many."""
        number = list(INGREDIENTS).index(self.ingredient) + PRECISIONS.index(self.precision) + self.compiled
        return 2 - number % 2

    def command(self, photos: Path, weights: Path, out: Path, name: str) -> list[str]:
        """Return the words of `plusx train`."""
        cache, source = photos.parent / "cache", photos / PHOTOS.get(self.ingredient, "sizes")
        words = [word.format(weights=weights, cache=cache) for word in INGREDIENTS[self.ingredient]]
        basics = list(BASICS)
        own = {*words, "--model"} if "--weights" in words else set(words)  # weights bring their model with them
        for option in [word for word in BASICS if word.startswith("--") and word in own]:
            del basics[basics.index(option) : basics.index(option) + 2]
        device = ["--precision", self.precision, "--compile", "on" if self.compiled else "off"]
        place = ["--threads", str(self.threads), "--workers", str(self.workers), "--out", str(out), "--name", name]
        return ["train", str(source), *basics, *words, *device, *place]


def cells(*, compiled: bool) -> list[Cell]:
    """Return all fields, eager or compiled."""
    return [
        Cell(ingredient, precision, compiled, workers, place)
        for ingredient in INGREDIENTS
        for precision in PRECISIONS
        for workers in WORKERS
        for place in PLACES
    ]


def dying(place: str, number: int) -> None:
    """Let this process be killed right after it has saved a state in the middle, or at the end, of an epoch."""
    real, count = run_state.write_tensors, 0

    def writing(path: Path, kind: str, header: dict, tensors: dict) -> None:
        nonlocal count
        real(path, kind, header, tensors)
        now = header["progress"]
        fits = now["epoch_ended"] if place == "end" else now["step_in_epoch"] > 0
        count += fits
        if fits and count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    run_state.write_tensors = writing


def passes(cell: Cell, number: int, photos: Path, work: Path) -> str:
    """Kill a run of this cell, resume it, and hold it against the unbroken one; return what is wrong, or nothing."""
    name = f"cell-{cell.reference}-{cell.workers}-{cell.place}"
    run, log = fresh(work / name), work / f"{name}.log"
    weights = work / "plain-float32" / "weights" / "best.safetensors"
    if cell.place == "end":  # of an epoch after which another follows: a run may end early
        number = min(number, epochs(work / cell.reference) - 1)
    code = Child(cell.command(photos, weights, work, name), log, lambda: dying(cell.place, number)).wait()
    if code != -signal.SIGKILL:
        return f"was not killed but ended with {code}: {said(log)}"
    if not whole_states(run) or torn_files(run):
        return f"{whole_states(run)} whole states are left, and torn files: {torn_files(run)}"
    code = Child(["resume", str(run), "--quiet"], log).wait()
    if code:
        return f"the resumed run ended with {code}: {said(log)}"
    expected, found = outcome(work / cell.reference), outcome(run)
    wrong = [key for key in expected if found.get(key) != expected[key]]
    if wrong:
        return f"differs from the unbroken run: {', '.join(wrong)}"
    fresh(run)
    return ""
