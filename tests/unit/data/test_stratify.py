from collections import Counter

import numpy as np
import pytest

from plusx.data import Sample
from plusx.data.stratify import assign, quotas_of, repair, units_of

PIXELS = np.zeros((1, 1), np.uint8)


@pytest.mark.parametrize(
    ("counts", "quotas"),
    [
        ([100, 50], [[20, 10], [10, 5]]),
        ([10, 10], [[2, 2], [1, 1]]),
        ([3, 3], [[1, 1], [1, 0]]),
        ([7, 2, 1], [[2, 0, 0], [1, 0, 0]]),
        ([0, 5], [[0, 1], [0, 1]]),
    ],
)
def test_quotas(counts, quotas):
    assert quotas_of(np.array(counts), [0.2, 0.1]).tolist() == quotas


def test_a_class_keeps_a_sample_whatever_is_asked_for():
    assert quotas_of(np.array([4, 3]), [0.9, 0.9]).sum(axis=0).tolist() == [3, 2]


def test_what_shares_a_group_or_content_is_one_unit_however_indirectly():
    keys = [("a", "1"), (None, "1"), ("b", ""), ("b", "2"), (None, ""), (None, ""), ("a", "2")]
    pool = [Sample(f"{index}", PIXELS, 0, group=group, sha256=content) for index, (group, content) in enumerate(keys)]
    assert units_of(pool) == [[0, 1, 2, 3, 6], [4], [5]]


def test_units_go_where_they_are_wanted_most():
    units = [[index, index + 1] for index in range(0, 40, 2)]
    pool = [Sample(f"{index}", PIXELS, index // 20) for index in range(40)]
    places = assign(pool, units, np.array([[4, 4], [2, 2]]), seed=0)
    assert np.bincount(places).tolist() == [28, 8, 4]
    for target in (0, 1):
        assert np.bincount(places[20 * target :][:20]).tolist() == [14, 4, 2]


def test_every_class_gets_into_train_by_its_smallest_unit():
    content = [Counter({0: 5}), Counter({1: 3}), Counter({1: 2}), Counter({0: 1})]
    placed = [0, 1, 2, 2]
    repair(placed, content, 3)
    assert placed == [0, 1, 0, 2]


def test_an_empty_place_gets_the_smallest_unit_that_train_can_spare():
    content = [Counter({0: 5}), Counter({0: 3}), Counter({1: 2})]
    placed = [0, 0, 0]
    repair(placed, content, 3)
    assert placed == [0, 1, 0], "one place stays empty: no class may leave train"
