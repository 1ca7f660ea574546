"""`plusx predict`: a trained network's answers for images, on the screen or in a file."""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from plusx.cli.console import Screen, finite, percent
from plusx.cli.evaluate import FIRST, WEIGHTS
from plusx.cli.options import OutputOptions, group, option
from plusx.errors import DataError, UsageError
from plusx.events import Advanced, Event, Noted, Section
from plusx.storage import write_text

if TYPE_CHECKING:
    from plusx.predict import Answer, Predictor

STANDARD_INPUT = "/dev/stdin"  # what "-" means
OTHERS = 2  # classes that are named beside the most probable one
LEAST = 0.001  # a probability below this is not worth naming
NO_OUTPUT = OutputOptions()


def predict(
    network: Annotated[str, option(FIRST)],
    /,
    *images: Annotated[str, option("Files, folders, patterns; - reads names from standard input, one a line.")],
    weights: Annotated[str, option(WEIGHTS)] = "",
    output: Annotated[Path | None, option("File for the answers, .csv, .json or .jsonl.", "the screen")] = None,
    strict: Annotated[bool, option("A file that cannot be read stops the command.", negative=())] = False,
    max_pixels: Annotated[
        int | None, option("Files that claim more pixels are not decoded.", "the checkpoint's")
    ] = None,
    device: Annotated[str, option("auto, cpu, cuda, cuda:N.", "auto")] = "auto",
    batch_size: Annotated[int, option("Images that are answered together.", "32")] = 32,
    shown: Annotated[OutputOptions, group("Output", 1)] = NO_OUTPUT,
) -> None:
    """Answer images with a trained network.

    An image that cannot be read is named with its reason, and the others are answered.
    """
    screen = Screen(json=shown.json, quiet=shown.quiet)
    if not images:
        raise UsageError("no image was named; give files, folders or patterns: plusx predict runs/digits-1 image.png")
    if output is not None and output.suffix.lower() not in FILES:
        raise UsageError(f"the answers cannot be written to {str(output)!r}; its name must end in {', '.join(FILES)}")
    from plusx.device import choose_device
    from plusx.predict import Predictor
    from plusx.weights.choose import choose

    paths = named_images(images)
    chosen = screen.follow(choose(network, weights))
    predictor = Predictor(chosen.checkpoint, choose_device(device), batch_size, max_pixels)
    answers = screen.follow(answering(predictor, paths, strict=strict))
    if output is not None:
        write_text(output, FILES[output.suffix.lower()](answers))
        screen.draw(summary(answers, output))
    elif not screen.json:
        screen.line("")
        screen.table(("image", "class", "probability", "others"), map(row, answers), left=(0, 1, 3), wraps=0)
    screen.result([answer.to_dict() for answer in answers])
    unread = sum(answer.error is not None for answer in answers)
    if unread == len(answers):
        raise DataError(
            f"none of the {unread:,} images could be read; the first, {answers[0].path!r}, {answers[0].error}"
        )
    if unread:
        screen.draw(Noted(f"{unread:,} of {len(answers):,} images could not be read", "warning"))


def named_images(images: Sequence[str]) -> list[Path]:
    """Return the images that were named, and in place of "-" those that standard input names, taken as they are."""
    from plusx.data import list_images

    paths: list[Path] = []
    for image in images:
        if image == STANDARD_INPUT:
            paths += [Path(line) for line in sys.stdin.read().splitlines() if line]
        else:
            paths += list_images([image])
    if not paths:
        raise DataError("standard input names no image; expected one name a line")
    return list(dict.fromkeys(paths))


def answering(predictor: "Predictor", paths: Sequence[Path], *, strict: bool) -> "Generator[Event, None, list[Answer]]":
    """Answer all images; with strict, the first that cannot be read is an error."""
    answers: list[Answer] = []
    for answer in predictor.answers(paths):
        if strict and answer.error is not None:
            raise DataError(
                f"{answer.path!r} {answer.error}; mend or remove it, or leave out --strict to answer the others"
            )
        answers.append(answer)
        yield Advanced("predicting", len(answers), len(paths))
    return answers


def row(answer: "Answer") -> tuple[str, str, str, str]:
    """Write an answer as a line of the table: the image, its class, and what else it may be."""
    if answer.probabilities is None or answer.class_name is None:
        return answer.path, "-", "-", answer.error or ""
    ranked = sorted(answer.probabilities.items(), key=lambda item: -item[1])
    others = [f"{name} {percent(value)}" for name, value in ranked[1 : 1 + OTHERS] if value >= LEAST]
    return answer.path, answer.class_name, percent(answer.probability), ", ".join(others)


def summary(answers: Sequence["Answer"], output: Path) -> Section:
    """Say how many images got which class, and where the answers are."""
    counts = Counter(answer.class_name for answer in answers if answer.class_name is not None)
    common = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(OTHERS * 4))
    more = len(counts) - OTHERS * 4
    return Section(
        "Result",
        (
            ("images", f"{len(answers):,}"),
            ("classes", common + (f" and {more:,} more" if more > 0 else "")),
            ("answers", str(output)),
        ),
    )


def csv_text(answers: Sequence["Answer"]) -> str:
    """Write answers as CSV: path, class, probability, error, and each class's probability."""
    classes = next((list(answer.probabilities) for answer in answers if answer.probabilities), [])
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "class", "probability", "error", *(f"probability:{name}" for name in classes)])
    for answer in answers:
        numbers = [answer.probability, *(answer.probabilities or dict.fromkeys(classes)).values()]
        first, *others = ["" if number is None else f"{number:.6f}" for number in numbers]
        writer.writerow([answer.path, answer.class_name or "", first, answer.error or "", *others])
    return text.getvalue()


def json_list(answers: Sequence["Answer"]) -> str:
    """Write answers as one JSON list, an answer a line."""
    return "[\n" + ",\n".join(json_line(answer) for answer in answers) + "\n]\n"


def json_lines(answers: Sequence["Answer"]) -> str:
    """Write answers as JSON lines."""
    return "".join(json_line(answer) + "\n" for answer in answers)


def json_line(answer: "Answer") -> str:
    """Write one answer as JSON."""
    return json.dumps(finite(answer.to_dict()), ensure_ascii=False, allow_nan=False)


FILES: dict[str, Callable[[Sequence["Answer"]], str]] = {
    ".csv": csv_text,
    ".json": json_list,
    ".jsonl": json_lines,
}
