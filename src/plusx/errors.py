"""The errors that plusx raises on purpose, each with the exit code of the command line.

PlusxError            1  anything below
├── UsageError        2  an option, a name or a value that cannot be used
├── DataError         3  data that cannot be trained on, evaluated or predicted
├── CheckpointError   4  a checkpoint or a run's state that cannot be loaded
├── StorageError      5  a disk or a folder that cannot be written
├── LostRank          1  another process of a distributed run that is gone
├── Told                 what another process of a distributed run says, and this one does not
└── Stopped    128 + n  a run that saved its state and left after signal n (130 Ctrl-C, 143 SIGTERM)

Every message is one sentence or two: what was found, what was expected, and the fix.
"""

import difflib
from collections.abc import Mapping
from itertools import takewhile
from typing import ClassVar, TypeVar

T = TypeVar("T")


class PlusxError(Exception):
    """The root of all errors that plusx raises on purpose."""

    exit_code: int = 1


class UsageError(PlusxError):
    """An option, a name or a value cannot be used."""

    exit_code: int = 2


class DataError(PlusxError):
    """Data cannot be trained on, evaluated or predicted."""

    exit_code: int = 3


class CheckpointError(PlusxError):
    """A checkpoint or a run's saved state cannot be loaded."""

    exit_code: int = 4


class StorageError(PlusxError):
    """A disk is full, or a folder cannot be written."""

    exit_code: int = 5

    def __init__(self, found: str, remedy: str = "", instead: str = "") -> None:
        """Keep apart what was found, what helps, and what the user can do instead; the sentence is all of them."""
        fixes = " or ".join(filter(None, (remedy, instead)))
        super().__init__("; ".join(filter(None, (found, fixes))))
        self.found, self.remedy, self.instead = found, remedy, instead


class LostRank(PlusxError):
    """Another process of a distributed run is gone."""


class Told(PlusxError):
    """A distributed run ends, and another of its processes says why; this one is silent."""

    def __init__(self, exit_code: int) -> None:
        """Keep the exit code of the error that is not told."""
        super().__init__("another process of this run says why it ends")
        self.exit_code = exit_code


class Stopped(PlusxError):
    """A run was asked to stop by a signal, saved its whole state, and stopped."""

    names: ClassVar[dict[int, str]] = {2: "Ctrl-C", 15: "SIGTERM"}

    def __init__(self, signal_number: int, sentence: str) -> None:
        """Keep the signal's number: the exit code is 128 more."""
        super().__init__(sentence)
        self.exit_code = 128 + signal_number


def near_misses(name: str, known: Mapping[str, object]) -> list[str]:
    """Return up to three known names that look like `name`, the nearest first."""
    folded = {key.lower().replace("_", "-"): key for key in known}
    word = name.lower().replace("_", "-")

    def nearness(key: str) -> tuple[float, int]:
        return difflib.SequenceMatcher(None, key, word).ratio(), sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(key, word, strict=False))
        )

    close = difflib.get_close_matches(word, folded, n=len(folded) or 1, cutoff=0.6)
    return [folded[key] for key in sorted(close, key=nearness, reverse=True)[:3]]


def look_up(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return `table[name]`; a name that is not there is an error that offers the nearest ones.

    Args:
        kind: What the table holds, in the user's words: "model", "recipe", "block".
        name: The name that the user gave.
        table: The names there are.

    Raises:
        UsageError: No entry has that name.
    """
    if name in table:
        return table[name]
    close = near_misses(name, table)
    hint = f"did you mean {' or '.join(repr(key) for key in close)}?" if close else f"there are: {', '.join(table)}"
    raise UsageError(f"no {kind} is called {name!r}; {hint}")
