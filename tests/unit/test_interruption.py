import os
import signal
import threading

import pytest

from plusx.interruption import listening


@pytest.fixture
def handled():
    """Handlers of the caller's own, which note what reaches them."""
    reached = []
    before = {number: signal.signal(number, lambda got, frame: reached.append(got)) for number in (2, 15)}
    yield reached
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_only_sets_a_flag(handled, number):
    with listening() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal == number
    assert handled == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_same_signal_again_acts_as_it_always_does(handled, number):
    with listening() as stop:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert stop.signal == number
    assert handled == [number]


def test_a_second_ctrl_c_ends_a_run_that_hangs():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with listening() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_put_back_whatever_happens(handled):
    before = {number: signal.getsignal(number) for number in (2, 15)}

    def work():
        with listening():
            assert signal.getsignal(2) is not before[2]
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        work()
    assert {number: signal.getsignal(number) for number in (2, 15)} == before
    os.kill(os.getpid(), signal.SIGTERM)
    assert handled == [15]


def test_another_thread_listens_without_touching_the_handlers():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with listening() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
