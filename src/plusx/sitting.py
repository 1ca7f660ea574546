"""One sitting of a run: all that it works with, and the training from where it is to its end or to a signal."""

import time
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plusx import launch, ranks, reporting
from plusx.checkpoint import Checkpoint
from plusx.data import Dataset
from plusx.data.batches import Batches
from plusx.data.dataset import counted
from plusx.data.waiting import advice
from plusx.device import Device
from plusx.errors import CheckpointError, Stopped
from plusx.evaluation.inference import predict, quick_scores
from plusx.events import Advanced, EpochEnded, Event, Noted
from plusx.interruption import listening
from plusx.network.backbone import Network
from plusx.plan import Plan
from plusx.run_folder import RunFolder
from plusx.run_report import logged
from plusx.run_state import Saves, save_state, space_needed
from plusx.start import Start
from plusx.storage import expect_space
from plusx.training.distillation import Teacher
from plusx.training.loop import train
from plusx.training.progress import Progress

LONG_EPOCH = 5.0  # seconds; in shorter epochs a moment of waiting is a large share, and no matter


@dataclass
class Sitting:
    """What one run works with, once all is decided.

    Attributes:
        teacher: Whose answers the network is taught, if anyone's.
        validation: None where no sample validates.
        notes: Sentences that a person should read, in the console and in the report.
        start: What is known of the weights that it started from; None for new ones.
        began: When the run began on the clock of time.perf_counter, sittings before a resume counted in.
    """

    plan: Plan
    data: Dataset
    device: Device
    network: Network
    teacher: Teacher | None
    training: Batches
    validation: Batches | None
    test: Batches
    notes: tuple[str, ...]
    start: Start | None
    began: float

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.began


class News:
    """What a person should hear of a sitting besides its scores, each thing once."""

    def __init__(self, sitting: Sitting, progress: Progress) -> None:
        self._training, self._progress = sitting.training, progress
        self._incidents, self._replaced, self._advised = len(progress.incidents), 0, False

    def since_last(self, replaced: int) -> list[Noted]:
        """Return what is new: what went wrong and was mended, workers that died, and long waiting for data.

        Args:
            replaced: How many workers have died in this sitting so far.
        """
        progress = self._progress
        found = [Noted(incident, "warning") for incident in progress.incidents[self._incidents :]]
        self._incidents = len(progress.incidents)
        if replaced > self._replaced:
            died = replaced - self._replaced
            found.append(
                Noted(f"{counted(died, 'worker')} died and {'was' if died == 1 else 'were'} replaced", "warning")
            )
            self._replaced = replaced
        if progress.epoch_ended and not self._advised and progress.history[-1]["seconds"] > LONG_EPOCH:
            row = progress.history[-1]
            said = advice(row["waiting"] / row["seconds"], self._training, launch.cores())
            self._advised = bool(said)
            found += [Noted(said)] if said else []
        return found


def load(sitting: Sitting, out: Path, held: int = 0) -> Generator[Event, None, None]:
    """Take up the images for training; before and after it the disk must have room for the run.

    Args:
        sitting: Whose images; a cache of them may be on the same disk as the run.
        out: A folder on the run's disk.
        held: Bytes that the run has there already.

    Raises:
        StorageError, DataError: There is no room, or an image cannot be read.
    """
    needed = space_needed(sitting.plan, sitting.network, len(sitting.data.samples), len(sitting.test.samples))

    def expect_room() -> None:
        if ranks.is_first():
            expect_space(out, needed, "the run", held)

    expect_room()
    yield from sitting.training.load()
    expect_room()


def save(sitting: Sitting, progress: Progress, folder: RunFolder) -> None:
    """Save the whole state of a run."""
    one = sitting
    save_state(folder, one.plan, progress, one.notes, one.elapsed, one.device, one.start)


def train_on(sitting: Sitting, progress: Progress, folder: RunFolder) -> Generator[Event, None, None]:
    """Train to the end of the recipe: score every epoch on validation, keep the best, save the state, heed signals."""
    plan = sitting.plan
    keep_again(sitting, progress, folder)
    saves, news = Saves(plan.run.save_minutes * 60), News(sitting, progress)
    steps = train(sitting.network, plan.task, sitting.training, plan.recipe, progress, sitting.device, sitting.teacher)
    with closing(steps), listening() as stop:  # closed even while an error's traceback holds it: its workers end
        for _ in steps:
            # All ranks stop, and save, after the same step, though a signal and the clock reach each on its own.
            # What is said of waiting and of workers is what the worst of them met.
            told = stop.signal or 0, saves.due, progress.waiting, sitting.training.replaced
            number, due, waiting, replaced = ranks.largest(*told)
            if progress.epoch_ended:
                progress.waiting = waiting
                *before, row = progress.history
                row["seconds"] = progress.seconds - sum(one["seconds"] for one in before)
                row["waiting"] = progress.waiting - sum(one["waiting"] for one in before)
                yield from _score_epoch(sitting, progress, folder)
            elif not number:
                yield _step_done(sitting, progress)
            for note in news.since_last(int(replaced)):
                yield logged(folder, note)
            if number or progress.epoch_ended:
                saves.save(lambda: save(sitting, progress, folder))
                if progress.epoch_ended:
                    keep(sitting, progress, folder)
            elif due and (failure := saves.attempt(lambda: save(sitting, progress, folder))):
                yield logged(folder, Noted(failure, "warning"))
            if number:
                raise _stopped(int(number), folder, progress)
        (number,) = ranks.largest(stop.signal or 0)
        if number:  # while the last epoch was scored and saved
            raise _stopped(int(number), folder, progress)


