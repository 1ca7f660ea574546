import dataclasses

import numpy as np
import pytest
import ranked_work
import tiny
from ranked import on_ranks

WITHOUT_NORM = dataclasses.replace(tiny.ARCHITECTURE, norm="none")
EVERYTHING = {"mixup": 0.4, "average_decay": 0.9, "lookahead_steps": 2, "gradient_clip": 1.0, "exact_statistics": 2}


def assert_near(one, other, tolerance):
    for name, value in one["state"].items():
        np.testing.assert_allclose(value, other["state"][name], rtol=tolerance, atol=tolerance, err_msg=name)
    for row, others in zip(one["rows"], other["rows"], strict=True):
        assert row == pytest.approx(others, rel=tolerance, abs=tolerance)


def assert_same(found):
    for other in found[1:]:
        assert all(np.array_equal(value, other["state"][name]) for name, value in found[0]["state"].items())
        assert other["rows"] == found[0]["rows"]


@pytest.fixture(scope="module")
def alone():
    return {kind: on_ranks(0, ranked_work.trained, *given)[0] for kind, given in KINDS.items()}


KINDS = {
    "without norm": (WITHOUT_NORM, {"momentum": 0.9}),
    "with everything": (tiny.ARCHITECTURE, EVERYTHING),
}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_without_norms_several_ranks_train_as_one(alone, ranks):
    # Steps of 10, 10 and 9 samples: the parts of the last are unequal. Sums in another order differ in the last bits.
    found = on_ranks(ranks, ranked_work.trained, *KINDS["without norm"])
    assert_same(found)
    assert_near(found[0], alone["without norm"], 0 if ranks == 1 else 1e-5)


@pytest.mark.parametrize("ranks", [2, 3])
def test_with_synchronized_norms_too_with_everything_that_a_recipe_has(alone, ranks):
    found = on_ranks(ranks, ranked_work.synchronized, *KINDS["with everything"])
    assert_same(found)
    assert_near(found[0], alone["with everything"], 1e-4)


def test_with_norms_of_their_own_ranks_still_end_with_the_same_weights(alone):
    found = on_ranks(2, ranked_work.trained, *KINDS["with everything"])
    assert_same(found)
    with pytest.raises(AssertionError):
        assert_near(found[0], alone["with everything"], 1e-4)


@pytest.mark.parametrize("head", [{"head_epochs": 1.0}, {"freeze": "1"}])
def test_frozen_parts_and_a_head_alone_need_nothing_else(head):
    found = on_ranks(2, ranked_work.trained, tiny.ARCHITECTURE, {**head, "frozen_norms": True})
    assert_same(found)


def test_what_is_not_finite_on_one_rank_is_left_out_by_all():
    found = on_ranks(2, ranked_work.troubled, WITHOUT_NORM, {"not_finite": "skip"}, "not finite")
    assert_same(found)
    assert [one["skipped"] for one in found] == [1, 1]
    assert found[0]["incidents"] == found[1]["incidents"]


def test_memory_that_one_rank_lacks_divides_the_batches_of_all(alone):
    found = on_ranks(2, ranked_work.troubled, *KINDS["without norm"], "memory")
    assert_same(found)
    assert [one["micro_batches"] for one in found] == [2, 2]
    assert_near(found[0], alone["without norm"], 1e-5)
