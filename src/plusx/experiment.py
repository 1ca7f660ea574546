"""One experiment, from a source of data to a report. Read this file first: every part appears in order.

seed -> data (classes fixed) -> splits -> plan -> task -> network -> batches -> for progress in train(...): score on
validation, keep the best -> after the loop, once: the test split with the best weights -> report.

`run` and `resume` are generators of events (plusx.events) that return a Result: a console draws them, a notebook may
ignore them.
"""

import dataclasses
import time
from collections.abc import Generator
from pathlib import Path

import torch

from plusx import job, memory, random_streams, ranks, reporting, run_report, timing
from plusx.data.batches import Batches
from plusx.data.cache import Cache
from plusx.data.reading import readable
from plusx.decisions import changes_by_hand, decide
from plusx.device import Device, choose_device
from plusx.errors import PlusxError, StorageError, UsageError
from plusx.evaluation import evaluate as scoring
from plusx.evaluation.inference import predict
from plusx.events import Advanced, Event, Noted
from plusx.network.backbone import Backbone, Network
from plusx.plan import Plan
from plusx.preparation import Prepared, overfitting, prepare
from plusx.request import Request
from plusx.result import Result
from plusx.run_folder import RunFolder, WatchedFolder, typed
from plusx.run_report import logged
from plusx.run_state import check_same_data, read_state, remember_teacher
from plusx.sitting import Sitting, kept, load, save, train_on
from plusx.start import Start, architecture_for, put_into, seen_before
from plusx.training.distillation import Teacher
from plusx.training.progress import Progress
from plusx.training.sizes import side
from plusx.training.synchronized_norm import synchronize_norms
from plusx.weights.read import read_weights
from plusx.weights.trained import Weights


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
    with ranks.joined(), memory.bounded():
        earlier = None if dry else job.begun(out, asked, name)
        return (yield from (resume(earlier) if earlier else _begin(asked, out, name, dry=dry)))


def _begin(asked: Request, out: Path, name: str, *, dry: bool) -> Generator[Event, None, Result]:
    if not dry and ranks.is_first():
        RunFolder.check(out, name)
    sitting, prepared, weights = yield from sitting_of(asked)
    if dry:
        sitting.training.cache = None
        yield from sitting.training.load()
    else:
        yield from load(sitting, out)
    sitting, duration = yield from _timed(sitting)
    plan, network, start = sitting.plan, sitting.network, sitting.start
    by_hand = changes_by_hand(asked, prepared, weights)
    pages = (plan, sitting.data, network, sitting.training, sitting.device, duration, by_hand, start)
    screen: list[Event] = [*reporting.first_screen(*pages)]
    screen += [Noted(note, "warning") for note in sitting.notes]
    if dry:
        yield from screen
        yield reporting.whole_plan(plan)
        data, seconds = sitting.data, {"training": 0.0, "total": sitting.elapsed}
        return Result(None, data.test_name, len(sitting.test.samples), None, plan, seconds, sitting.notes)
    folder = RunFolder.create(out, sitting.data.name, name) if ranks.is_first() else WatchedFolder(out)
    with folder.held():
        run_report.describe(folder, plan, sitting.data, sitting.training, sitting.device)
        remember_teacher(folder, sitting.teacher)
        for event in screen:
            yield logged(folder, event)
        progress = Progress(sitting.network, plan.recipe)
        save(sitting, progress, folder)
        job.remember(folder, asked, name)
        folder.publish()
        return (yield from _go_on(sitting, progress, folder))


def sitting_of(asked: Request) -> Generator[Event, None, tuple[Sitting, Prepared, Weights | None]]:
    """Prepare the data, decide the plan, and build all that a run works with; no image is held or cached yet.

    Raises:
        UsageError, DataError, StorageError: The request, the data or the disk do not allow it.
    """
    began = time.perf_counter()
    weights = (yield from ranks.once_a_machine(read_weights(asked.run.weights))) if asked.run.weights else None
    # Its errors are said before any image is looked at.
    architecture_for(weights, asked.run.model, asked.changes("architecture"))
    look = asked.changes("input")
    prepared = yield from ranks.once_a_machine(prepare(asked.run, look.get("max_pixels"), look.get("channels")))
    device = choose_device(asked.run.device, asked.run.precision, asked.run.threads)
    prepared, plan, notes = decide(asked, prepared, device, weights)
    plan, notes = ranks.from_first((plan, notes))
    network = network_of(plan)
    start = put_into(network, weights, plan.task.classes) if weights else None
    notes = (*prepared.dataset.notes, *seen_before(weights, prepared.dataset), *notes)
    if weights is None:
        show_training_images(network, prepared, plan)
    return _build(plan, prepared, device_of(plan), network, notes, start, began), prepared, weights


