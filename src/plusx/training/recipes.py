"""The named recipes, each with what was measured of it."""

from collections.abc import Mapping
from typing import Any

from plusx.training.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    # ResNet-20, two cores of an AMD EPYC with AVX512-BF16, bfloat16, torch 2.15.0, seeds 0, 1, 2, mean and range:
    # digits (48 epochs) 99.54 % (99.44 to 99.72) in 13-19 s; CIFAR-10 (10 epochs) 87.64 % (87.47 to 87.86) in
    # 275-416 s; MNIST (10 epochs) 99.65 % (99.63 to 99.67) in 313-333 s. Made by
    # benchmarks/accuracy.py, which keeps every figure.
    "small": Recipe(
        name="small",
        from_data=("epochs", "batch_size", "learning_rate"),
        schedule="one_cycle",
        weight_decay=5e-4,
        task={"label_smoothing": 0.1},
    ),
    # Not measured yet on a data set that others can get; its fields are those of common practice for few photos.
    "photos": Recipe(
        name="photos",
        epochs=60,
        batch_size=32,
        learning_rate=0.05,
        schedule="cosine",
        warmup_epochs=3,
        weight_decay=1e-4,
        average_decay=0.99,
        input={"random_resized_crop": True, "crop_scale": (0.25, 1.0)},
        task={"label_smoothing": 0.1},
    ),
    # Few photos and trained weights: a new head first, then all of it, slowly, the stem slowest. Averaged weights and a
    # smooth schedule make the choice of an epoch, by the few photos that validate, matter little. Measured by
    # benchmarks/finetune.py: ResNet-18 from product-quantized ImageNet weights on 219 photos of ants and bees: 94.77 %
    # of 153 with each of seeds 0, 1, 2, in 45-47 s of training on two cores of an AMD EPYC with AVX512-BF16, bfloat16,
    # torch 2.15.0.
    "finetune": Recipe(
        name="finetune",
        epochs=10,
        batch_size=32,
        learning_rate=0.01,
        schedule="cosine",
        warmup_epochs=1,
        weight_decay=1e-4,
        average_decay=0.97,
        monitor="loss",
        head_epochs=2,
        rate_decay=0.4,
        frozen_norms=True,
        input={"random_resized_crop": True, "crop_scale": (0.5, 1.0), "pad_and_crop": 0},
    ),
    # A first network on MNIST, as tutorials train it: the same rate for all, no augmentation; the rate falls and the
    # best weights are kept by the loss on validation data. Measured by benchmarks/tutorial.py: mnist_resnet, all 60,000
    # images, beside the tutorial's script, which keeps its results.
    "tutorial": Recipe(
        name="tutorial",
        epochs=25,
        batch_size=32,
        optimizer="adam",
        learning_rate=0.001,
        weight_decay=0.0,
        schedule="plateau",
        factor=0.1,
        patience=5,
        minimum_learning_rate=1e-6,
        monitor="loss",
        input={"flip": False, "pad_and_crop": 0, "random_resized_crop": False},
    ),
}


def without_maps(parts: Mapping[str, Mapping[str, Any]], recipe: str) -> dict[str, Mapping[str, Any]]:
    """Return a config's parts without the recipe and without what the recipe of this name set in the others."""
    named = RECIPES.get(recipe, Recipe())
    maps = {"input": named.input, "task": named.task, "architecture": named.architecture}

    def own(part: str, name: str, value: Any) -> bool:  # noqa: ANN401 - any field's value
        set_by_it = maps.get(part, {})
        return name in set_by_it and _plain(set_by_it[name]) == _plain(value)

    return {
        part: {name: value for name, value in fields.items() if not own(part, name, value)}
        for part, fields in parts.items()
        if part != "recipe"
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field's value
    return list(value) if isinstance(value, tuple) else value
