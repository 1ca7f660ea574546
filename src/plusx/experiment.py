"""One experiment, from a source of data to a report. Read this file first: every part appears in order.

seed -> data (classes fixed) -> splits -> plan -> task -> network -> batches -> for progress in train(...): score on
validation, keep the best -> after the loop, once: the test split with the best weights -> report.

`run` and `resume` are generators of events (plusx.events) that return a Result: a console draws them, a notebook may
ignore them.
"""

import dataclasses
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plusx import reporting, run_report
from plusx.checkpoint import Checkpoint
from plusx.data import Dataset
from plusx.data.batches import Batches
from plusx.decisions import changes_by_hand, decide
from plusx.device import Device, choose_device
from plusx.errors import PlusxError, Stopped, StorageError, UsageError
from plusx.evaluation import evaluate as scoring
from plusx.evaluation.inference import predict, quick_scores
from plusx.events import Advanced, EpochEnded, Event, Noted, Section
from plusx.interruption import StopRequest, listening
from plusx.network.backbone import Backbone, Network
from plusx.plan import Plan
from plusx.preparation import Prepared, overfitting, prepare
from plusx.request import Request
from plusx.result import Result
from plusx.run_folder import RunFolder, typed
from plusx.run_report import logged
from plusx.run_state import check_same_data, read_state, save_state
from plusx.start import Start, architecture_for, put_into, seen_before
from plusx.training.loop import train
from plusx.training.progress import Progress
from plusx.weights.read import read_weights


@dataclass
class Experiment:
    """What one run works with, once all is decided.

    Attributes:
        notes: Sentences that a person should read, in the console and in the report.
        start: What is known of the weights that it started from; None for new ones.
        began: When the run began on the clock of time.perf_counter, sittings before a resume counted in.
    """

    plan: Plan
    data: Dataset
    device: Device
    network: Network
    training: Batches
    validation: Batches
    test: Batches
    notes: tuple[str, ...]
    start: Start | None
    began: float

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.began


def run(
    asked: Request, *, out: Path = Path("runs"), name: str = "", dry: bool = False
) -> Generator[Event, None, Result]:
    """Train a network on a source and score it.

    Args:
        asked: What to train on and how; `request.request` makes it.
        out: Where the run's folder is made.
        name: The run's name; the data's name and a number if empty.
        dry: Decide and show everything, train nothing, write nothing.

    Raises:
        UsageError, DataError, StorageError: The request, the data or the disk do not allow it.
        Stopped: A signal asked the run to stop; its state is saved.
    """
    began = time.perf_counter()
    if not dry:
        RunFolder.check(out, name)
    weights = (yield from read_weights(asked.run.weights)) if asked.run.weights else None
    architecture_for(
        weights, asked.run.model, asked.changes("architecture")
    )  # its errors are said before any image is looked at
    look = asked.changes("input")
    prepared = yield from prepare(asked.run, look.get("max_pixels"), look.get("channels"))
    device = choose_device(asked.run.device, asked.run.precision, asked.run.threads)
    prepared, plan, notes = decide(asked, prepared, device, weights)
    device = dataclasses.replace(device, precision=plan.run.precision)
    network = network_of(plan)
    start = put_into(network, weights, plan.task.classes) if weights else None
    notes = (*prepared.dataset.notes, *seen_before(weights, prepared.dataset), *notes)
    experiment = yield from _build(plan, prepared, device, network, notes, start, began)
    screen: list[Event] = [*(yield from _first_screen(experiment, changes_by_hand(asked, prepared, weights)))]
    screen += [Noted(note, "warning") for note in experiment.notes]
    if dry:
        yield from screen
        yield reporting.whole_plan(plan)
        data, seconds = experiment.data, {"training": 0.0, "total": experiment.elapsed}
        return Result(None, data.test_name, len(experiment.test.samples), None, plan, seconds, experiment.notes)
    folder = RunFolder.create(out, experiment.data.name, name)
    run_report.describe(folder, plan, experiment.data, experiment.training, device)
    for event in screen:
        yield logged(folder, event)
    progress = Progress(experiment.network, plan.recipe)
    return (yield from _go_on(experiment, progress, folder))


