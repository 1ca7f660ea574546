import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from plusx.errors import UsageError
from plusx.inputs.batch_augment import CUT_COLUMN, CUT_ROW, FLIP, PAD_LEFT, PAD_TOP, crop_box, harmless_reduction
from plusx.inputs.image import ImageInput
from plusx.random_streams import uniform

PLAIN = ImageInput(32, 32, 3, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))


def images(count: int = 64, height: int = 32, width: int = 32, channels: int = 3) -> torch.Tensor:
    shape = (count, channels, height, width)
    return torch.from_numpy(np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8))


def draws(count: int = 64) -> np.ndarray:
    return uniform(0, 0, np.arange(count), ImageInput.draws)


def changed(**fields: Any) -> ImageInput:
    return dataclasses.replace(PLAIN, **fields)


def test_nothing_is_changed_unasked() -> None:
    assert PLAIN.augment_batch(images(), draws()).equal(images())


def test_half_of_the_images_are_mirrored() -> None:
    before = images()
    answer = changed(flip=True).augment_batch(before, draws())
    mirrored = torch.from_numpy(draws()[:, FLIP] < 0.5)
    assert 20 < mirrored.sum() < 44
    assert answer[mirrored].equal(before[mirrored].flip(-1))
    assert answer[~mirrored].equal(before[~mirrored])
    assert before.equal(images())


def test_pad_and_crop_shifts_by_up_to_the_padding() -> None:
    numbers = draws(3)
    numbers[:, PAD_TOP], numbers[:, PAD_LEFT] = [0.0, 4.5 / 9, 0.9999], [0.9999, 4.5 / 9, 0.0]
    before = images(3)
    answer = changed(pad_and_crop=4).augment_batch(before, numbers)
    assert answer[1].equal(before[1])
    assert answer[0, :, 4:, :-4].equal(before[0, :, :-4, 4:])
    assert answer[2, :, :-4, 4:].equal(before[2, :, 4:, :-4])
    assert not answer[0, :, :4].any()
    assert not answer[0, :, :, -4:].any()
    shifts = {tuple(shift) for shift in (draws(3000)[:, [PAD_TOP, PAD_LEFT]] * 9).astype(int).tolist()}
    assert len(shifts) == 81


def test_padding_may_reflect_the_image() -> None:
    numbers = draws(2)
    numbers[:, PAD_TOP], numbers[:, PAD_LEFT] = [0.0, 4.5 / 9], [0.9999, 4.5 / 9]
    before = images(2)
    answer = changed(pad_and_crop=4, padding_mode="reflect").augment_batch(before, numbers)
    assert answer[1].equal(before[1])
    around = torch.nn.functional.pad(before[:1].float(), (4, 4, 4, 4), mode="reflect")
    assert answer[0].equal(around[0, :, :-8, 8:].to(answer.dtype))


def test_cutout_sets_a_square_to_the_mean_pixel() -> None:
    numbers = draws(3)
    numbers[:, CUT_ROW], numbers[:, CUT_COLUMN] = [0.5, 0.0, 0.999], [0.5, 0.0, 0.999]
    answer = changed(cutout=8).augment_batch(images(3), numbers)
    mean = torch.tensor([128, 102, 76], dtype=torch.uint8)[:, None, None]
    places = [(slice(12, 20), 64), (slice(0, 4), 16), (slice(27, 32), 25)]
    for one, before, (part, count) in zip(answer, images(3), places, strict=True):
        assert (one[:, part, part] == mean).all()
        outside = one.clone()
        outside[:, part, part] = before[:, part, part]
        assert outside.equal(before)
        assert one[:, part, part][0].numel() == count


def test_a_random_resized_crop_keeps_area_and_aspect_in_bounds() -> None:
    settings = changed(random_resized_crop=True, crop_scale=(0.2, 0.8))
    shares, aspects = [], []
    for numbers in draws(500):
        top, left, tall, wide = crop_box(300, 400, settings, numbers)
        assert 0 <= top <= 300 - tall
        assert 0 <= left <= 400 - wide
        shares.append(tall * wide / 120_000)
        aspects.append(wide / tall)
    assert 0.19 < min(shares) < 0.23
    assert 0.7 < max(shares) < 0.81
    assert 0.74 < min(aspects) < 0.78
    assert 1.28 < max(aspects) < 1.345


