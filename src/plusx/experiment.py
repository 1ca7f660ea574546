"""One experiment, from a source of data to a report. Read this file first: every part appears in order.

seed -> data (classes fixed) -> splits -> plan -> task -> network -> batches -> for progress in train(...): score on
validation, keep the best -> after the loop, once: the test split with the best weights -> report.

`run` and `resume` are generators of events (plusx.events) that return a Result: a console draws them, a notebook may
ignore them.
"""

import dataclasses
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch

from plusx import reporting
from plusx.checkpoint import Checkpoint
from plusx.data import Dataset
from plusx.data.batches import Batches
from plusx.data.split import write_splits
from plusx.device import Device, choose_device
from plusx.errors import Stopped
from plusx.evaluation import evaluate as scoring
from plusx.evaluation.inference import predict, quick_scores
from plusx.events import Advanced, EpochEnded, Event, Noted, Section
from plusx.interruption import StopRequest, listening
from plusx.network.architectures import stem_warning
from plusx.network.backbone import Backbone, Network
from plusx.plan import Plan, Request, resolve
from plusx.preparation import Prepared, overfitting, prepare
from plusx.result import Result
from plusx.run_folder import RunFolder, table, typed
from plusx.run_state import check_same_data, read_state, save_state
from plusx.training.loop import train
from plusx.training.progress import Progress


@dataclass
class Experiment:
    """What one run works with, once all is decided."""

    plan: Plan
    data: Dataset
    device: Device
    network: Network
    training: Batches
    validation: Batches
    test: Batches


