"""Manifests: a CSV file or JSON lines with the columns path, class and, if wanted, split and group.

Paths are relative to the manifest's own folder.
"""

import csv
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plusx.data.dataset import SPLIT_WORDS, Dataset, Rejected, Sample, class_name, counted, listed, printable
from plusx.errors import DataError

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
JSON_SUFFIXES = frozenset({".jsonl", ".ndjson"})
NEEDED = ("path", "class")
OPTIONAL = ("split", "group")
WRONG_NAMES = {
    "path": ("file", "filename", "file_name", "filepath", "image", "image_path", "name"),
    "class": ("label", "target", "category", "class_name", "classes", "y"),
}


@dataclass(frozen=True)
class Row:
    """One row of a manifest, and the line it stands on."""

    line: int
    path: str
    label: str
    split: str | None
    group: str | None


def read_table(path: Path) -> Dataset:
    """Read a manifest.

    Raises:
        DataError: A needed column is missing, a value cannot be used, a path is given two classes or two splits,
            the file is not UTF-8 text, or none of the files exists.
    """
    rows, repeated = distinct(path, [row_of(path, line, record) for line, record in records(path)])
    if not rows:
        raise DataError(f"{str(path)!r} has no rows; expected one a sample, with the columns path and class")
    without = [row.line for row in rows if row.split is None]
    if without and len(without) < len(rows):
        raise DataError(
            f"{str(path)!r} gives some rows a split and others none (first: line {without[0]}); "
            "fill the split column everywhere or nowhere"
        )
    classes = tuple(sorted({row.label for row in rows}))
    targets = {label: index for index, label in enumerate(classes)}
    samples: list[Sample] = []
    rejected: list[Rejected] = []
    for row in rows:
        source = path.parent / row.path
        if source.is_file():
            samples.append(Sample(name_of(row), source, targets[row.label], row.split, row.group))
        else:
            rejected.append(Rejected(name_of(row), "is a folder" if source.is_dir() else "does not exist"))
    if not samples:
        raise DataError(
            f"none of the {counted(len(rows), 'file')} that {str(path)!r} names exists, such as "
            f"{str(path.parent / rows[0].path)!r}; paths are relative to the manifest's own folder"
        )
    notes: list[str] = []
    if rejected:
        notes.append(
            f"{counted(len(rejected), 'file')} named in {path.name!r} not found: {listed(r.name for r in rejected)}"
        )
    if repeated:
        notes.append(f"{counted(repeated, 'repeated row')} of {path.name!r} left out")
    return Dataset(path.stem, str(path), classes, tuple(samples), tuple(rejected), tuple(notes))


def name_of(row: Row) -> str:
    """Return what a row's sample is called: its path as written."""
    return printable(Path(row.path).as_posix())


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row as a mapping from column to value, with its line number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from (json_records(path, file) if path.suffix.lower() in JSON_SUFFIXES else csv_records(path, file))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{str(path)!r} is not UTF-8 text (byte {error.start:,}); save it as UTF-8, in Excel as 'CSV UTF-8'"
        ) from error
    except csv.Error as error:
        raise DataError(f"{str(path)!r} is not a CSV file: {error}") from error
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error


def csv_records(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a CSV file whose columns are parted by commas, semicolons or tabs."""
    header = next(lines, "")
    delimiter = max(",;\t", key=header.count)
    columns = [column.strip().lower() for column in next(csv.reader([header], delimiter=delimiter), [])]
    check_columns(path, columns)
    reader = csv.reader(lines, delimiter=delimiter)
    for values in reader:
        if any(value.strip() for value in values):
            yield reader.line_num + 1, dict(zip(columns, values, strict=False))


def json_records(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file that holds one on each line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"line {number} of {str(path)!r} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise DataError(f'line {number} of {str(path)!r} is not an object like {{"path": "1.jpg", "class": "cat"}}')
        named = {str(key).strip().lower(): value for key, value in record.items()}
        check_columns(path, list(named))
        yield number, named


def check_columns(path: Path, columns: list[str]) -> None:
    """Check that the needed columns are there.

    Raises:
        DataError: One is not; the message says which were found.
    """
    missing = [column for column in NEEDED if column not in columns]
    if not missing:
        return
    meant = [(name, column) for column in missing for name in columns if name in WRONG_NAMES[column]]
    fix = f"; rename {' and '.join(f'{name!r} to {column!r}' for name, column in meant)}" if meant else ""
    raise DataError(
        f"{str(path)!r} has no column {listed(missing)}: it has {listed(columns, 8) or 'none'}, and needs 'path' and "
        f"'class' ('split' and 'group' if wanted){fix}"
    )


def row_of(path: Path, line: int, record: dict[str, Any]) -> Row:
    """Check one row.

    Raises:
        DataError: It has no path or no class, or a split that is none of the known words.
    """
    values = {column: "" if record.get(column) is None else str(record[column]) for column in (*NEEDED, *OPTIONAL)}
    values = {column: value.strip() for column, value in values.items()}
    for column in NEEDED:
        if not values[column]:
            raise DataError(f"line {line} of {str(path)!r} has no {column}; fill it in or remove the row")
    word = values["split"].lower()
    if word and word not in SPLIT_WORDS:
        raise DataError(
            f"line {line} of {str(path)!r} has the split {values['split']!r}; expected 'train', 'validation' (or "
            "'val') or 'test'"
        )
    label = class_name(values["class"])
    return Row(line, values["path"], label, SPLIT_WORDS.get(word), values["group"] or None)


def distinct(path: Path, rows: list[Row]) -> tuple[list[Row], int]:
    """Return the rows without those that say the same again, and how many those were.

    Raises:
        DataError: Two rows say different things of one path.
    """
    kept: dict[str, Row] = {}
    for row in rows:
        first = kept.setdefault(posixpath.normpath(row.path), row)
        for word, before, now in (("class", first.label, row.label), ("split", first.split, row.split)):
            if before != now:
                raise DataError(
                    f"{str(path)!r} gives {row.path!r} the {word} {before!r} on line {first.line} and {now!r} on line "
                    f"{row.line}; keep one of the rows"
                )
    return list(kept.values()), len(rows) - len(kept)
