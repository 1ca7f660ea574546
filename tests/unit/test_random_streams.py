from itertools import product

import numpy as np
import pytest
from scipy import stats

from plusx.random_streams import GOLDEN, mixed, of_step, order, uniform


def test_the_finalizer_is_that_of_splitmix64():
    """The first outputs of the reference implementation (prng.di.unimi.it/splitmix64.c) for the seed 1234567."""
    with np.errstate(over="ignore"):
        states = np.uint64(1234567) + GOLDEN * np.arange(1, 6, dtype=np.uint64)
        found = mixed(states).tolist()
    assert found == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


PINNED = [
    [0.1296456182997474, 0.16526896395580137, 0.31059630345365596],
    [0.8513026201288322, 0.1345321208590312, 0.10317913945866874],
]
PINNED_ORDER = [[5, 0, 6, 1, 7, 2, 4, 3], [4, 3, 5, 6, 0, 7, 1, 2]]


def test_known_draws_never_change():
    """Pinned: other values would silently break the reproducibility of every run that was ever saved."""
    found = uniform(0, 0, np.array([0, 1]), 3)
    assert found.tolist() == PINNED
    assert order(0, 0, 8).tolist() == PINNED_ORDER[0]
    assert order(7, 3, 8).tolist() == PINNED_ORDER[1]


def test_draws_are_in_the_unit_interval_with_53_bits():
    draws = uniform(1, 2, np.arange(1000), 8)
    assert draws.shape == (1000, 8)
    assert draws.dtype == np.float64
    assert 0 <= draws.min() < 0.001
    assert 0.999 < draws.max() < 1
    assert np.all(draws * 2**53 % 1 == 0)
    assert np.any(draws * 2**52 % 1 != 0)


def test_the_first_draws_do_not_depend_on_how_many_are_asked_for():
    samples = np.arange(5)
    assert np.array_equal(uniform(3, 4, samples, 20)[:, :7], uniform(3, 4, samples, 7))


def test_a_samples_draws_do_not_depend_on_its_batch():
    alone = uniform(3, 4, np.array([17]), 6)[0]
    for batch in ([17], [0, 17], [17, 3, 9], list(range(40))):
        assert np.array_equal(uniform(3, 4, np.array(batch), 6)[batch.index(17)], alone)


def test_seed_epoch_sample_and_position_each_give_other_numbers():
    everything = [
        uniform(seed, epoch, np.arange(10), 10).ravel() for seed in (0, 1, 2**40, -1) for epoch in (0, 1, 2, 1000)
    ]
    numbers = np.concatenate(everything)
    assert len(np.unique(numbers)) == len(numbers)


def test_swapped_numbers_do_not_meet():
    assert not np.array_equal(uniform(1, 2, np.array([3]), 4), uniform(2, 1, np.array([3]), 4))
    assert not np.array_equal(uniform(1, 2, np.array([3]), 4), uniform(1, 3, np.array([2]), 4))


@pytest.mark.parametrize("seed", [0, 1, 123456789])
def test_draws_are_uniform_and_independent(seed):
    draws = uniform(seed, 5, np.arange(20_000), 4)
    for column in draws.T:
        assert stats.chisquare(np.histogram(column, 50, (0, 1))[0]).pvalue > 1e-5
    pairs = np.histogram2d(draws[:, 0], draws[:, 1], 12, ((0, 1), (0, 1)))[0]
    assert stats.chisquare(pairs.ravel()).pvalue > 1e-5
    neighbors = np.histogram2d(draws[:-1, 0], draws[1:, 0], 12, ((0, 1), (0, 1)))[0]
    assert stats.chisquare(neighbors.ravel()).pvalue > 1e-5
    across_epochs = np.histogram2d(draws[:, 0], uniform(seed, 6, np.arange(20_000), 1)[:, 0], 12, ((0, 1), (0, 1)))[0]
    assert stats.chisquare(across_epochs.ravel()).pvalue > 1e-5


def test_an_order_visits_each_sample_once():
    for count in (0, 1, 2, 97):
        assert sorted(order(0, 0, count).tolist()) == list(range(count))
    assert order(0, 0, 5).dtype == np.int64


def test_orders_differ_between_epochs_and_seeds_and_repeat():
    orders = {tuple(order(seed, epoch, 30).tolist()) for seed in (0, 1, 2, -1) for epoch in range(10)}
    assert len(orders) == 40
    assert np.array_equal(order(2, 9, 30), order(2, 9, 30))


def test_nothing_is_taken_from_or_given_to_the_global_stream():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the stream that must not be touched
    order(0, 0, 10), uniform(0, 0, np.arange(3), 3)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_places_in_the_order_are_uniform():
    firsts = [int(order(seed, 0, 10)[0]) for seed in range(2000)]
    assert stats.chisquare(np.bincount(firsts, minlength=10)).pvalue > 1e-5


def test_a_copy_has_draws_of_its_own_and_the_first_has_those_of_the_sample():
    samples = np.array([3, 3, 3, 8])
    found = uniform(5, 6, samples, 40, np.array([0, 1, 2, 1]))
    assert np.array_equal(found[:1], uniform(5, 6, samples[:1], 40))
    assert np.array_equal(found[1], uniform(5, 6, samples[:1], 40, np.array([1]))[0])
    assert np.unique(found).size == found.size, "no draw of one copy is one of another"


def test_what_is_drawn_for_a_step_depends_on_seed_epoch_and_step_and_not_on_the_past():
    drawn = {place: of_step(*place).random(3).tolist() for place in product((0, 7, -1), (0, 5), (0, 9))}
    assert len({tuple(numbers) for numbers in drawn.values()}) == len(drawn)
    assert of_step(7, 5, 9).random(3).tolist() == drawn[7, 5, 9]


def test_a_steps_draws_are_not_those_of_the_epochs_order():
    """Both come from one generator: its counter tells them apart, however many numbers the order takes."""
    key = np.array([7, 5], dtype=np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).integers(2**63, size=100_000)
    steps = np.concatenate([of_step(7, 5, step).integers(2**63, size=100) for step in range(100)])
    assert not set(order.tolist()) & set(steps.tolist())
