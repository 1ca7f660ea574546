import pytest

from plusx.events import Advanced, Noted, result_of


def test_work_is_run_to_its_end_and_its_result_returned():
    seen = []

    def work():
        for number in range(3):
            seen.append(number)
            yield Advanced("counting", number, 3)
        yield Noted("done")
        return 42

    assert result_of(work()) == 42
    assert seen == [0, 1, 2]


def test_work_without_events_has_a_result_too():
    def work():
        yield from ()
        return "nothing to do"

    assert result_of(work()) == "nothing to do"


def test_an_error_passes_through():
    def work():
        yield Noted("before")
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        result_of(work())