def resume(path: Path) -> Generator[Event, None, Result]:
    """Go on with a run where its state was last saved, as if it had never stopped.

    Raises:
        CheckpointError: There is no such run or its state cannot be read.
        DataError: The data are no longer those that the run began with.
    """
    folder = RunFolder.open(path)
    state = read_state(folder)
    began = time.perf_counter() - state.elapsed
    plan = state.plan
    prepared = yield from prepare(plan.run, plan.input.max_pixels, measure=False)
    device = _same_device(plan, folder)
    if plan.run.overfit_batches:
        prepared = overfitting(prepared, plan.run.overfit_batches * plan.recipe.batch_size)
    notes = (*state.notes, *state.warnings)
    experiment = yield from _build(plan, prepared, device, network_of(plan), notes, state.start, began)
    check_same_data(folder, experiment.data)
    progress = Progress(experiment.network, plan.recipe)
    progress.load_state_dict(state.progress, state.tensors)
    place = f"epoch {progress.epoch + 1}, step {progress.step_in_epoch}" if progress.step_in_epoch else "a new epoch"
    for note in state.warnings:
        yield logged(folder, Noted(note, "warning"))
    yield logged(folder, Noted(f"resuming {folder.path} after {progress.epoch} epochs, at {place}"))
    return (yield from _go_on(experiment, progress, folder))


def _same_device(plan: Plan, folder: RunFolder) -> Device:
    try:
        return choose_device(plan.run.device, plan.run.precision, plan.run.threads)
    except UsageError as error:
        raise UsageError(
            f"the run {str(folder.path)!r} was computed on {plan.run.device!r}, which is not here; resume it where "
            f"that is, or train anew: plusx train --config {typed(folder.config)} --device auto"
        ) from error


def _go_on(experiment: Experiment, progress: Progress, folder: RunFolder) -> Generator[Event, None, Result]:
    """Train from wherever `progress` is to the end, and finish; what stops the run is in its log, too."""
    try:
        if progress.step == 0:
            _save(experiment, progress, folder)
        yield from _train(experiment, progress, folder)
        return (yield from _finish(experiment, progress, folder))
    except StorageError:
        raise  # the log cannot be trusted to take another line
    except PlusxError as error:
        folder.log(str(error))
        raise


def _save(experiment: Experiment, progress: Progress, folder: RunFolder) -> None:
    save_state(folder, experiment.plan, progress, experiment.notes, experiment.elapsed, experiment.start)


def network_of(plan: Plan) -> Network:
    """Make the network that a plan describes, with new weights."""
    torch.manual_seed(plan.run.seed)
    backbone = Backbone(plan.architecture)
    return Network(backbone, plan.task.head(backbone))


def _build(
    plan: Plan,
    prepared: Prepared,
    device: Device,
    network: Network,
    notes: tuple[str, ...],
    start: Start | None,
    began: float,
) -> Generator[Event, None, Experiment]:
    """Put the network in its place, and make the batches that a plan describes."""
    data = prepared.dataset
    device.place(network)

    def batches(split: str, *, training: bool = False) -> Batches:
        return Batches(
            data.split(split),
            plan.input,
            batch_size=plan.recipe.batch_size,
            collate=plan.task.collate,
            seed=plan.run.seed,
            training=training,
            workers=plan.run.workers,
            shape=prepared.shape(data.split(split), plan.input.channels),
        )

    training, validation, test = batches("train", training=True), batches("validation"), batches("test")
    yield from training.load()
    return Experiment(plan, data, device, network, training, validation, test, notes, start, began)


def _train(experiment: Experiment, progress: Progress, folder: RunFolder) -> Generator[Event, None, None]:
    """Train to the end of the recipe: score every epoch on validation, keep the best, save the state, heed signals."""
    plan = experiment.plan
    saved = time.monotonic()
    with listening() as stop:
        for _ in train(experiment.network, plan.task, experiment.training, plan.recipe, progress, experiment.device):
            if progress.epoch_ended:
                *before, row = progress.history
                row["seconds"] = progress.seconds - sum(one["seconds"] for one in before)
                row["waiting"] = progress.waiting - sum(one["waiting"] for one in before)
                yield from _score_epoch(experiment, progress, folder)
            elif not stop:
                yield _step_done(experiment, progress)
            if stop or progress.epoch_ended or time.monotonic() - saved > plan.run.save_minutes * 60:
                _save(experiment, progress, folder)
                saved = time.monotonic()
            if stop:
                raise _stopped(stop, folder, progress)