def _step_done(sitting: Sitting, progress: Progress) -> Advanced:
    # Reading the loss waits for the device, so it is not done after every step.
    shown = progress.step % 10 == 1 and progress.samples  # none yet where the epoch's steps were left out
    detail = f"loss {progress.sums['loss'].item() / progress.samples:.3f}" if shown else ""
    epochs = f"epoch {progress.epoch + 1}/{sitting.plan.recipe.epochs}"
    return Advanced(epochs, progress.step_in_epoch, len(sitting.training), "steps", detail)


def _score_epoch(sitting: Sitting, progress: Progress, folder: RunFolder) -> Generator[Event, None, None]:
    """Score the epoch on the validation split, record it, and write its weights as the last."""
    plan = sitting.plan
    scores: dict[str, float] = {}
    if sitting.validation is not None:
        network = progress.scored_network
        predictions = yield from predict(network, plan.task, sitting.validation, sitting.device, "validation")
        scores = ranks.from_first(quick_scores(predictions))  # what is best, and when to stop, is decided once
    named = {f"validation_{name}": value for name, value in scores.items()}
    first, second = ("loss", "accuracy") if plan.recipe.monitor == "loss" else ("accuracy", "loss")
    progress.record(named, monitor=f"validation_{first}", tie=f"validation_{second}", lower=first == "loss")
    row = progress.history[-1]
    if folder.writes:
        _checkpoint(sitting, progress).save(folder.last)
    folder.write_metrics(progress.history)
    best = progress.improved and plan.recipe.keep == "best"
    yield logged(folder, EpochEnded(progress.epoch, plan.recipe.epochs, row, best=best))


def keep(sitting: Sitting, progress: Progress, folder: RunFolder) -> None:
    """Write the weights of the epoch that has just ended as the best, if they are.

    The state that has them is saved before: a process that is killed between the two finds them there.
    """
    if folder.writes and progress.improved:
        _checkpoint(sitting, progress).save(folder.best)


def keep_again(sitting: Sitting, progress: Progress, folder: RunFolder) -> None:
    """Write the best weights if the state is from the end of their epoch, and they are missing or damaged."""
    if folder.writes and progress.epoch_ended and progress.improved and not weights_of(folder.best, progress.epoch):
        keep(sitting, progress, folder)


def kept(sitting: Sitting, progress: Progress, folder: RunFolder) -> Generator[Event, None, Checkpoint]:
    """Return the weights that are scored and kept: the best epoch's, or the last one's where those are damaged."""
    found = weights_of(folder.best, progress.kept_epoch)
    if found:
        return found
    note = (
        f"the weights of epoch {progress.kept_epoch}, the best, are lost or damaged in {str(folder.best)!r}: those "
        f"of the last epoch, {progress.epoch}, are kept and scored instead"
    )
    sitting.notes = (*sitting.notes, note)
    progress.best_epoch = progress.epoch
    last = _checkpoint(sitting, progress)
    last.save(folder.best)
    yield logged(folder, Noted(note, "warning"))
    return last


def weights_of(path: Path, epoch: int) -> Checkpoint | None:
    """Return the checkpoint in a file if it is there, whole, and of this epoch."""
    with suppress(CheckpointError):
        found = Checkpoint.load(path)
        if found.provenance.get("epoch") == epoch:
            return found
    return None


def _checkpoint(sitting: Sitting, progress: Progress) -> Checkpoint:
    plan, prefix = sitting.plan, "validation_"
    row = progress.history[-1]
    scores = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
    weights, provenance = progress.scored_network.state_dict(), _provenance(sitting, progress)
    return Checkpoint(plan.architecture, plan.input, plan.task, weights, {"validation": scores}, provenance)


def _provenance(sitting: Sitting, progress: Progress) -> dict[str, Any]:
    start = {"weights": sitting.start.provenance} if sitting.start else {}
    run = {"epoch": progress.epoch, "seed": sitting.plan.run.seed, "data": sitting.data.name}
    return {**reporting.versions(), **run, **start}


def _stopped(number: int, folder: RunFolder, progress: Progress) -> Stopped:
    sentence = (
        f"stopped by {Stopped.names.get(number, f'signal {number}')} after epoch {progress.epoch}, step "
        f"{progress.step_in_epoch}; everything is saved, go on with: {launch.resuming(folder.path)}"
    )
    return Stopped(number, sentence)
