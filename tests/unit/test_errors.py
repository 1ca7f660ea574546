import pickle

import pytest

from plusx import errors
from plusx.errors import PlusxError, Stopped, UsageError, look_up, near_misses

TABLE = {"resnet18": 18, "resnet20": 20, "randaugment": 1, "one_cycle": 2}


def test_each_error_has_the_exit_code_that_the_command_line_promises():
    codes = {"PlusxError": 1, "UsageError": 2, "DataError": 3, "CheckpointError": 4, "StorageError": 5}
    assert {name: getattr(errors, name).exit_code for name in codes} == codes
    assert all(issubclass(getattr(errors, name), PlusxError) for name in codes)


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129)])
def test_a_stopped_run_leaves_with_the_code_of_its_signal(number, code):
    stopped = Stopped(number, "saved")
    assert stopped.exit_code == code
    assert str(stopped) == "saved"
    assert PlusxError.exit_code == 1


def test_errors_cross_the_border_of_a_process():
    assert str(pickle.loads(pickle.dumps(UsageError("a sentence")))) == "a sentence"


def test_a_known_name_gives_its_entry():
    assert look_up("model", "resnet20", TABLE) == 20


@pytest.mark.parametrize(
    ("name", "offered"),
    [("resnet21", "resnet20"), ("ResNet18", "resnet18"), ("one-cycle", "one_cycle"), ("randaug", "randaugment")],
)
def test_an_unknown_name_offers_the_nearest_first(name, offered):
    with pytest.raises(UsageError, match=rf"no model is called '{name}'; did you mean '{offered}'"):
        look_up("model", name, TABLE)


def test_a_name_like_no_other_is_shown_all_there_are():
    with pytest.raises(UsageError) as caught:
        look_up("block", "zzz", {"basic": 1, "bottleneck": 2})
    assert str(caught.value) == "no block is called 'zzz'; there are: basic, bottleneck"


def test_at_most_three_near_misses_are_offered():
    assert len(near_misses("name", dict.fromkeys(f"name{number}" for number in range(9)))) == 3
    assert near_misses("name", {}) == []