def _step_done(experiment: Experiment, progress: Progress) -> Advanced:
    # Reading the loss waits for the device, so it is not done after every step.
    detail = f"loss {progress.sums['loss'].item() / progress.samples:.3f}" if progress.step % 10 == 1 else ""
    epochs = f"epoch {progress.epoch + 1}/{experiment.plan.recipe.epochs}"
    return Advanced(epochs, progress.step_in_epoch, len(experiment.training), "steps", detail)


def _score_epoch(experiment: Experiment, progress: Progress, folder: RunFolder) -> Generator[Event, None, None]:
    """Score the epoch on the validation split, record it, and keep the weights if they are the best."""
    plan = experiment.plan
    predictions = yield from predict(
        progress.scored_network, plan.task, experiment.validation, experiment.device, "validation"
    )
    scores = quick_scores(predictions)
    named = {f"validation_{name}": value for name, value in scores.items()}
    first, second = ("loss", "accuracy") if plan.recipe.monitor == "loss" else ("accuracy", "loss")
    progress.record(named, monitor=f"validation_{first}", tie=f"validation_{second}", lower=first == "loss")
    row = progress.history[-1]
    scored = progress.scored_network.state_dict()
    checkpoint = Checkpoint(
        plan.architecture, plan.input, plan.task, scored, {"validation": scores}, _provenance(experiment, progress)
    )
    checkpoint.save(folder.last)
    if progress.improved:
        checkpoint.save(folder.best)
    folder.write_metrics(progress.history)
    yield logged(folder, EpochEnded(progress.epoch, plan.recipe.epochs, row, best=progress.improved))


def _provenance(experiment: Experiment, progress: Progress) -> dict[str, Any]:
    start = {"weights": experiment.start.provenance} if experiment.start else {}
    run = {"epoch": progress.epoch, "seed": experiment.plan.run.seed, "data": experiment.data.name}
    return {**reporting.versions(), **run, **start}


def _finish(experiment: Experiment, progress: Progress, folder: RunFolder) -> Generator[Event, None, Result]:
    """Score the test split, once, with the best weights; write the scores and the report."""
    plan, data = experiment.plan, experiment.data
    best = Checkpoint.load(folder.best)
    network = best.network()
    experiment.device.place(network)
    predictions = yield from predict(network, plan.task, experiment.test, experiment.device, "test")
    evaluation = scoring.evaluate(predictions, data.test_name)
    scoring.write(evaluation, folder.path)
    seconds = {"training": progress.seconds, "total": experiment.elapsed}
    yield Advanced("writing the report", 0, None, "pages")
    result = Result(folder.path, data.test_name, evaluation.samples, evaluation, plan, seconds, experiment.notes)
    pages = (experiment.training, experiment.test, experiment.device, experiment.start)
    run_report.write_run_report(folder, result, data, progress, *pages)
    yield logged(folder, reporting.last_screen(result, progress))
    return result


def _first_screen(experiment: Experiment, by_hand: str) -> Generator[Event, None, list[Section]]:
    yield Advanced("measuring the speed", 0, None, "steps")
    plan, network, training, device = experiment.plan, experiment.network, experiment.training, experiment.device
    duration = reporting.expected_duration(plan, network, training, device)
    start = experiment.start
    return reporting.first_screen(plan, experiment.data, network, training, device, duration, by_hand, start)


def _stopped(stop: StopRequest, folder: RunFolder, progress: Progress) -> Stopped:
    number = stop.signal or 0
    sentence = (
        f"stopped by {Stopped.names.get(number, f'signal {number}')} after epoch {progress.epoch}, step "
        f"{progress.step_in_epoch}; everything is saved, go on with: plusx resume {typed(folder.path)}"
    )
    return Stopped(number, sentence)
