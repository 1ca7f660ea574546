"""What a person sees, on a terminal and elsewhere."""

import contextlib
import io
import json

import pytest
from rich.cells import cell_len

from plusx.cli import bars
from plusx.cli.console import Screen, console_on, duration, finite, json_text, percent, short
from plusx.events import Advanced, EpochEnded, Noted, Section

SCORES = {
    "train_loss": 1.2345,
    "train_accuracy": 0.5,
    "validation_loss": 1.1,
    "validation_accuracy": 0.625,
    "learning_rate": 0.00012345,
    "seconds": 4.0,
    "waiting": 0.1,
}
ESCAPE = "\x1b"


def work(*events, result=None):
    yield from events
    return result


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=[80, 120])
def terminal(request, monkeypatch):
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


def screen_on(stream):
    with contextlib.redirect_stdout(stream):
        return Screen()


def without_codes(text):
    from rich.text import Text

    return [Text.from_ansi(line).plain for line in text.splitlines()]


def test_the_result_of_work_is_returned(capsys):
    assert Screen().follow(work(Noted("hello"), result=7)) == 7
    assert capsys.readouterr().out == "note: hello\n"


def test_no_control_codes_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    events = [
        Section("Data", (("source", "[red]数据"), ("samples", "x" * 200))),
        Noted("careful", "warning"),
        EpochEnded(1, 2, SCORES, best=True),
        EpochEnded(2, 2, SCORES),
    ]
    Screen().follow(work(*events))
    out = capsys.readouterr().out
    assert ESCAPE not in out
    assert "\r" not in out
    assert out.splitlines() == [
        "",
        "Data",
        "  source        [red]数据",
        "  samples       " + "x" * 200,
        "",
        "warning: careful",
        "",
        "              training         validation",
        "  epoch    loss  accuracy    loss  accuracy      rate     time  wait",
        "    1/2   1.234   50.00 %   1.100   62.50 %  0.000123    4.0 s   2 %  best",
        "    2/2   1.234   50.00 %   1.100   62.50 %  0.000123    4.0 s   2 %",
    ]


def test_long_values_wrap_under_their_column_and_fit_the_terminal(terminal):
    screen = screen_on(terminal)
    words = " ".join(["北京动物园", "photograph"] * 12)
    screen.draw(Section("Data", (("source", words),)))
    screen.draw(Noted(words, "warning"))
    lines = without_codes(terminal.getvalue())
    assert all(cell_len(line) <= screen.console.width for line in lines)
    start = lines.index("Data") + 1
    assert lines[start].startswith("  source        北京动物园")
    assert lines[start + 1].startswith(" " * 16 + lines[start + 1].strip()[0])
    warning = next(index for index, line in enumerate(lines) if line.startswith("warning: "))
    assert lines[warning + 1].startswith(" " * 9)
    assert lines[warning + 1][9] != " "


@pytest.mark.parametrize("epochs", [3, 120, 1000])
def test_an_epochs_line_fits_eighty_columns(terminal, epochs):
    screen = screen_on(terminal)
    screen.draw(EpochEnded(epochs, epochs, {**SCORES, "train_accuracy": 1.0, "seconds": 5999.0}, best=True))
    assert max(map(cell_len, without_codes(terminal.getvalue()))) < 80