def resume(path: Path, *, anyway: bool = False) -> Generator[Event, None, Result]:
    """Go on with a run where its state was last saved, as if it had never stopped.

    Args:
        path: The run's folder.
        anyway: Go on even where versions, threads or the instruction set differ and the bits may, too.

    Raises:
        CheckpointError: There is no such run, its state cannot be read, or what its bits depend on differs here.
        DataError: The data are no longer those that the run began with.
        UsageError: Another process is at work on the run.
    """
    with ranks.joined(), memory.bounded("end other programs, or resume it where there is more"):
        folder = RunFolder.open(path) if ranks.is_first() else WatchedFolder(path)
        with folder.held():
            return (yield from _resumed(folder, anyway=anyway))


def _resumed(folder: RunFolder, *, anyway: bool) -> Generator[Event, None, Result]:
    state = ranks.from_first(read_state(folder) if folder.writes else None)
    assert state is not None  # noqa: S101 - the first rank has read it
    began = time.perf_counter() - state.elapsed
    plan = state.plan
    device = _same_device(plan, folder)
    differs = state.expect_same_arithmetic(folder, device, anyway=anyway)
    prepared = yield from ranks.once_a_machine(prepare(plan.run, plan.input.max_pixels, measure=False))
    if plan.run.overfit_batches:
        prepared = overfitting(prepared, plan.run.overfit_batches * plan.recipe.batch_size)
    warnings = (*state.warnings, *([differs] if differs else []))
    notes = tuple(dict.fromkeys((*state.notes, *warnings)))
    sitting = _build(plan, prepared, device, network_of(plan), notes, state.start, began)
    if folder.writes:
        check_same_data(folder, sitting.data, sitting.teacher)
    progress = Progress(sitting.network, plan.recipe)
    progress.load_state_dict(state.progress, state.tensors)
    yield from load(sitting, folder.path, folder.size() if folder.writes else 0)
    folder.mend()
    folder.write_metrics(progress.history)  # a killed sitting may have written an epoch that is not in its state
    place = f"epoch {progress.epoch + 1}, step {progress.step_in_epoch}" if progress.step_in_epoch else "a new epoch"
    for note in warnings:
        yield logged(folder, Noted(note, "warning"))
    yield logged(folder, Noted(f"resuming {folder.path} after {progress.epoch} epochs, at {place}"))
    return (yield from _go_on(sitting, progress, folder))


def _same_device(plan: Plan, folder: RunFolder) -> Device:
    try:
        return device_of(plan)
    except UsageError as error:
        raise UsageError(
            f"the run {str(folder.path)!r} was computed on {plan.run.device!r}, which is not here; resume it where "
            f"that is, or train anew: plusx train --config {typed(folder.config)} --device auto"
        ) from error


def device_of(plan: Plan) -> Device:
    """Return the device that a plan names, used as the plan says."""
    device = choose_device(plan.run.device, plan.run.precision, plan.run.threads)
    return dataclasses.replace(device, compiled=plan.run.compile == "on")


def _go_on(sitting: Sitting, progress: Progress, folder: RunFolder) -> Generator[Event, None, Result]:
    """Train from wherever `progress` is to the end, and finish; what stops the run is in its log, too."""
    try:
        yield from train_on(sitting, progress, folder)
        return (yield from _finish(sitting, progress, folder))
    except StorageError:
        raise  # the log cannot be trusted to take another line
    except PlusxError as error:
        folder.log(str(error))
        raise


def network_of(plan: Plan) -> Network:
    """Make the network that a plan describes, with new weights."""
    torch.manual_seed(plan.run.seed)
    backbone = Backbone(plan.architecture)
    return Network(backbone, plan.task.head(backbone))


