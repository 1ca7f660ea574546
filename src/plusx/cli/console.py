"""What a person sees while a command works: events drawn as screens, lines and bars.

On a terminal there are bars, colors, and text that wraps under its own column; anywhere else plain lines without
control codes. Nothing is said by color alone.
"""

import json
import math
import sys
from collections.abc import Container, Generator, Iterable, Mapping, Sequence
from typing import Any, TextIO, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from plusx import launch
from plusx.cli.bars import bars_on
from plusx.events import Advanced, EpochEnded, Event, Noted, Section, result_of

T = TypeVar("T")

NAME_WIDTH = 12  # cells; the longest name of the first screen, so that its sections stand in line
INDENT = "  "
NOTES = {"info": ("note", "bold cyan"), "warning": ("warning", "bold yellow"), "error": ("error", "bold red")}
EPOCH_HEADS = ("epoch", "loss", "accuracy", "loss", "accuracy", "rate", "time", "wait")
EPOCH_WIDTHS = (0, 8, 10, 8, 10, 10, 9, 6)  # cells; the first is as wide as its numbers need


class Screen:
    """Where a command shows what happens: standard output, or standard error when that is kept for JSON.

    Args:
        json: Keep standard output for the result as JSON.
        quiet: Show the result, warnings and errors only.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.console = console_on(sys.stderr if json else sys.stdout)
        self.epochs_shown = 0
        self.below_section = False

    def follow(self, work: Generator[Event, None, T]) -> T:
        """Draw the events of some work until it ends, and return its result; of several ranks, the first draws."""
        if not launch.is_first():
            return result_of(work)
        with bars_on(self.console, shown=not self.quiet) as bars:
            while True:
                try:
                    event = next(work)
                except StopIteration as end:
                    result: Any = end.value
                    return result
                if isinstance(event, Advanced):
                    bars.advance(event)
                else:
                    bars.pause(event)
                    self.draw(event)

    def draw(self, event: Event) -> None:
        """Draw one event that stays on the screen."""
        match event:
            case Section(title=title, rows=rows):
                if not self.quiet or title == "Result":
                    self.section(title, rows)
            case Noted(text=text, level=level):
                if not self.quiet or level != "info":
                    if self.below_section:
                        self.line("")
                    self.below_section = False
                    note(self.console, level, text)
            case EpochEnded():
                if not self.quiet:
                    self.epoch(event)
            case Advanced():
                pass

    def section(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Draw a titled part of a screen: names to the left, what is said of them to the right."""
        self.line("")
        self.line(Text(title, "bold"))
        width = max([NAME_WIDTH, *(cell_len(name) for name, _ in rows)])
        for name, value in rows:
            style = "cyan" if value.startswith("plusx ") else "bold" if name == "accuracy" else ""
            hang(self.console, Text.assemble(INDENT, (filled(name, width), "dim"), INDENT), Text(value, style))

        self.below_section = True

    def epoch(self, event: EpochEnded) -> None:
        """Draw the line of an epoch, under a heading that comes before the first."""
        widths = (max(7, 3 + 2 * len(str(event.epochs))), *EPOCH_WIDTHS[1:])
        if not self.epochs_shown:
            pair = EPOCH_WIDTHS[1] + EPOCH_WIDTHS[2]
            self.line("")
            self.line(Text(f"{'':{widths[0]}}  {'training':^{pair}}{'validation':^{pair}}".rstrip(), "dim"))
            self.line(Text(right_aligned(EPOCH_HEADS, widths), "dim"))
        self.epochs_shown += 1
        scores = event.scores
        seconds = scores.get("seconds", math.nan)
        share = scores.get("waiting", 0.0) / seconds if seconds > 0 else 0.0
        cells = (
            f"{event.epoch}/{event.epochs}",
            short(scores.get("train_loss")),
            percent(scores.get("train_accuracy")),
            short(scores.get("validation_loss")),
            percent(scores.get("validation_accuracy")),
            f"{scores.get('learning_rate', math.nan):.3g}",
            duration(seconds),
            f"{100 * share:.0f} %",
        )
        line = Text(right_aligned(cells, widths))
        self.line(line.append("  best", "bold green") if event.best else line)

    def line(self, text: str | Text) -> None:
        """Write one line as it is."""
        self.console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def table(
        self, heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: Container[int] = (0,), wraps: int = 0
    ) -> None:
        """Write rows in columns.

        Args:
            heads: The columns' names.
            rows: Their cells.
            left: Columns that are aligned to the left.
            wraps: The column that wraps where a terminal is too narrow.
        """
        lines = [tuple(heads), *(tuple(row) for row in rows)]
        widths = [max(cell_len(cell) for cell in column) for column in zip(*lines, strict=True)]
        if self.console.is_terminal:
            others = sum(widths) - widths[wraps] + len(INDENT) * len(widths)
            widths[wraps] = min(widths[wraps], max(self.console.width - others, NAME_WIDTH))
        for number, cells in enumerate(lines):
            parts = Text(cells[wraps]).wrap(self.console, max(widths[wraps], 1)) if self.console.is_terminal else ()
            for index, part in enumerate(parts or (Text(cells[wraps]),)):
                shown = ["" if index else cell for cell in cells]
                shown[wraps] = part.plain.rstrip()
                columns = enumerate(zip(shown, widths, strict=True))
                line = INDENT.join(filled(cell, width, left=column in left) for column, (cell, width) in columns)
                self.line(Text(INDENT + line.rstrip(), "dim" if number == 0 else ""))

    def result(self, value: Any) -> None:  # noqa: ANN401 - anything that JSON can hold
        """Write the result as JSON, if that was asked for."""
        if self.json and launch.is_first():
            sys.stdout.write(json_text(value, sys.stdout) + "\n")
            sys.stdout.flush()


