"""A trained network on the screen: what it is, what it was trained on and how, how good it is, where it came from."""

import dataclasses
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plusx.checkpoint import Checkpoint, checkpoint_file
from plusx.cli.console import Screen
from plusx.cli.layers import draw, input_words, show_table, table_values
from plusx.errors import UsageError
from plusx.evaluation.complexity import survey
from plusx.evaluation.layer_table import rows_of
from plusx.events import Noted
from plusx.inputs.image import ImageInput
from plusx.request import read_config
from plusx.run_folder import RunFolder
from plusx.weights.files import is_foreign

LISTED = 12  # classes that are named
SCORES = {
    "accuracy": "accuracy",
    "top5_accuracy": "top-5 accuracy",
    "macro_f1": "macro F1",
    "calibration_error": "calibration error",
}
VERSIONS = ("python", "plusx", "torch", "torchvision", "numpy")


def name_of(path: Path) -> str:
    """Return what a run or a checkpoint is called: the folder's name, or the file's without its suffix."""
    whole = path.resolve()
    return whole.name if whole.is_dir() else whole.name.removesuffix(".safetensors")


def run_of(path: Path) -> RunFolder | None:
    """Return the run whose best weights a path means; None for any other checkpoint."""
    folder = RunFolder(path if path.is_dir() else path.resolve().parent.parent)
    mine = folder.config.is_file() and checkpoint_file(path).resolve() == folder.best.resolve()
    return folder if mine else None


def show_trained(screen: Screen, path: Path, files: tuple[Path, ...]) -> None:
    """Show a trained network, and draw it.

    Raises:
        CheckpointError: There is none, or it is damaged.
        UsageError: It holds other people's weights.
    """
    if is_foreign(path):
        command = f"plusx weights show {shlex.quote(str(path))}"
        raise UsageError(f"{str(path)!r} holds weights, but is no run and no checkpoint of plusx; use {command}")
    checkpoint = Checkpoint.load(path)
    run = run_of(path)
    scored, recipe = (read_scores(screen, run), read_recipe(screen, run)) if run else ({}, {})
    look, classes, provenance = checkpoint.input, checkpoint.task.classes, checkpoint.provenance
    architecture = checkpoint.architecture
    surveyed = survey(architecture, len(classes), (look.height, look.width))
    rows = rows_of(surveyed)
    if not screen.json:
        screen.section(
            name_of(path),
            (
                ("model", f"{architecture.name} ({architecture.paper})"),
                ("input", input_words((look.height, look.width), look.channels)),
                ("classes", f"{len(classes):,}: {listed(classes)}"),
            ),
        )
        screen.section("Training", training_rows(provenance, recipe))
        screen.section("Scores", [*score_rows(scored), *validation_rows(checkpoint.scores)] or [("", "none are known")])
        screen.section("Preprocessing", look_rows(look))
        show_table(screen, rows)
    drawn = draw(screen, surveyed, files)
    screen.result(
        {
            "run": str(run.path) if run else None,
            "checkpoint": str(checkpoint_file(path)),
            "model": architecture.name,
            "paper": architecture.paper,
            "architecture": dataclasses.asdict(architecture),
            "classes": len(classes),
            "class_names": list(classes),
            "channels": look.channels,
            "image_size": [look.height, look.width],
            "input": look.to_dict(),
            "recipe": recipe,
            "scores": {**checkpoint.scores, **({scored["split"]: scored} if scored else {})},
            "provenance": dict(provenance),
            **table_values(rows),
            "diagram": drawn,
        }
    )


def read_scores(screen: Screen, run: RunFolder) -> dict[str, Any]:
    """Read a run's scores.json; nothing where it has none yet, or one that is no longer what was written."""
    file = run.path / "scores.json"
    if not file.is_file():
        screen.draw(Noted("the run has no scores.json: it has not come to its end; plusx resume goes on with it"))
        return {}
    try:
        scored: Any = json.loads(file.read_text(encoding="utf-8"))
        for score in scored["scores"].values():
            _ = score["value"] + score["low"] + score["high"] if score else 0
        return {"split": str(scored["split"]), "samples": int(scored["samples"]), "scores": dict(scored["scores"])}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        screen.draw(Noted(f"{str(file)!r} cannot be read, so its scores are not shown", "warning"))
        return {}


def read_recipe(screen: Screen, run: RunFolder) -> dict[str, Any]:
    """Read the recipe of a run; nothing where its config.yaml cannot be used."""
    try:
        return read_config(run.config).get("recipe", {})
    except UsageError as error:
        screen.draw(Noted(str(error), "warning"))
        return {}


def training_rows(provenance: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what it was trained on and how."""
    rows: list[tuple[str, str]] = []
    if "data" in provenance:
        rows.append(("data", str(provenance["data"])))
    start = provenance.get("weights")
    if start:
        words = f"{start.get('origin', '')} ({start.get('recognized', '')})" if isinstance(start, Mapping) else start
        rows.append(("from weights", str(words)))
    if recipe:
        rate, epochs = recipe.get("learning_rate", "?"), recipe.get("epochs", "?")
        words = f"{recipe.get('name', 'custom')}: {recipe.get('optimizer', '?')}, learning rate {rate}"
        words += f", {recipe.get('schedule', '?')}, batch {recipe.get('batch_size', '?')}, {epochs} epochs"
        rows.append(("recipe", words))
    rows += [(name, str(provenance[name])) for name in ("epoch", "seed") if name in provenance]
    versions = [f"{name} {provenance[name]}" for name in VERSIONS if name in provenance]
    if versions:
        rows.append(("versions", ", ".join(versions)))
    return rows or [("", "nothing is known of it")]


def score_rows(scored: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say how good it is on the split that was kept aside, with 95 % intervals."""
    if not scored:
        return []
    rows = [
        (words, interval_words(name, scored["scores"][name]))
        for name, words in SCORES.items()
        if scored["scores"].get(name)
    ]
    return [*rows, ("scored on", f"{scored['samples']:,} samples of {scored['split']}, once")]


def interval_words(name: str, score: Mapping[str, float]) -> str:
    """Write a score with its interval; an error as a number, all others in percent."""
    if name == "calibration_error":
        return f"{score['value']:.4f}, 95 % interval {score['low']:.4f} to {score['high']:.4f}"
    value, low, high = (100 * score[key] for key in ("value", "low", "high"))
    return f"{value:.2f} %, 95 % interval {low:.2f} to {high:.2f} %"


def validation_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say how good it was on the samples by which it was chosen."""
    found = scores.get("validation", {})
    words = [f"accuracy {100 * found['accuracy']:.2f} %"] if "accuracy" in found else []
    words += [f"loss {found['loss']:.4f}"] if "loss" in found else []
    return [("validation", f"{', '.join(words)}; it was chosen by this")] if words else []


def look_rows(look: ImageInput) -> list[tuple[str, str]]:
    """Say how an image is prepared."""
    if look.fit == "stretch":
        fit = f"both sides resized to {look.height}x{look.width}"
    elif look.crop_fraction < 1:
        fit = f"resized, and the central {look.height}x{look.width} cut out, {look.crop_fraction:g} of the shorter side"
    else:
        fit = f"shorter side resized, and the central {look.height}x{look.width} cut out"
    numbers = [", ".join(f"{value:.4g}" for value in values) for values in (look.mean, look.deviation)]
    resizing = look.interpolation + (", to whole levels as Pillow does" if look.rounded else "")
    return [("size", fit), ("resizing", resizing), ("mean", numbers[0]), ("deviation", numbers[1])]


def listed(names: tuple[str, ...]) -> str:
    """Name a few classes and count the others."""
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED:,} more"