def test_a_strip_falls_back_to_its_central_part() -> None:
    settings = changed(random_resized_crop=True, crop_scale=(0.9, 1.0))
    assert crop_box(10, 1000, settings, draws(1)[0]) == (0, 493, 10, 13)
    assert crop_box(1000, 9, settings, draws(1)[0]) == (494, 0, 12, 9)
    assert crop_box(1, 1, settings, draws(1)[0]) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("fields", "height", "width", "factor"),
    [
        ({"crop_fraction": 0.875}, 3000, 4000, 8),
        ({"crop_fraction": 0.875}, 8 * 256 - 8, 2040, 4),
        ({"crop_fraction": 0.875}, 8 * 256 - 7, 2041, 8),
        ({"crop_fraction": 0.875}, 500, 4000, 1),
        ({}, 224, 224, 1),
        ({"fit": "stretch"}, 448, 4000, 2),
        ({"fit": "stretch", "width": 448}, 896, 896, 2),
        ({"random_resized_crop": True, "crop_scale": (0.25, 1.0)}, 3000, 4000, 4),
        ({"random_resized_crop": True, "crop_scale": (0.08, 1.0)}, 3000, 4000, 2),
        ({"random_resized_crop": True, "crop_scale": (0.08, 1.0)}, 1000, 1000, 1),
        ({"random_resized_crop": True, "crop_scale": (1.0, 1.0)}, 448, 40_000, 2),
        ({"random_resized_crop": True, "crop_scale": (1.0, 1.0)}, 40_000, 447, 2),
        ({"random_resized_crop": True, "crop_scale": (1.0, 1.0)}, 40_000, 446, 1),
    ],
)
def test_an_image_is_reduced_as_far_as_nothing_is_enlarged_for_it(
    fields: dict[str, Any], height: int, width: int, factor: int
) -> None:
    settings = changed(**{"height": 224, "width": 224} | fields)
    assert harmless_reduction(settings, height, width) == factor