def show_training_images(network: Network, prepared: Prepared, plan: Plan) -> None:
    """Let the stem learn what it wants to know of training images, before training; most want nothing."""
    stem = network.backbone.stem
    samples = prepared.dataset.split("train")
    chosen = random_streams.order(plan.run.seed, 0, len(samples))[: stem.learned_images].tolist()
    if chosen:
        stem.learn(torch.stack([plan.input.prepare(readable(plan.input.read, samples[index])) for index in chosen]))


def _build(
    plan: Plan,
    prepared: Prepared,
    device: Device,
    network: Network,
    notes: tuple[str, ...],
    start: Start | None,
    began: float,
) -> Sitting:
    """Put the network in its place, and make the batches that a plan describes."""
    data, recipe, look = prepared.dataset, plan.recipe, plan.input
    job.expect_same_data(data)
    if plan.run.sync_batch_norm:
        synchronize_norms(network)
    device.place(network)
    ranks.share(network)
    sizes = (
        (lambda epoch: side(recipe, epoch, look.height, look.width))
        if min(recipe.first_size, recipe.last_size) < 1
        else None
    )

    place = Path(plan.run.cache).expanduser()
    cache = Cache(place, look.reduced, look.reduction) if plan.run.cache else None

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
            repeats=recipe.repeats if training else 1,
            sizes=sizes if training else None,
            cache=cache if training else None,
            rank=ranks.rank(),
            ranks=ranks.count(),
        )

    training, test = batches("train", training=True), batches("test")
    validation = batches("validation") if data.split("validation") else None
    teacher = Teacher.load(plan.run.teacher, plan.task, plan.input, device) if plan.run.teacher else None
    if teacher:
        job.expect_same_teacher(teacher)
    if ranks.rank():  # what is drawn in training for a rank's own samples is drawn apart
        torch.manual_seed(random_streams.of_rank(plan.run.seed, ranks.rank()))
    return Sitting(plan, data, device, network, teacher, training, validation, test, notes, start, began)


def _finish(sitting: Sitting, progress: Progress, folder: RunFolder) -> Generator[Event, None, Result]:
    """Score the test split, once, with the best weights; write the scores and the report."""
    plan, data = sitting.plan, sitting.data
    network = (yield from kept(sitting, progress, folder)).network() if folder.writes else network_of(plan)
    sitting.device.place(network)
    ranks.share(network)
    predictions = yield from predict(network, plan.task, sitting.test, sitting.device, "test")
    evaluation = scoring.evaluate(predictions, data.test_name)
    seconds = {"training": progress.seconds, "total": sitting.elapsed}
    notes = (*sitting.notes, *progress.incidents)
    path = ranks.from_first(folder.path)
    result = Result(path, data.test_name, evaluation.samples, evaluation, plan, seconds, notes)
    if not folder.writes:
        return result
    scoring.write(evaluation, folder.path)
    yield Advanced("writing the report", 0, None, "pages")
    pages = (sitting.training, sitting.test, sitting.device, sitting.start)
    run_report.write_run_report(folder, result, data, progress, *pages)
    yield logged(folder, reporting.last_screen(result, progress))
    job.finish(folder)
    return result


def _timed(sitting: Sitting) -> Generator[Event, None, tuple[Sitting, tuple[str, str]]]:
    """Measure how long training will take, and decide whether it is compiled, if nobody has."""
    yield Advanced("measuring the speed", 0, None, "steps")
    plan, device = sitting.plan, sitting.device
    measured = (plan, sitting.network, sitting.training, device)
    seconds, said = timing.seconds_per_epoch(*measured, sitting.teacher), ""
    if plan.run.compile == "auto":
        pays, seconds, said = timing.compilation_pays(*measured, seconds, sitting.teacher)
        plan = dataclasses.replace(plan, run=dataclasses.replace(plan.run, compile="on" if pays else "off"))
        device = dataclasses.replace(device, compiled=pays)
    words = f"about {reporting.in_words(seconds * timing.epochs_of(plan.recipe, sitting.training))} of training"
    duration = ("expected", f"{words}; {said}" if said else words)
    return dataclasses.replace(sitting, plan=plan, device=device), duration
