from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plusx.data import Dataset, Sample
from plusx.data.split import split_dataset
from plusx.errors import DataError

PIXELS = np.zeros((1, 1), np.uint8)
SPLITS = ("train", "validation", "test")


@st.composite
def datasets(draw, *, grouped):
    """Draw a data set of 2 to 4 classes, with groups and repeated contents if wanted."""
    classes = draw(st.integers(2, 4))
    keys = st.integers(0, 12) if grouped else st.none()
    rows = draw(st.lists(st.tuples(st.integers(0, classes - 1), keys, keys), min_size=2, max_size=80))
    assume({target for target, _, _ in rows} == set(range(classes)))
    samples = tuple(
        Sample(
            f"{index:03d}",
            PIXELS,
            target,
            group=f"g{group}" if group else None,
            sha256=f"c{content}" if content else f"own {index}",
        )
        for index, (target, group, content) in enumerate(rows)
    )
    return Dataset("drawn", "drawn", tuple(map(str, range(classes))), samples)


def divide(dataset, seed, **shares):
    """Return the split data set, or None if it was refused for having too little to spare."""
    with suppress(DataError):
        return split_dataset(dataset, seed=seed, **shares)


@settings(deadline=None, max_examples=150)
@given(datasets(grouped=True), st.integers(0, 2**64 - 1), st.randoms())
def test_no_group_and_no_content_is_in_two_splits(dataset, seed, random):
    divided = divide(dataset, seed)
    if divided is None:
        return
    for key in ("group", "sha256"):
        held = [{getattr(one, key) for one in divided.split(split)} - {None} for split in SPLITS]
        assert sum(map(len, held)) == len(set.union(*held))
    assert all(divided.split(split) for split in SPLITS)
    assert {one.target for one in divided.split("train")} == set(range(len(dataset.classes)))
    assert [replace(one, split=None) for one in divided.samples] == list(dataset.samples)
    shuffled = list(dataset.samples)
    random.shuffle(shuffled)
    again = split_dataset(replace(dataset, samples=tuple(shuffled)), seed=seed)
    assert set(again.samples) == set(divided.samples)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(3, 60), min_size=2, max_size=6),
    st.integers(0, 99),
    st.sampled_from([0.05, 0.1, 0.15, 0.2, 0.3]),
    st.sampled_from([0.1, 0.2, 0.25, 0.4]),
)
def test_splits_are_stratified_and_of_the_size_asked_for(counts, seed, validation, test):
    samples = tuple(
        Sample(f"{target}/{index}", PIXELS, target) for target, count in enumerate(counts) for index in range(count)
    )
    dataset = Dataset("drawn", "drawn", tuple(map(str, range(len(counts)))), samples)
    divided = divide(dataset, seed, validation=validation, test=test)
    assert divided is not None
    held = divided.counts()
    for split, share in (("validation", validation), ("test", test)):
        assert sum(held[split].values()) == pytest.approx(share * sum(counts), abs=1)
        for target, count in enumerate(counts):
            assert abs(held[split][str(target)] - share * count) < 2
    assert all(held["train"][str(target)] >= 1 for target in range(len(counts)))