def test_even_the_smallest_crop_of_a_reduced_image_has_the_final_size() -> None:
    settings = changed(random_resized_crop=True, crop_scale=(0.1, 0.1))
    generator = np.random.default_rng(0)
    reduced = 0
    for height, width in generator.integers(20, 2000, (300, 2)).tolist():
        factor = harmless_reduction(settings, height, width)
        reduced += factor > 1
        for numbers in draws(20) if factor > 1 else ():
            _, _, tall, wide = crop_box(-(-height // factor), -(-width // factor), settings, numbers)
            assert min(tall, wide) >= 32
    assert reduced > 100


def test_a_whole_crop_is_the_whole_image() -> None:
    settings = changed(random_resized_crop=True, crop_scale=(1.0, 1.0))
    numbers = np.full((1, ImageInput.draws), 0.5)
    assert settings.augment_batch(images(1), numbers).equal(images(1))


@pytest.mark.parametrize(("height", "width"), [(40, 40), (23, 31), (500, 20), (20, 600), (32, 40)])
def test_without_a_random_crop_training_sees_what_evaluation_sees(height: int, width: int) -> None:
    for settings in (changed(crop_fraction=0.8), changed(fit="stretch"), changed()):
        before = images(2, height, width)
        answer = settings.augment_batch(before, draws(2))
        assert (answer.float() - settings.fit_to_size(before)).abs().max() <= 1.51


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_policy_depends_on_the_draw_alone(policy: str, channels: int) -> None:
    settings = ImageInput(32, 32, channels, (0.5,) * channels, (0.2,) * channels, policy=policy)
    before = images(16, channels=channels)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    answer = settings.augment_batch(before, draws(16))
    assert torch.random.get_rng_state().equal(state)
    torch.manual_seed(2)
    assert settings.augment_batch(before, draws(16)).equal(answer)
    assert settings.augment(before[5], draws(16)[5]).equal(answer[5])
    changes = (answer != before).flatten(1).any(1)
    assert changes.sum() >= 4
    assert not settings.augment_batch(before, uniform(0, 1, np.arange(16), ImageInput.draws)).equal(answer)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_bits_do_not_depend_on_threads(threads: int) -> None:
    settings = changed(random_resized_crop=True, flip=True, pad_and_crop=4, cutout=8)
    before = images(8, 97, 61)
    whole = settings.augment_batch(before, draws(8))
    known = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert settings.augment_batch(before, draws(8)).equal(whole)
    finally:
        torch.set_num_threads(known)


def test_wrong_images_and_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"found torch\.float32 images of shape"):
        PLAIN.augment_batch(images(2).float(), draws(2))
    with pytest.raises(UsageError, match=r"expected uint8 of shape \(batch, 3, height, width\)"):
        PLAIN.augment_batch(images(2, channels=1), draws(2))
    with pytest.raises(UsageError, match=r"found numbers of shape \(3, 29\); expected \(2, 29\)"):
        PLAIN.augment_batch(images(2), draws(3))


def test_an_image_can_end_as_one_pixel() -> None:
    settings = ImageInput(1, 1, 3, (0.5,) * 3, (0.2,) * 3, fit="stretch")
    before = images(3, 2, 2)
    for each in (settings, dataclasses.replace(settings, random_resized_crop=True, crop_scale=(1.0, 1.0))):
        answer = each.augment_batch(before, np.full((3, ImageInput.draws), 0.5))
        assert (answer - before.float().mean((2, 3), keepdim=True)).abs().max() <= 0.5


def rectangle(image, color):
    """The rows and columns of the pixels of one color, which must fill a rectangle; None if there are none."""
    inside = (image == color[:, None, None]).all(0)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert inside.sum() == len(rows) * len(columns)
    return len(rows), len(columns)


def test_erasing_sets_one_rectangle_to_the_mean_with_its_probability():
    settings = ImageInput(40, 60, 3, (0.2, 0.4, 0.6), (0.3,) * 3, erase=0.25)
    images = torch.full((4000, 3, 40, 60), 9, dtype=torch.uint8)
    numbers = np.random.default_rng(0).random((4000, settings.draws))
    found = settings.augment_batch(images, numbers).numpy()
    color = np.array([51, 102, 153])
    sides = [one for one in (rectangle(image, color) for image in found) if one]
    assert len(sides) / 4000 == pytest.approx(0.25, abs=0.02)
    areas = np.array([tall * wide / 2400 for tall, wide in sides])
    aspects = np.array([tall / wide for tall, wide in sides])
    assert areas.min() > 0.01
    assert areas.max() < 0.36
    assert np.quantile(areas, 0.5) == pytest.approx(0.16, abs=0.03)  # torchvision's rule favors small ones a little
    assert aspects.min() < 0.5 < 2 < aspects.max() < 4
    assert (found[[place for place, image in enumerate(found) if not rectangle(image, color)]] == 9).all()


def test_erasing_is_a_function_of_the_samples_own_numbers():
    settings = ImageInput(16, 16, 1, (0.5,), (0.3,), erase=0.9)
    images = torch.randint(0, 256, (12, 1, 16, 16), dtype=torch.uint8)
    numbers = np.random.default_rng(0).random((12, settings.draws))
    whole = settings.augment_batch(images, numbers)
    apart = torch.stack([settings.augment(image, row) for image, row in zip(images, numbers, strict=True)])
    assert torch.equal(whole, apart)
    assert not torch.equal(whole, images)
    held = settings.hold(images, 2**20)(np.arange(12), numbers)
    assert torch.equal(held, settings.finish(whole.permute(0, 2, 3, 1).contiguous()))
    assert torch.equal(settings.read_augmented(images[3, 0].numpy(), numbers[3]), whole[3])


def test_a_stronger_randaugment_changes_more():
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    numbers = np.random.default_rng(0).random((40, 40))
    changed = []
    for magnitude in (0, 9, 30):
        settings = ImageInput(16, 16, 3, (0.5,) * 3, (0.3,) * 3, policy="randaugment", policy_magnitude=magnitude)
        changed.append((settings.augment_batch(images, numbers).int() - images.int()).abs().float().mean().item())
    assert changed == sorted(changed)
    assert changed[0] < changed[2] / 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"erase": 1.5}, "erase is 1.5"),
        ({"policy_magnitude": 31}, "at most 30"),
        ({"policy_magnitude": -1}, "0 or more"),
    ],
)
def test_the_strengths_are_checked(changes, words):
    with pytest.raises(UsageError, match=words):
        ImageInput(16, 16, 3, (0.5,) * 3, (0.3,) * 3, **changes)
