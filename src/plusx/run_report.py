"""The files of a run: its description before training, its log, and its report after it."""

from pathlib import Path

import torch

from plusx import random_streams, reporting
from plusx.data import Dataset, Sample
from plusx.data.batches import Batches
from plusx.data.split import write_splits
from plusx.device import Device
from plusx.evaluation.layer_table import layer_table
from plusx.evaluation.pictures import contact_sheet, to_png
from plusx.evaluation.report import Mistake, Picture, ReportData, write_report
from plusx.events import Advanced, EpochEnded, Event, Noted, Section
from plusx.plan import Plan
from plusx.reporting import in_millions, in_words
from plusx.result import Result
from plusx.run_folder import RunFolder, typed
from plusx.start import Start
from plusx.storage import write_bytes
from plusx.training.progress import Progress

SHEET = 32  # augmented samples on the sheet
MISTAKES = 24  # most confident mistakes in the report


def describe(folder: RunFolder, plan: Plan, data: Dataset, training: Batches, device: Device) -> None:
    """Write what is known before training: plan, environment, classes, splits, what was set aside, samples."""
    folder.write("config.yaml", plan.to_yaml())
    folder.write_json("environment.json", reporting.environment(device))
    folder.write_json("classes.json", list(data.classes))
    if not folder.writes:
        return
    write_splits(folder.splits, data)
    folder.write_rejected((one.name, one.reason) for one in data.rejected)
    for one in data.rejected:
        folder.log(f"set aside: {one.name} {one.reason}")
    write_samples(folder, training)


def write_samples(folder: RunFolder, batches: Batches) -> None:
    """Write samples/augmented.png: what the first training samples of the first epoch look like to the network."""
    sheet = contact_sheet([pixels.numpy() for pixels, _ in _augmented(batches)])
    write_bytes(folder.path / "samples" / "augmented.png", sheet)


def write_run_report(
    folder: RunFolder,
    result: Result,
    data: Dataset,
    progress: Progress,
    training: Batches,
    test: Batches,
    device: Device,
    start: Start | None = None,
) -> Path:
    """Write report.html."""
    evaluation, plan = result.evaluation, result.plan
    if evaluation is None:
        raise ValueError("a report needs an evaluation")
    time = ("time", in_words(progress.seconds))
    sections = reporting.first_screen(plan, data, progress.network, training, device, time, start=start)
    architecture, look = plan.architecture, plan.input
    rows = layer_table(architecture, len(data.classes), (look.height, look.width))
    samples = [
        Picture(to_png(pixels.numpy()), data.classes[sample.target or 0]) for pixels, sample in _augmented(training)
    ]
    headline = (
        f"{architecture.name} on {data.name}: {len(training.samples):,} training images "
        f"of {len(data.classes)} classes, {progress.epoch} epochs, recipe {plan.recipe.name}"
    )
    return write_report(
        folder.path,
        ReportData(
            title=folder.path.name,
            headline=headline,
            evaluation=evaluation,
            sections=tuple(sections),
            history=tuple(progress.history),
            best_epoch=progress.kept_epoch,
            samples=tuple(samples),
            mistakes=tuple(_mistake(result, test, index) for index in evaluation.mistakes[:MISTAKES].tolist()),
            layers=tuple(
                (
                    row.stage,
                    "x".join(map(str, row.output_size)),
                    row.blocks,
                    f"{row.parameters:,}",
                    in_millions(row.multiply_adds),
                )
                for row in rows
            ),
            environment=tuple(reporting.environment(device).items()),
            rejected=tuple((one.name, one.reason) for one in data.rejected),
            notes=result.notes,
            commands=(
                ("Train it again", f"plusx train --config {typed(folder.config)}"),
                ("Use it", f"plusx predict {typed(folder.path)} IMAGE ..."),
                ("Score it on other data", f"plusx evaluate {typed(folder.path)} FOLDER"),
            ),
        ),
    )


def _mistake(result: Result, test: Batches, index: int) -> Mistake:
    assert result.evaluation is not None  # noqa: S101 - the caller has just made it
    predictions = result.evaluation.predictions
    look = result.plan.input
    pixels = look.fit_to_size(look.read(test.samples[index].source)).round().clamp(0, 255).to(torch.uint8)
    return Mistake(
        png=to_png(pixels.numpy()),
        true=predictions.classes[predictions.targets[index]],
        predicted=predictions.classes[predictions.predicted[index]],
        probability=float(predictions.confidences[index]),
        name=predictions.names[index],
    )


def _augmented(batches: Batches) -> list[tuple[torch.Tensor, Sample]]:
    """The first samples of the first epoch as the network sees them, before normalization."""
    look, seed = batches.input, batches.seed
    first = random_streams.order(seed, 0, len(batches.samples))[:SHEET]
    numbers = random_streams.uniform(seed, 0, first, look.draws)
    samples = [batches.samples[index] for index in first.tolist()]
    return [(look.read_augmented(sample.source, row), sample) for sample, row in zip(samples, numbers, strict=True)]


def logged(folder: RunFolder, event: Event) -> Event:
    """Write an event to the run's log on its way to the console."""
    match event:
        case Noted(text=text):
            folder.log(text)
        case Section(title=title, rows=rows):
            folder.log(
                "\n".join([title, *(f"    {name}: {value}" if name else f"    {value}" for name, value in rows)])
            )
        case EpochEnded(epoch=epoch, epochs=epochs, scores=scores):
            numbers = ", ".join(f"{name} {value:.5g}" for name, value in scores.items() if name != "epoch")
            folder.log(f"epoch {epoch}/{epochs}: {numbers}")
        case Advanced():
            pass
    return event
