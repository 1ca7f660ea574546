"""Progress of long work: bars on a terminal that vanish when the work is done, a line now and then elsewhere."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from plusx.events import Advanced, EpochEnded, Event

PATIENCE = 0.5  # seconds that an activity may take before its bar appears
INTERVAL = 10.0  # seconds between two lines of the same work where there is no terminal


class Bars(Protocol):
    """Shows how far long work is."""

    def advance(self, event: Advanced) -> None:
        """Show that an activity went on."""
        ...

    def pause(self, event: Event) -> None:
        """Make room for an event that stays on the screen."""
        ...


@contextmanager
def bars_on(console: Console, *, shown: bool = True) -> Generator[Bars]:
    """Show progress on a console in the way that suits it."""
    if not shown:
        yield NoBars()
    elif console.is_terminal and not console.is_dumb_terminal:
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=None, complete_style="cyan", finished_style="cyan", pulse_style="cyan"),
            TextColumn("{task.fields[counts]}"),
            TextColumn("{task.fields[detail]}", style="dim"),
            Clock(),
        )
        # Standard output may be kept for JSON, so nothing of it is caught.
        with Progress(*columns, console=console, transient=True, expand=True, redirect_stdout=False) as progress:
            yield LiveBars(progress)
    else:
        yield Lines(console)


class NoBars:
    """Shows nothing."""

    def advance(self, event: Advanced) -> None:
        """Show nothing."""

    def pause(self, event: Event) -> None:
        """Do nothing."""


class LiveBars:
    """A bar for the present activity, and under it one for all epochs."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.activity = ""
        self.detail = ""
        self.began = 0.0
        self.task = progress.add_task("", visible=False, counts="", detail="", end=None)
        self.epochs: TaskID | None = None
        self.epochs_timed = 0
        self.epochs_seconds = 0.0
        self.paused = time.monotonic()

    def advance(self, event: Advanced) -> None:
        """Move the bar of the event's activity; another activity begins it anew."""
        if event.activity != self.activity:
            self.activity, self.detail, self.began = event.activity, "", time.monotonic()
            self.progress.reset(self.task, total=event.total, description=event.activity, visible=False)
        self.detail = event.detail or self.detail
        counts = "" if event.total is None else counted(event, "/")
        visible = event.total is None or time.monotonic() - self.began > PATIENCE
        self.progress.update(
            self.task, completed=event.done, total=event.total, counts=counts, detail=self.detail, visible=visible
        )

    def pause(self, event: Event) -> None:
        """Hide the bar; after an epoch, move the one for all epochs."""
        self.activity = ""
        self.progress.update(self.task, visible=False)
        now = time.monotonic()
        if isinstance(event, EpochEnded):
            self.epochs_timed += 1
            self.epochs_seconds += now - self.paused
            self._move_epochs(event, now)
        self.paused = now

    def _move_epochs(self, event: EpochEnded, now: float) -> None:
        if self.epochs is None:
            self.epochs = self.progress.add_task("all epochs", total=event.epochs, counts="", detail="", end=None)
        left = self.epochs_seconds / self.epochs_timed * (event.epochs - event.epoch)
        self.progress.update(
            self.epochs,
            completed=event.epoch,
            counts=f"{event.epoch:,}/{event.epochs:,} epochs",
            visible=event.epoch < event.epochs,
            end=now + left,
        )


class Lines:
    """A plain line for work that has gone on for a while, and not often."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last = time.monotonic()

    def advance(self, event: Advanced) -> None:
        """Write a line if none was written for a while."""
        now = time.monotonic()
        if now - self.last < INTERVAL:
            return
        self.last = now
        counts = f": {counted(event, ' of ')}" if event.total else ""
        line = f"{event.activity}{counts}{', ' if event.detail else ''}{event.detail}"
        self.console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def pause(self, event: Event) -> None:  # noqa: ARG002 - the protocol's
        """Remember that a line was just written."""
        self.last = time.monotonic()


class Clock(ProgressColumn):
    """How long an activity will yet take, or has taken where that is not known."""

    def render(self, task: Task) -> Text:
        """Draw "0:40 left" or "0:12"."""
        end: float | None = task.fields["end"]
        left = task.time_remaining if end is None else max(0.0, end - time.monotonic())
        return Text(clock(task.elapsed or 0.0) if left is None or task.finished else f"{clock(left)} left", "dim")


def counted(event: Advanced, between: str) -> str:
    """Write how many pieces of how many are done; bytes in millions, as disks and networks are measured."""
    if event.unit == "bytes":
        return f"{event.done / 1e6:,.1f}{between}{(event.total or 0) / 1e6:,.1f} MB"
    return f"{event.done:,}{between}{event.total:,} {event.unit}"


def clock(seconds: float) -> str:
    """Write a time as 1:05 or 2:01:05."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