def console_on(stream: TextIO) -> Console:
    """Return a console that is plain unless its stream is a terminal, whatever the environment says."""
    return Console(file=stream, force_terminal=stream.isatty(), force_jupyter=False, highlight=False)


def note(console: Console, level: str, text: str) -> None:
    """Write a sentence behind the word that says how grave it is."""
    word, style = NOTES[level]
    hang(console, Text.assemble((f"{word}: ", style)), Text(text))


def hang(console: Console, head: Text, value: Text) -> None:
    """Write a text behind a head; on a terminal it wraps under itself, elsewhere it stays in one line."""
    indent = cell_len(head.plain)
    room = console.width - indent
    lines = list(value.wrap(console, room)) if console.is_terminal and room >= 20 else [value]
    for number, line in enumerate(lines or [Text()]):
        line.rstrip()
        whole = (head.copy() if number == 0 else Text(" " * indent)).append_text(line)
        whole.rstrip()
        console.print(whole, soft_wrap=True, markup=False, highlight=False, emoji=False)


def filled(text: str, width: int, *, left: bool = True) -> str:
    """Fill a text with spaces to a width in cells: Chinese characters take two."""
    spaces = " " * max(0, width - cell_len(text))
    return text + spaces if left else spaces + text


def right_aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Put the cells of an epoch's line into their columns."""
    return "".join(filled(cell, width, left=False) for cell, width in zip(cells, widths, strict=True))


def short(value: float | None) -> str:
    """Write a loss in few characters."""
    return "-" if value is None else f"{value:.3f}" if abs(value) < 1000 else f"{value:.2e}"


def percent(value: float | None) -> str:
    """Write a share as 98.50 %."""
    return "-" if value is None else f"{100 * value:.2f} %"


def duration(seconds: float) -> str:
    """Write a time as 3.2 s, 4.5 min or 1.2 h."""
    if math.isnan(seconds):
        return "-"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def json_text(value: Any, stream: TextIO) -> str:  # noqa: ANN401 - anything that JSON can hold
    """Write a value as JSON that the stream's encoding can carry; what is not a finite number becomes null."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False)
    try:
        text.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return json.dumps(finite(value), allow_nan=False)
    return text


def finite(value: Any) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """Put None for numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
