"""The layer table of one network on the screen, and its diagram's files."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plusx.cli.console import Screen
from plusx.cli.listing import millions
from plusx.events import Noted

if TYPE_CHECKING:
    from plusx.evaluation.complexity import Survey
    from plusx.evaluation.layer_table import Row


def draw(screen: Screen, surveyed: "Survey", files: tuple[Path, ...]) -> list[str]:
    """Write the diagram, say where it is, and return its files."""
    if not files:
        return []
    from plusx.evaluation.diagram.drawing import write_drawing
    from plusx.evaluation.diagram.page import diagram

    write_drawing(diagram(surveyed), files)
    names = [str(file) for file in files]
    screen.below_section = True
    screen.draw(Noted(f"the diagram is in {' and '.join(names)}"))
    return names


def show_table(screen: Screen, rows: "tuple[Row, ...]") -> None:
    """Write the layer table and its sum."""
    table = [
        (
            row.stage,
            "x".join(map(str, row.output_size)),
            row.blocks.replace("] x ", "]×"),
            f"{row.parameters:,}",
            millions(row.multiply_adds),
        )
        for row in rows
    ]
    sums = table_values(rows)
    table.append(("total", "", "", f"{sums['parameters']:,}", millions(sums["multiply_adds"])))
    screen.line("")
    screen.table(("stage", "output", "blocks", "parameters", "multiply-adds"), table, left=(0, 2), wraps=2)


def table_values(rows: "tuple[Row, ...]") -> dict[str, Any]:
    """Return the layer table and its sums as plain values."""
    return {
        "stages": [dataclasses.asdict(row) for row in rows],
        "parameters": sum(row.parameters for row in rows),
        "multiply_adds": sum(row.multiply_adds for row in rows),
    }


def input_words(sides: tuple[int, ...], channels: int) -> str:
    """Say what goes in: "224x224, 3 channels"."""
    return f"{'x'.join(map(str, sides))}, {channels} channel{'s' if channels > 1 else ''}"
