"""One self-contained HTML page about a run, made of plain data, and the plots beside it."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from plusx.evaluation import plots
from plusx.evaluation.confusion import TABLE_CLASSES, cells_of, confused_pairs, heat_map, is_upright, width_of
from plusx.evaluation.evaluate import ClassScores, Evaluation
from plusx.evaluation.pictures import size_of
from plusx.evaluation.scores import Score
from plusx.events import Section
from plusx.storage import write_bytes, write_text, writing

Rows = tuple[tuple[str, str], ...]

LISTED_CLASSES = 100
TINY = 96  # a picture with a shorter side than this is shown in whole squares
SCALES = (0.99, 0.98, 0.95, 0.9, 0.8, 0.5, 0.0)  # where the line of a score's bar may begin
LAYERS_HEADER = ("stage", "output size", "blocks", "parameters", "multiply-adds")
SCORES = {
    "accuracy": ("Accuracy", "right answers"),
    "top5_accuracy": ("Top-5 accuracy", "right class among the first five"),
    "balanced_accuracy": ("Balanced accuracy", "recall, every class counting the same"),
    "macro_precision": ("Macro precision", "precision, every class counting the same"),
    "macro_f1": ("Macro F1", "F1, every class counting the same"),
    "calibration_error": ("Calibration error", "how far confidence is off, 0 is best"),
    "log_loss": ("Log loss", "−ln p of the right class, 0 is best"),
}


@dataclass(frozen=True)
class Picture:
    """A PNG file and what stands under it."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Mistake:
    """A wrong answer; its picture may be missing."""

    png: bytes | None
    true: str
    predicted: str
    probability: float
    name: str


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that a report says.

    Args:
        title: The run's name.
        headline: One sentence: what was trained on what.
        evaluation: Of the split that is scored once, at the end.
        sections: Data set, network, training, device: each a title and rows of a name and a value.
        history: A row an epoch: epoch, train_loss, train_accuracy, validation_loss, validation_accuracy,
            learning_rate; others are ignored, None is left out.
        best_epoch: The epoch whose weights are scored.
        samples: Augmented training samples.
        mistakes: The most confident mistakes.
        layers: The network's rows, as text, under `layers_header`.
        environment: Versions and hardware.
        rejected: Files that were set aside: name and reason.
        notes: Sentences a person should read before anything else.
        commands: What a command does, and the command.
    """

    title: str
    headline: str
    evaluation: Evaluation
    sections: tuple[Section, ...] = ()
    history: tuple[Mapping[str, float | int | None], ...] = ()
    best_epoch: int | None = None
    samples: tuple[Picture, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    layers: tuple[tuple[str, ...], ...] = ()
    layers_header: tuple[str, ...] = LAYERS_HEADER
    environment: Rows = ()
    rejected: Rows = ()
    notes: tuple[str, ...] = ()
    commands: Rows = ()


def in_percent(share: float) -> str:
    """Return a share in percent with one decimal; one just below 100 % or above 0 % is not rounded to it."""
    for digits in (1, 2, 3):
        text = f"{100 * share:.{digits}f}"
        if share in (0.0, 1.0) or 0.0 < float(text) < 100.0:
            return text
    return text


def percents(score: Score | None) -> str:
    """Return a share with its unit; an undefined one as a dash."""
    return "–" if score is None else f"{in_percent(score.value)}\u00a0%"


def interval(score: Score | None) -> str:
    """Return the interval of a share in percent."""
    return "–" if score is None else f"{in_percent(score.low)} to {in_percent(score.high)}\u00a0%"


def place(value: float, low: float, width: float) -> float:
    """Return where a value stands on a bar that shows `low` to 1 on `width` pixels."""
    return round(4 + (width - 8) * (max(value, low) - low) / (1 - low), 1)


def scale_for(scores: Sequence[Score]) -> float:
    """Return where bars begin so that all these scores and their intervals are seen."""
    lowest = min((score.low for score in scores), default=0.0)
    return next(low for low in SCALES if low <= lowest)


def environment() -> Environment:
    """Return the templates with the filters that they use; everything they print is escaped."""
    templates = Environment(
        loader=PackageLoader("plusx.evaluation"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    filters: dict[str, Callable[..., Any]] = {
        "in_percent": in_percent,
        "percents": percents,
        "interval": interval,
        "place": place,
        "upright": is_upright,
        "tidy": lambda value: f"{value:g}",
        "data_uri": lambda png: "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
        "tiny": lambda png: min(size_of(png)) < TINY,
    }
    templates.filters.update(filters)
    return templates


def trust(evaluation: Evaluation) -> str:
    """Say in a sentence or two whether the network is too sure of itself."""
    known = np.concatenate([np.repeat(b.confidence or 0.0, b.samples) for b in evaluation.calibration])
    confidence, accuracy = float(known.mean()), evaluation.scores["accuracy"]
    says = f"Its mean confidence is {in_percent(confidence)}\u00a0%, and {percents(accuracy)} of its answers are right"
    if accuracy.low <= confidence <= accuracy.high:
        return says + ": taken together, no more and no less sure than it should be."
    points = 100 * abs(confidence - accuracy.value)
    return says + f": it is {points:.1f} points too {'sure' if confidence > accuracy.value else 'modest'}."


def learned(data: ReportData) -> str:
    """Say in a sentence how long the training went and which epoch is the best."""
    count = len(data.history)
    says = f"{count} epoch{'s' if count != 1 else ''}."
    if data.best_epoch is not None:
        says += f" The weights that are scored are those of epoch {data.best_epoch}, chosen on the validation split."
    return says


def is_numeric(column: Sequence[str]) -> bool:
    """Tell whether a column of text holds numbers and empty cells only, and is set flush right."""
    return all(re.fullmatch(r"([\d.,]+( [mb]illion)?)?", cell) for cell in column)


def sorted_classes(evaluation: Evaluation) -> list[ClassScores]:
    """Return the classes, the lowest F1 first, those without one last."""
    return sorted(evaluation.per_class, key=lambda row: (row.f1 is None, row.f1.value if row.f1 else 0.0))


def score_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """Return the table of scores."""
    rows: list[dict[str, str]] = []
    for key, (name, says) in SCORES.items():
        score = evaluation.scores.get(key)
        if score is None:
            continue
        share = key != "log_loss"
        value = percents(score) if share else f"{score.value:.3f}"
        rows.append({
            "name": name, "says": says, "value": value,
            "interval": interval(score) if share else f"{score.low:.3f} to {score.high:.3f}",
        })  # fmt: skip
    return rows


def render(data: ReportData, templates: Environment, calibration: str) -> str:
    """Return the page; `calibration` is that plot as SVG."""
    evaluation = data.evaluation
    classes = evaluation.predictions.classes
    accuracy = evaluation.scores["accuracy"]
    compact = len(classes) > TABLE_CLASSES
    by_f1 = sorted_classes(evaluation)
    listed = by_f1[:LISTED_CLASSES]
    wrong = len(evaluation.mistakes)
    curves = [
        (
            title,
            plots.inline(plots.to_svg(plots.curve(data.history, title, data.best_epoch)), f"{title} of each epoch"),
        )
        for title in plots.PANELS
        if data.history
    ]
    parts = [
        ("what", "Data and network", data.sections), ("curves", "Curves", curves), ("confusion", "Confusion", True),
        ("classes", "Classes", True), ("mistakes", "Mistakes", wrong), ("calibration", "Calibration", True),
        ("samples", "Samples", data.samples), ("network", "Layers", data.layers),
        ("rejected", "Set aside", data.rejected), ("again", "Make it again", True),
    ]  # fmt: skip
    matrix_rows = [
        {"name": name, "cells": cells, "total": sum(cell["count"] for cell in cells)}
        for name, cells in zip(classes, cells_of(evaluation), strict=True)
        if not compact
    ]
    return templates.get_template("report.html.jinja").render(
        data=data,
        e=evaluation,
        classes=classes,
        main={"number": in_percent(accuracy.value), "low": scale_for([accuracy])},
        score_rows=score_rows(evaluation),
        parts=[(anchor, name) for anchor, name, there in parts if there],
        curves=curves,
        learned=learned(data),
        matrix_rows=matrix_rows,
        long_names=max(width_of(name) for name in classes) > 4,
        heat_map=heat_map(templates, evaluation, alone=False) if compact else "",
        pairs=confused_pairs(evaluation, 20 if compact else 8),
        class_rows=listed,
        class_low=scale_for([row.f1 for row in listed if row.f1]),
        more_classes=len(by_f1) - len(listed),
        undefined=any(None in (row.precision, row.recall, row.f1) for row in listed),
        mistake_count=wrong,
        mistakes_sentence=f"{wrong:,} of {evaluation.samples:,} answers are wrong; these are the surest of them.",
        calibration=plots.inline(calibration, "share of right answers for each confidence"),
        trust=trust(evaluation),
        layer_numbers=[is_numeric(column) for column in zip(*data.layers, strict=True)],
    )


def write_report(folder: Path, data: ReportData) -> Path:
    """Write report.html, one page that loads nothing, and plots/ (curves, calibration, confusion) beside it.

    Raises:
        StorageError: The folder cannot be written.
    """
    templates = environment()
    with writing(folder / "plots"):
        (folder / "plots").mkdir(parents=True, exist_ok=True)
    figures = {"calibration": plots.calibration(data.evaluation.calibration)}
    if data.history:
        figures["curves"] = plots.curves(data.history, data.best_epoch)
    drawn = {name: plots.to_svg(figure) for name, figure in figures.items()}
    for name, figure in figures.items():
        write_text(folder / "plots" / f"{name}.svg", drawn[name])
        write_bytes(folder / "plots" / f"{name}.png", plots.to_png(figure))
    write_text(folder / "plots" / "confusion.svg", heat_map(templates, data.evaluation, alone=True))
    path = folder / "report.html"
    # a path that is no valid Unicode is shown with escapes
    page = render(data, templates, drawn["calibration"])
    write_text(path, page.encode("utf-8", "backslashreplace").decode("utf-8"))
    return path
