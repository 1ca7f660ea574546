from types import SimpleNamespace

import pytest

from plusx.data.waiting import advice


def batches(*, in_memory=False, workers=2, cached=False):
    shape = SimpleNamespace(shape=(3, 200, 224))
    return SimpleNamespace(in_memory=in_memory, workers=workers, cached=cached, input=shape)


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_little_waiting_is_not_worth_a_word(share):
    assert advice(share, batches(), 8) == ""


def test_what_would_help_is_said_and_what_is_done_already_is_not():
    assert advice(0.314, batches(), 8) == (
        "31% of the epoch was spent waiting for data; what would help: --workers 8 (now 2), or --cache FOLDER, which "
        "keeps decoded images, or smaller images: --image-size below 224"
    )
    assert "--workers" not in advice(0.3, batches(workers=8), 8)
    assert "--cache" not in advice(0.3, batches(cached=True), 8)
    assert "all images are in memory" in advice(0.3, batches(in_memory=True), 8)
