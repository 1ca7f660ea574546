import itertools

import pytest
import tiny

from plusx.data.batches import Batches
from plusx.training.loop import train
from plusx.training.recipe import Recipe
from plusx.training.sizes import side


def sizes_of(height, width, **changes):
    recipe = Recipe(**{"epochs": 16, "first_size": 0.5, "growing": 0.5} | changes)
    return [side(recipe, epoch, height, width) for epoch in range(recipe.epochs)]


def test_they_grow_in_equal_steps_and_are_final_when_growing_is_over():
    found = sizes_of(32, 32)
    assert found == [(16, 16)] * 2 + [(20, 20)] * 2 + [(24, 24)] * 2 + [(28, 28)] * 2 + [(32, 32)] * 8


def test_photos_grow_in_multiples_of_32():
    assert [height for height, _ in sizes_of(224, 224, first_size=0.57)] == [128] * 2 + [160] * 4 + [192] * 2 + [
        224
    ] * 8


def test_without_a_first_size_they_are_what_they_are():
    assert set(sizes_of(37, 53, first_size=1.0)) == {(37, 53)}


def test_each_side_grows_by_itself():
    assert sizes_of(28, 96)[0] == (16, 48)
    assert sizes_of(30, 50)[8] == (30, 50)


def test_the_last_epoch_has_the_last_size():
    assert sizes_of(32, 32, epochs=1) == [(32, 32)]
    assert sizes_of(32, 32, epochs=10, growing=1.0)[-2:] == [(28, 28), (32, 32)]
    assert sizes_of(32, 32, epochs=1, growing=1.0) == [(32, 32)]
    assert sizes_of(32, 32, epochs=10, growing=0.9)[-1] == (32, 32)


@pytest.mark.parametrize(
    ("first", "growing", "final"), list(itertools.product((0.01, 0.3, 0.7, 0.99), (0.1, 1.0), (8, 9, 63, 65, 600)))
)
def test_they_never_fall_never_exceed_the_final_ones_and_are_few(first, growing, final):
    found = [height for height, _ in sizes_of(final, final, epochs=100, first_size=first, growing=growing)]
    assert found == sorted(found)
    assert min(found) >= 8
    assert max(found) <= final
    assert len(set(found) - {final}) <= 4
    assert all(one % (4 if one <= 64 else 32) == 0 for one in found if one != final)


def test_a_training_meets_them_epoch_by_epoch():
    recipe = Recipe(epochs=4, batch_size=4, first_size=0.5, growing=0.5)
    seen = []
    network = tiny.network()
    network.register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape[2:])))
    samples = tiny.samples(8)
    batches = Batches(
        samples, tiny.INPUT.at_size(16, 16), batch_size=4, collate=tiny.TASK.collate, training=True,
        sizes=lambda epoch: side(recipe, epoch, 16, 16),
    )  # fmt: skip
    for _ in train(network, tiny.TASK, batches, recipe):
        pass
    assert seen == [(8, 8)] * 2 + [(12, 12)] * 2 + [(16, 16)] * 4


def test_the_last_size_may_be_smaller_than_the_one_that_is_scored():
    """torchvision's networks of 224 pixels are trained on 176."""
    assert set(sizes_of(224, 224, first_size=1.0, last_size=0.786)) == {(176, 176)}
    found = [height for height, _ in sizes_of(224, 224, first_size=0.5, last_size=0.786)]
    assert found == [96] * 2 + [128] * 4 + [160] * 2 + [176] * 8
