from collections import Counter

import numpy as np
import pytest

from plusx.data.steps import evaluation_part, evaluation_steps, share, step_part, step_sizes, training_steps

ORDER = np.random.default_rng(0).permutation(101)


@pytest.mark.parametrize(("count", "ranks"), [(101, 3), (7, 8), (0, 2), (8, 4), (1, 1)])
def test_shares_are_contiguous_even_and_whole(count, ranks):
    parts = [share(count, rank, ranks) for rank in range(ranks)]
    assert [place for part in parts for place in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("size", "ranks"), [(20, 3), (7, 3), (9, 1), (4, 2), (5, 2), (64, 6)])
def test_parts_of_a_step_keep_pairs_together(size, ranks):
    parts = [step_part(size, rank, ranks) for rank in range(ranks)]
    assert [place for part in parts for place in part] == list(range(size))
    assert all(part.start % 2 == 0 and len(part) >= 2 for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 3


@pytest.mark.parametrize(("count", "ranks"), [(101, 2), (101, 3), (3, 5), (0, 2), (8, 2)])
def test_evaluation_has_the_batches_of_one_rank(count, ranks):
    parts = [evaluation_part(count, 4, rank, ranks) for rank in range(ranks)]
    together = [step.samples.tolist() for part in parts for step in evaluation_steps(part, 4)]
    assert together == [step.samples.tolist() for step in evaluation_steps(range(count), 4)]


@pytest.mark.parametrize(
    ("count", "size", "ranks", "expected"),
    [
        (9, 4, 1, [4, 5]),
        (10, 4, 1, [4, 4, 2]),
        (11, 8, 2, [11]),
        (12, 8, 2, [8, 4]),
        (3, 8, 2, [3]),
        (0, 8, 2, []),
        (3, 1, 1, [1, 2]),
    ],
)
def test_a_last_step_with_fewer_than_two_samples_a_rank_joins_the_one_before(count, size, ranks, expected):
    assert step_sizes(count, size, ranks) == expected


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("repeats", [1, 3])
def test_ranks_together_have_the_very_steps_of_one(ranks, repeats):
    alone = training_steps(ORDER[:100], 20, repeats=repeats)
    together = [training_steps(ORDER[:100], 20, repeats=repeats, rank=rank, ranks=ranks) for rank in range(ranks)]
    for step, *parts in zip(alone, *together, strict=True):
        assert np.concatenate([part.samples for part in parts]).tolist() == step.samples.tolist()
        assert np.concatenate([part.copies for part in parts]).tolist() == step.copies.tolist()
        assert {part.total for part in parts} == {step.total} == {20}


def test_without_repeats_the_order_is_followed():
    steps = training_steps(ORDER, 10)
    assert np.concatenate([step.samples for step in steps]).tolist() == ORDER.tolist()
    assert [step.total for step in steps] == [10] * 9 + [11]
    assert not any(step.copies.any() for step in steps)


@pytest.mark.parametrize(("size", "repeats"), [(12, 3), (10, 3), (8, 4), (5, 8)])
def test_repeats_bring_each_of_the_first_samples_so_often_in_one_step(size, repeats):
    steps = training_steps(ORDER, size, repeats=repeats)
    assert sum(len(step.samples) for step in steps) == len(ORDER), "an epoch has as many samples as without"
    seen = []
    for step in steps:
        counts = Counter(step.samples.tolist())
        assert max(counts.values()) <= repeats
        if len(step.samples) % repeats == 0:
            assert set(counts.values()) == {repeats}
        for sample, count in counts.items():
            assert sorted(step.copies[step.samples == sample].tolist()) == list(range(count))
        seen += list(dict.fromkeys(step.samples.tolist()))
    assert seen == ORDER[: len(seen)].tolist(), "the first of the order, each in one step only"
    if size % repeats == 0:
        assert len(seen) == -(-len(ORDER) // repeats)


def test_evaluation_goes_through_a_part_in_order():
    steps = evaluation_steps(range(5, 12), 3)
    assert [step.samples.tolist() for step in steps] == [[5, 6, 7], [8, 9, 10], [11]]
    assert [step.total for step in steps] == [3, 3, 1]
    assert evaluation_steps(range(5, 5), 3) == []
