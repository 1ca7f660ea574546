"""The confusion matrix as a person reads it: colored cells, an SVG file, and the pairs that are confused most."""

import math
import unicodedata
from typing import Any

import numpy as np
from jinja2 import Environment

from plusx.evaluation.evaluate import Evaluation

TABLE_CLASSES = 30  # more classes than this, and the matrix is a picture without numbers


def is_upright(name: str) -> bool:
    """Tell whether a name is written in wide letters, which stay upright in a vertical line."""
    return any(unicodedata.east_asian_width(letter) in "WF" for letter in name)


def width_of(name: str) -> int:
    """Return how many narrow letters a name is as wide as."""
    return sum(2 if is_upright(letter) else 1 for letter in name)


def cells_of(evaluation: Evaluation) -> list[list[dict[str, Any]]]:
    """Return the confusion matrix as cells with a count, a kind (hit, miss, zero) and the depth of their color."""
    rows: list[list[dict[str, Any]]] = []
    for true, counts in enumerate(evaluation.confusion.tolist()):
        total = max(sum(counts), 1)
        cells: list[dict[str, Any]] = []
        for predicted, count in enumerate(counts):
            kind = "zero" if not count else "hit" if true == predicted else "miss"
            # few mistakes must be seen too: the root lifts 1 % to a tenth of the full color
            share = count / total if kind == "hit" else math.sqrt(count / total)
            share = round(0.12 + 0.83 * share, 3)
            cells.append({"count": count, "kind": kind, "share": share, "strong": share > 0.55})
        rows.append(cells)
    return rows


def heat_map(templates: Environment, evaluation: Evaluation, *, alone: bool) -> str:
    """Return the confusion matrix as SVG; `alone`, as a file, with the classes' names along it."""
    # XML has no place for control characters
    classes = ["".join(c if c.isprintable() else "\ufffd" for c in name) for name in evaluation.predictions.classes]
    count = len(classes)
    cell = max(28.0 if count <= TABLE_CLASSES else round(640 / count, 2), 11.0 if alone and count <= 200 else 0.5)
    font = round(min(cell * 0.8, 13.0), 1)
    longest = max(width_of(name) for name in classes)
    margin = round(min(longest * font * 0.62, 260.0) + 14) if alone else 1
    side = round(cell * count, 2)
    cells = [
        {"x": round(column * cell, 2), "y": round(row * cell, 2), "true": classes[row], "predicted": classes[column]}
        | content
        for row, contents in enumerate(cells_of(evaluation))
        for column, content in enumerate(contents)
        if content["count"]
    ]
    matrix = {
        "count": count, "cell": cell, "side": side, "left": margin, "top": margin, "font": font, "cells": cells,
        "width": round(side + margin + 2, 2), "height": round(side + margin + 2, 2),
        "counts": alone and count <= TABLE_CLASSES, "titles": len(cells) <= 5000,
        "labels": [{"name": name, "middle": round((i + 0.5) * cell, 2)} for i, name in enumerate(classes)]
        if alone else [],
    }  # fmt: skip
    return templates.get_template("confusion.svg.jinja").render(m=matrix, alone=alone)


def confused_pairs(evaluation: Evaluation, most: int) -> list[dict[str, Any]]:
    """Return the pairs of a true and another predicted class that occur most, at most `most`."""
    classes, counts = evaluation.predictions.classes, evaluation.confusion.copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(classes)) for place in order]
    totals = evaluation.confusion.sum(1)
    return [
        {"true": classes[t], "predicted": classes[p], "count": int(counts[t, p]), "total": int(totals[t])}
        for t, p in pairs
        if counts[t, p]
    ]
