import math

import numpy as np
import pytest
import tiny
import torch
from torch.nn import functional

from plusx import random_streams
from plusx.training.mixing import box, mixed, neighbors
from plusx.training.recipe import Recipe

PLACE = {"seed": 5, "epoch": 2, "step": 7}


def batch(count=6, height=8, width=10):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, height, width, generator=generator), torch.arange(count) % 3


def beta_of(alpha, place=PLACE):
    return random_streams.of_step(*place.values()).beta(alpha, alpha)


def test_without_alphas_nothing_is_touched():
    images, targets = batch()
    same, wanted = mixed(images, targets, tiny.TASK, Recipe(), **PLACE)
    assert same is images
    assert wanted is targets


def test_mixup_blends_each_image_and_its_target_with_its_neighbors():
    images, targets = batch()
    share = beta_of(0.4)
    assert 0.01 < share < 0.99
    found, shares = mixed(images, targets, tiny.TASK, Recipe(mixup=0.4), **PLACE)
    pixels, classes = images.numpy().astype(np.float64), np.eye(3)[targets.numpy()]
    for place, partner in enumerate((1, 0, 3, 2, 5, 4)):
        expected = share * pixels[place] + (1 - share) * pixels[partner]
        np.testing.assert_allclose(found[place].numpy(), expected, atol=1e-6)
        blended = share * classes[place] + (1 - share) * classes[partner]
        np.testing.assert_allclose(shares[place].numpy(), blended, atol=1e-6)


def test_cutmix_takes_one_part_from_the_neighbor_and_as_much_of_its_target():
    images, targets = batch()
    draws = random_streams.of_step(*PLACE.values())
    top, bottom, left, right = box(draws, 8, 10, draws.beta(1.0, 1.0))
    kept = 1 - (bottom - top) * (right - left) / 80
    assert 0 < kept < 1
    found, shares = mixed(images, targets, tiny.TASK, Recipe(cutmix=1.0), **PLACE)
    inside = torch.zeros(8, 10, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    for place, partner in enumerate((1, 0, 3, 2, 5, 4)):
        assert torch.equal(found[place][:, inside], images[partner][:, inside])
        assert torch.equal(found[place][:, ~inside], images[place][:, ~inside])
        expected = torch.zeros(3)
        expected[targets[place]] += kept
        expected[targets[partner]] += 1 - kept
        torch.testing.assert_close(shares[place], expected)


def test_the_images_that_came_are_not_written_to():
    images, targets = batch()
    before = images.clone()
    for recipe in (Recipe(mixup=1.0), Recipe(cutmix=1.0)):
        mixed(images, targets, tiny.TASK, recipe, **PLACE)
        assert torch.equal(images, before)


def test_a_last_one_without_a_neighbor_stays_as_it_is():
    images, targets = batch(5)
    assert neighbors(5).tolist() == [1, 0, 3, 2, 4]
    for recipe in (Recipe(mixup=0.4), Recipe(cutmix=1.0)):
        found, shares = mixed(images, targets, tiny.TASK, recipe, **PLACE)
        torch.testing.assert_close(found[4], images[4])
        assert shares[4].tolist() == functional.one_hot(targets[4], 3).tolist()
    alone, wanted = mixed(images[:1], targets[:1], tiny.TASK, Recipe(mixup=0.4), **PLACE)
    assert torch.equal(alone, images[:1])
    assert torch.equal(wanted, targets[:1])


def test_a_step_divided_between_the_pairs_is_mixed_as_the_whole_one():
    """So it is with the ranks of a distributed run, whatever each of them draws: they draw the same."""
    images, targets = batch(8)
    for recipe in (Recipe(mixup=0.4), Recipe(cutmix=1.0), Recipe(mixup=0.4, cutmix=1.0)):
        whole, shares = mixed(images, targets, tiny.TASK, recipe, **PLACE)
        parts = [mixed(images[part], targets[part], tiny.TASK, recipe, **PLACE) for part in (slice(6), slice(6, 8))]
        assert torch.equal(torch.cat([one for one, _ in parts]), whole)
        assert torch.equal(torch.cat([one for _, one in parts]), shares)


def test_the_draws_are_a_function_of_seed_epoch_and_step():
    images, targets = batch()

    def first(**changes):
        return mixed(images, targets, tiny.TASK, Recipe(mixup=1.0, cutmix=1.0), **PLACE | changes)[0]

    assert torch.equal(first(), first())
    for changes in ({"seed": 6}, {"epoch": 3}, {"step": 8}):
        assert not torch.equal(first(), first(**changes))


def test_with_both_each_step_takes_one_of_them_by_chance():
    images, targets = batch(2)
    kinds = []
    for step in range(200):
        found, _ = mixed(images, targets, tiny.TASK, Recipe(mixup=1.0, cutmix=1.0), **PLACE | {"step": step})
        own, other = found[0] == images[0], found[0] == images[1]
        kinds.append(bool((own | other).all()))  # every pixel is one of the two: CutMix
    assert 70 < sum(kinds) < 130


def test_the_part_has_its_share_of_the_area_where_it_lies_within_the_image():
    """And its center is anywhere: alike in each row and column."""
    draws = np.random.Generator(np.random.Philox(key=3))
    tops, areas = [], []
    for _ in range(2000):
        top, bottom, left, right = box(draws, 32, 48, 0.75)
        assert 0 <= top <= bottom <= 32
        assert 0 <= left <= right <= 48
        tops.append(top)
        areas.append((bottom - top) * (right - left))
    assert max(areas) == 16 * 24 == 0.25 * 32 * 48
    assert np.mean(np.array(tops) == 0) == pytest.approx(9 / 32, abs=0.04)
    assert np.mean(areas) == pytest.approx(expected_side(32, 16) * expected_side(48, 24), rel=0.03)


def expected_side(size, side):
    """The mean length of [c - side // 2, c - side // 2 + side) cut at 0 and size, c being anywhere."""
    return np.mean([min(size, c - side // 2 + side) - max(0, c - side // 2) for c in range(size)])


def test_a_share_of_one_takes_nothing_and_of_zero_all_that_the_center_allows():
    draws = np.random.Generator(np.random.Philox(key=3))
    top, bottom, left, right = box(draws, 8, 8, 1.0)
    assert (bottom - top) * (right - left) == 0
    top, bottom, left, right = box(draws, 8, 8, 0.0)
    assert min(bottom - top, right - left) >= 4


def test_the_beta_distribution_is_that_of_alpha():
    shares = np.array([beta_of(0.2, {"seed": 0, "epoch": 0, "step": step}) for step in range(3000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.std() == pytest.approx(math.sqrt(1 / (4 * (2 * 0.2 + 1))), abs=0.02)