def test_color_is_not_used_where_it_is_not_wanted(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen_on(terminal).draw(Noted("careful", "warning"))
    assert "33m" not in terminal.getvalue()
    assert "warning: " in "".join(without_codes(terminal.getvalue()))


def test_bars_appear_and_vanish_on_a_terminal(terminal, monkeypatch):
    monkeypatch.setattr(bars, "PATIENCE", -1.0)
    events = [
        Advanced("checking images", 5, 10),
        Advanced("measuring the speed", 0, None),
        Advanced("downloading resnet50.pth", 1_048_576, 102_536_517, "bytes"),
        Advanced("epoch 1/2", 3, 7, "steps", "loss 1.234"),
        EpochEnded(1, 2, SCORES),
    ]

    def watched():
        for event in events:
            yield event
            screen_bars.progress.refresh()

    screen = screen_on(terminal)
    with bars.bars_on(screen.console) as screen_bars:
        for event in watched():
            (screen_bars.advance if isinstance(event, Advanced) else screen_bars.pause)(event)
    shown = terminal.getvalue()
    for text in (
        "checking images",
        "5/10 images",
        "measuring the speed",
        "1.0/102.5 MB",
        "3/7 steps",
        "loss 1.234",
        "1/2 epochs",
    ):
        assert text in shown
    assert shown.rstrip().endswith("\x1b[2K")


def test_work_without_a_terminal_says_a_line_now_and_then(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: clock[0])

    def slow():
        for step in range(1, 31):
            clock[0] += 1
            yield Advanced("epoch 1/2", step, 30, "steps", "loss 1.000" if step == 20 else "")
        clock[0] += 11
        yield Advanced("measuring", 0, None)

    Screen().follow(slow())
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/2: 10 of 30 steps",
        "epoch 1/2: 20 of 30 steps, loss 1.000",
        "epoch 1/2: 30 of 30 steps",
        "measuring",
    ]


def test_json_keeps_standard_output_for_the_result(capsys):
    screen = Screen(json=True)
    screen.result(screen.follow(work(Noted("hello"), result={"名": [1.5, float("nan")]})))
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"名": [1.5, None]}
    assert captured.err == "note: hello\n"


def test_without_json_no_json_is_written(capsys):
    Screen().result({"a": 1})
    assert capsys.readouterr().out == ""


def test_quiet_shows_results_and_warnings_only(capsys):
    events = [
        Section("Data", (("source", "digits"),)),
        Noted("hello"),
        Noted("careful", "warning"),
        Advanced("working", 1, 2),
        EpochEnded(1, 1, SCORES),
        Section("Result", (("accuracy", "98 %"),)),
    ]
    Screen(quiet=True).follow(work(*events))
    assert capsys.readouterr().out.split() == ["warning:", "careful", "Result", "accuracy", "98", "%"]


def test_json_is_escaped_where_the_stream_cannot_carry_it():
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert json_text("猫", narrow) == '"\\u732b"'
    assert json_text("\udcff", io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) == '"\\udcff"'
    assert json_text("猫", io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) == '"猫"'


def test_table_columns_stand_in_line_with_wide_characters(capsys):
    Screen().table(("image", "class", "n"), [("数据/猫.jpg", "猫", "1"), ("a.jpg", "dog", "22")], left=(0, 1))
    assert capsys.readouterr().out.splitlines() == [
        "  image        class   n",
        "  数据/猫.jpg  猫      1",
        "  a.jpg        dog    22",
    ]


def test_a_tables_wide_column_wraps_on_a_terminal(terminal):
    screen = screen_on(terminal)
    screen.table(("image", "class"), [("path/" * 40, "cat")], left=(0, 1))
    lines = without_codes(terminal.getvalue())
    assert all(cell_len(line) <= screen.console.width for line in lines)
    assert "".join(line[2:].split(" ")[0] for line in lines[1:]) == "path/" * 40
    assert sum("cat" in line for line in lines) == 1


def test_a_console_is_plain_unless_its_stream_is_a_terminal():
    assert console_on(Terminal()).is_terminal
    assert not console_on(io.StringIO()).is_terminal


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.2 s"), (99.0, "99.0 s"), (150, "2.5 min"), (9000, "2.5 h"), (float("nan"), "-")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_numbers():
    assert (short(None), short(1.23456), short(123456.0)) == ("-", "1.235", "1.23e+05")
    assert (percent(None), percent(0.98754)) == ("-", "98.75 %")
    assert finite({"a": (1, float("inf"))}) == {"a": [1, None]}
    assert (bars.clock(65), bars.clock(7265)) == ("1:05", "2:01:05")