def run(
    asked: Request, *, out: Path = Path("runs"), name: str = "", dry: bool = False
) -> Generator[Event, None, Result]:
    """Train a network on a source and score it.

    Args:
        asked: What to train on and how; `plan.request` makes it.
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
    look = asked.changes("input")
    prepared = yield from prepare(asked.run, look.get("max_pixels"), look.get("channels"))
    device = choose_device(asked.run.device, asked.run.precision, asked.run.threads)
    plan, notes = _decide(asked, prepared, device)
    experiment = yield from _build(plan, prepared.dataset, device)
    notes = (*experiment.data.notes, *notes)
    screen = [*(yield from _first_screen(experiment)), *(Noted(note, "warning") for note in notes)]
    if dry:
        yield from screen
        total = {"training": 0.0, "total": time.perf_counter() - began}
        return Result(None, experiment.data.test_name, len(experiment.test.samples), None, plan, total, notes)
    folder = RunFolder.create(out, experiment.data.name, name)
    _describe(folder, experiment)
    for event in screen:
        yield _logged(folder, event)
    progress = Progress(experiment.network, plan.recipe)
    save_state(folder, plan, progress)
    yield from _train(experiment, progress, folder)
    return (yield from _finish(experiment, progress, folder, notes, began))


def resume(path: Path) -> Generator[Event, None, Result]:
    """Go on with a run where its state was last saved, as if it had never stopped.

    Raises:
        CheckpointError: There is no such run or its state cannot be read.
        DataError: The data are no longer those that the run began with.
    """
    began = time.perf_counter()
    folder = RunFolder.open(path)
    header, tensors, notes = read_state(folder)
    plan = Plan.from_dict(header["plan"])
    prepared = yield from prepare(plan.run, plan.input.max_pixels)
    device = choose_device(plan.run.device, plan.run.precision, plan.run.threads)
    experiment = yield from _build(plan, prepared.dataset, device)
    check_same_data(folder, experiment.data)
    progress = Progress(experiment.network, plan.recipe)
    progress.load_state_dict(header["progress"], tensors)
    place = f"epoch {progress.epoch + 1}, step {progress.step_in_epoch}" if progress.step_in_epoch else "a new epoch"
    notes = (*notes, f"resuming {folder.path} after {progress.epoch} epochs, at {place}")
    for note in notes:
        yield _logged(folder, Noted(note))
    yield from _train(experiment, progress, folder)
    return (yield from _finish(experiment, progress, folder, experiment.data.notes, began))


def _decide(asked: Request, prepared: Prepared, device: Device) -> tuple[Plan, tuple[str, ...]]:
    """Resolve the plan for this data and device, and mend what the data make impossible, with a sentence each."""
    notes: list[str] = []
    plan = resolve(asked, prepared.facts, prepared.statistics)
    chosen = {"device": device.name, "precision": device.precision, "threads": device.threads}
    plan = dataclasses.replace(plan, run=dataclasses.replace(plan.run, **chosen))
    if plan.run.workers < 0:
        workers = min(os.cpu_count() or 1, 8)
        plan = dataclasses.replace(plan, run=dataclasses.replace(plan.run, workers=workers))
    warning = stem_warning(plan.architecture, plan.input.height, plan.input.width)
    if warning:
        notes.append(warning)
    samples = prepared.facts.samples
    if plan.recipe.batch_size > samples:
        notes.append(
            f"the batch of {plan.recipe.batch_size} is larger than the {samples} training samples: "
            f"all {samples} make one batch; a smaller --batch-size trains in more steps"
        )
        plan = dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, batch_size=samples))
    if samples % plan.recipe.batch_size == 1 and samples > 1:
        notes.append(
            f"the last batch of an epoch would hold one sample, from which batch normalization cannot learn: "
            f"it joins the batch before it ({samples} samples, batches of {plan.recipe.batch_size})"
        )
    if plan.run.overfit_batches:
        off = {"flip": False, "pad_and_crop": 0, "random_resized_crop": False, "cutout": 0, "policy": "none"}
        plan = dataclasses.replace(plan, input=dataclasses.replace(plan.input, **off))
    return plan, tuple(notes)


def _build(plan: Plan, data: Dataset, device: Device) -> Generator[Event, None, Experiment]:
    """Make the network and the batches that a plan describes."""
    torch.manual_seed(plan.run.seed)
    if plan.run.overfit_batches:
        data = overfitting(data, plan.run.overfit_batches * plan.recipe.batch_size)
    backbone = Backbone(plan.architecture)
    network = Network(backbone, plan.task.head(backbone))
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
        )

    experiment = Experiment(
        plan, data, device, network, batches("train", training=True), batches("validation"), batches("test")
    )
    yield from experiment.training.load()
    return experiment


def _train(experiment: Experiment, progress: Progress, folder: RunFolder) -> Generator[Event, None, None]:
    """Train to the end of the recipe: score every epoch on validation, keep the best, save the state, heed signals."""
    plan = experiment.plan
    saved = time.monotonic()
    epoch_began, waiting_before = progress.seconds, progress.waiting
    with listening() as stop:
        for _ in train(experiment.network, plan.task, experiment.training, plan.recipe, progress, experiment.device):
            if progress.epoch_ended:
                progress.history[-1]["seconds"] = progress.seconds - epoch_began
                progress.history[-1]["waiting"] = progress.waiting - waiting_before
                epoch_began, waiting_before = progress.seconds, progress.waiting
                yield from _score_epoch(experiment, progress, folder)
            elif not stop:
                yield _step_done(experiment, progress)
            if stop or progress.epoch_ended or time.monotonic() - saved > plan.run.save_minutes * 60:
                save_state(folder, plan, progress)
                saved = time.monotonic()
            if stop:
                _leave(stop, folder, progress)


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
    progress.record(named, monitor="validation_accuracy", tie="validation_loss")
    row = progress.history[-1]
    checkpoint = Checkpoint(
        plan.architecture,
        plan.input,
        plan.task,
        progress.scored_network.state_dict(),
        {"validation": scores},
        {**reporting.versions(), "epoch": progress.epoch, "seed": plan.run.seed, "data": experiment.data.name},
    )
    checkpoint.save(folder.last)
    if progress.improved:
        checkpoint.save(folder.best)
    folder.write_metrics(progress.history)
    yield _logged(folder, EpochEnded(progress.epoch, plan.recipe.epochs, row, best=progress.improved))


def _finish(
    experiment: Experiment, progress: Progress, folder: RunFolder, notes: tuple[str, ...], began: float
) -> Generator[Event, None, Result]:
    """Score the test split, once, with the best weights; write the scores and the report."""
    plan, data = experiment.plan, experiment.data
    best = Checkpoint.load(folder.best)
    network = best.network()
    experiment.device.place(network)
    predictions = yield from predict(network, plan.task, experiment.test, experiment.device, "test")
    evaluation = scoring.evaluate(predictions, data.test_name)
    scoring.write(evaluation, folder.path)
    seconds = {"training": progress.seconds, "total": time.perf_counter() - began}
    yield Advanced("writing the report", 0, None, "pages")
    result = Result(folder.path, data.test_name, evaluation.samples, evaluation, plan, seconds, notes)
    reporting.write_run_report(folder, result, data, progress, experiment.training, experiment.test, experiment.device)
    yield _logged(folder, reporting.last_screen(result, progress))
    return result


def _first_screen(experiment: Experiment) -> Generator[Event, None, list[Section]]:
    yield Advanced("measuring the speed", 0, None, "steps")
    plan, network, training, device = experiment.plan, experiment.network, experiment.training, experiment.device
    duration = reporting.expected_duration(plan, network, training, device)
    return reporting.first_screen(plan, experiment.data, network, training, device, duration)


def _describe(folder: RunFolder, experiment: Experiment) -> None:
    """Write what is known before training: plan, environment, classes, splits, what was set aside, samples."""
    folder.write("config.yaml", experiment.plan.to_yaml())
    folder.write_json("environment.json", reporting.environment(experiment.device))
    folder.write_json("classes.json", list(experiment.data.classes))
    write_splits(folder.splits, experiment.data)
    rejected = [{"path": one.name, "reason": one.reason} for one in experiment.data.rejected]
    folder.write("rejected.csv", table(rejected, ("path", "reason")))
    for one in experiment.data.rejected:
        folder.log(f"set aside: {one.name} {one.reason}")
    reporting.write_samples(folder, experiment.training)


def _leave(stop: StopRequest, folder: RunFolder, progress: Progress) -> None:
    number = stop.signal or 0
    sentence = (
        f"stopped by {Stopped.names.get(number, f'signal {number}')} after epoch {progress.epoch}, step "
        f"{progress.step_in_epoch}; everything is saved, go on with: plusx resume {typed(folder.path)}"
    )
    folder.log(sentence)
    raise Stopped(number, sentence)


def _logged(folder: RunFolder, event: Event) -> Event:
    """Write an event to the run's log on its way to the console."""
    match event:
        case Noted(text=text):
            folder.log(text)
        case Section(title=title, rows=rows):
            folder.log("\n".join([title, *(f"    {name}: {value}" for name, value in rows)]))
        case EpochEnded(epoch=epoch, epochs=epochs, scores=scores):
            numbers = ", ".join(f"{name} {value:.5g}" for name, value in scores.items() if name != "epoch")
            folder.log(f"epoch {epoch}/{epochs}: {numbers}")
        case Advanced():
            pass
    return event
