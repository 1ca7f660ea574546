import pytest

from plusx.defaults import DataFacts, defaults_for
from plusx.inputs.image import Facts
from plusx.network.architectures import ARCHITECTURES


def facts(height, width, *, channels=3, samples=1000, one_size=True):
    return DataFacts(samples, channels, height, width, one_size=one_size, classes=("a", "b"))


def chosen(*given, model=None, **named):
    return defaults_for(facts(*given, **named), ARCHITECTURES[model] if model else None)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (32, 32), (64, 64), (20, 48)])
def test_small_images_of_one_size_keep_it_and_get_a_small_network(height, width):
    found = chosen(height, width)
    assert (found.input["height"], found.input["width"]) == (height, width)
    assert (found.model, found.recipe) == ("resnet20", "small")
    assert found.input["pad_and_crop"] == max(1, round(min(height, width) / 16))
    assert "random_resized_crop" not in found.input


@pytest.mark.parametrize(("longer", "side"), [(9, 16), (16, 16), (17, 16), (26, 28), (33, 32), (40, 48), (64, 64)])
def test_small_images_of_many_sizes_get_a_round_one(longer, side):
    found = chosen(longer - 1, longer, one_size=False)
    assert (found.input["height"], found.input["width"]) == (side, side)


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(65, 65, 64), (100, 400, 64), (110, 110, 128), (180, 200, 128), (190, 190, 224), (3000, 4000, 224), (70, 10, 64)],
)
def test_photos_are_shrunk_and_hardly_ever_blown_up(height, width, side):
    found = chosen(height, width, one_size=False)
    assert (found.input["height"], found.input["width"]) == (side, side)


def test_photos_get_a_photo_network_and_crops():
    found = chosen(300, 400, one_size=False)
    assert (found.model, found.recipe, found.training) == ("resnet18", "photos", {})
    assert found.input["random_resized_crop"]
    assert found.input["crop_fraction"] == 0.875


def test_a_network_for_small_images_is_not_given_large_ones():
    assert chosen(300, 400, one_size=False, model="resnet20").input["height"] == 64
    assert chosen(300, 400, one_size=False, model="resnet50").input["height"] == 224


def test_gray_images_are_not_mirrored_as_digits_and_letters_are_gray():
    assert chosen(28, 28, channels=1).input["flip"] is False
    assert chosen(32, 32, channels=3).input["flip"] is True


def test_large_sets_get_fewer_epochs_and_small_ones_a_smaller_batch():
    epochs = [chosen(32, 32, samples=count).training["epochs"] for count in (100, 1_000, 5_000, 50_000, 10**7)]
    assert epochs == sorted(epochs, reverse=True)
    assert min(epochs) >= 5
    batches = [chosen(32, 32, samples=count).training["batch_size"] for count in (1, 400, 1_000, 50_000)]
    assert batches == sorted(batches)
    assert batches[0] == 16
    assert batches[-1] == 128


def test_facts_of_images_are_medians_and_the_most_colorful():
    images = [Facts(1, 10, 30, ""), Facts(3, 20, 30, ""), Facts(1, 90, 33, "")]
    found = DataFacts.of(images, ("a", "b"))
    assert (found.samples, found.channels, found.height, found.width, found.one_size) == (3, 3, 20, 30, False)
    assert DataFacts.of(images[:1] * 3, ("a", "b")).one_size


@pytest.mark.parametrize(
    ("channels", "read_as"), [({1}, 1), ({1, 2}, 1), ({1, 3}, 3), ({3}, 3), ({4}, 3), ({3, 4}, 3), ({7}, 7), ({2}, 1)]
)
def test_channels_are_gray_color_or_the_arrays_own(channels, read_as):
    images = [Facts(count, 8, 8, "") for count in channels]
    assert DataFacts.of(images, ("a", "b")).channels == read_as


def test_photos_that_have_the_right_size_already_are_not_cropped_again():
    assert chosen(224, 224, one_size=True).input["crop_fraction"] == 1.0
    assert chosen(224, 224, one_size=False).input["crop_fraction"] == 0.875
    assert chosen(256, 256, one_size=True).input["crop_fraction"] == 0.875
