"""The command line: one file a command, options in, one call of the library; the only part that prints."""

import inspect
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType

from cyclopts import App, CycloptsError, Group

import plusx
from plusx import launch
from plusx.cli import evaluate, lr_find, predict, resume, show, train, weights
from plusx.cli.console import console_on, note
from plusx.cli.usage import sentence
from plusx.errors import PlusxError, Told, UsageError

USAGE = UsageError.exit_code
INTERRUPTED = 128 + signal.SIGINT
TOGETHER = ("train", "resume")
PIPE_CLOSED = 141  # 128 + SIGPIPE, as of any command whose reader has gone

app = App(
    name="plusx",
    help="Residual networks, y = F(x) + x: from a folder of images to a trained network.",
    help_epilogue="The first step: plusx train digits",
    help_format="plaintext",
    group_parameters=Group("Options", sort_key=0),
    version=plusx.__version__,
    suppress_keyboard_interrupt=False,
)


def in_paragraphs(text: str) -> str:
    """Join the lines of each paragraph, so that help wraps them at the terminal's width."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(text))


COMMANDS = (train.train, evaluate.evaluate, predict.predict, show.show, resume.resume, lr_find.lr_find)
for number, command in enumerate(COMMANDS):
    app.command(command, sort_key=number, help=in_paragraphs(command.__doc__ or ""))

of_weights = App(
    name="weights",
    help="List, show, fetch or convert trained weights.",
    help_format="plaintext",
    group_parameters=app.group_parameters,
    version_flags=(),
    sort_key=len(COMMANDS),
)
for number, (name, command) in enumerate(weights.COMMANDS.items()):
    of_weights.command(command, name=name, sort_key=number, help=in_paragraphs(command.__doc__ or ""))
app.command(of_weights)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: Those after the program's name; the process's own if None.

    Returns:
        The exit code.
    """
    given = sys.argv[1:] if arguments is None else arguments
    # A lone "-" would be taken for the beginning of an option.
    words = [predict.STANDARD_INPUT if word == "-" else word for word in given]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot write is no reason to stop
    if not launch.is_first() and words[:1] not in ([name] for name in TOGETHER):
        return 0  # of several processes that torchrun started, the first does alone what is not done together
    try:
        with ending_on_termination():
            app(words, exit_on_error=False, print_error=False, result_action="return_value")
            sys.stdout.flush()
    except CycloptsError as error:
        return failed(sentence(error, app), USAGE, error)
    except Told as error:
        return error.exit_code
    except PlusxError as error:
        return failed(str(error), error.exit_code, error)
    except KeyboardInterrupt as error:
        return failed("stopped by Ctrl-C", INTERRUPTED, error)
    except BrokenPipeError:
        # Python flushes standard output once more at exit; there is nobody to read it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the last resort, so that nobody meets a bare traceback
        return unexpected(error, debug="--debug" in words or os.environ.get("PLUSX_DEBUG") == "1")
    return 0


def failed(text: str, code: int, error: BaseException) -> int:
    """Say on standard error what went wrong, if the first rank has not, and return the exit code."""
    launch.wait_for_first(error)
    note(console_on(sys.stderr), "error", text)
    return code


def unexpected(error: Exception, *, debug: bool) -> int:
    """Say what to do about an error that plusx did not raise on purpose."""
    if debug and launch.is_first():
        traceback.print_exception(error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    trace = "the traceback above" if debug else "its traceback (the same command with --debug)"
    return failed(f"unexpected {what}; this is a bug in plusx, please report it with {trace}", 1, error)


@contextmanager
def ending_on_termination() -> Generator[None]:
    """Leave by an exception on SIGTERM, so that the terminal gets its cursor back; a run in training saves first."""

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is Python's
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
