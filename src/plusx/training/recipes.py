"""The named recipes, each with what was measured of it."""

import math
from collections.abc import Mapping
from typing import Any

from plusx.training.recipe import Recipe

CIFAR_PAPERS: dict[str, Any] = {
    "batch_size": 128, "learning_rate": 0.1, "momentum": 0.9, "decay_norm_and_bias": True, "schedule": "step",
    "keep": "last",
}  # fmt: skip
"""What the papers have in common that train on CIFAR-10."""
CIFAR_INPUT = {"flip": True, "pad_and_crop": 4, "random_resized_crop": False}
HE: dict[str, Any] = {
    "epochs": 182, "steps": 64_000, "nesterov": False, "weight_decay": 1e-4, "milestones": (0.5, 0.75), "factor": 0.1,
    "warmup_epochs": 1.136, "warmup_rate": 0.01,
}  # fmt: skip
"""He et al. 2015 and 2016; the warm-up is 400 steps of 352 an epoch: 1.136 epochs of any data."""
RSB: dict[str, Any] = {
    "batch_size": 2048, "optimizer": "lamb", "schedule": "cosine", "warmup_epochs": 5, "minimum_learning_rate": 1e-6,
    "cutmix": 1.0,
}  # fmt: skip
RSB_INPUT = {
    "flip": True, "random_resized_crop": True, "pad_and_crop": 0, "policy": "randaugment", "crop_fraction": 0.95,
    "interpolation": "bicubic",
}  # fmt: skip
RSB_TASK = {"loss": "binary_cross_entropy", "binary_threshold": 0.2}

RECIPES: dict[str, Recipe] = {
    # ResNet-20, two cores of an AMD EPYC with AVX512-BF16, bfloat16, torch 2.15.0, mean and range: digits (48 epochs),
    # seeds 0 to 11, 99.03 % (98.06 to 99.72) in 9-10 s; seeds 0, 1, 2: CIFAR-10 (10 epochs) 87.69 % (87.16 to 87.99)
    # in 176-181 s, MNIST (10 epochs) 99.68 % (99.66 to 99.69) in 171-179 s. Made by benchmarks/accuracy.py, which
    # keeps every figure.
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
    # of 153 with each of seeds 0, 1, 2, in 44-45 s of training on two cores of an AMD EPYC with AVX512-BF16, bfloat16,
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
    # He et al. 2015, arXiv:1512.03385, section 4.2, to the letter but for two things: images have the mean and the
    # deviation of each channel taken off, not the mean of each pixel, and 45,000 training images make 352 steps an
    # epoch, the last of which is smaller. Shortcuts, initial weights (arXiv:1502.01852) and the split of 45,000 and
    # 5,000 are those of the networks and of the option `validation`. Measured by benchmarks/paper.py: ResNet-20, one
    # run of seed 0: error 8.64 % after 64,000 steps (95 % interval of 10,000 images 8.11 to 9.21; published 8.75 %), 55
    # minutes of training on two cores of an AMD EPYC with AVX512-BF16, bfloat16, torch 2.15.0; two whole runs, on two
    # days and machines, gave the same curve digit for digit.
    "paper": Recipe(
        name="paper",
        **CIFAR_PAPERS,
        **HE,
        warmup_blocks=54,  # ResNet-110's; ResNet-56 has 27
        input=CIFAR_INPUT,
    ),
    # He et al. 2016, arXiv:1603.05027, appendix: as above, with 400 steps at the lower rate for every network. Not
    # measured: 64,000 steps of 110 layers are too long for two cores.
    "preact": Recipe(name="preact", model="preresnet110", **CIFAR_PAPERS, **HE, input=CIFAR_INPUT),
    # Zagoruyko and Komodakis 2016, arXiv:1605.07146, section 3. Not measured: 200 epochs of a network 130
    # times as costly as ResNet-20 are too long for two cores.
    "wide": Recipe(
        name="wide",
        model="wrn28-10",
        **CIFAR_PAPERS,
        epochs=200,
        nesterov=True,
        weight_decay=5e-4,
        milestones=(0.3, 0.6, 0.8),
        factor=0.2,
        input={**CIFAR_INPUT, "padding_mode": "reflect"},
    ),
    # The recipe of torchvision's second ImageNet weights (V. Vryniotis 2021, "How to train state-of-the-art models
    # using TorchVision's latest primitives": ResNet-50 80.86 %). Theirs averages weights every 32 steps: the decay is
    # that of the same length a step. Not measured: it is for ImageNet.
    "torchvision-v2": Recipe(
        name="torchvision-v2",
        epochs=600,
        batch_size=1024,
        learning_rate=0.5,
        momentum=0.9,
        nesterov=False,
        weight_decay=2e-5,
        schedule="cosine",
        warmup_epochs=5,
        average_decay=0.999966,
        mixup=0.2,
        cutmix=1.0,
        repeats=4,
        last_size=176 / 224,
        input={
            "flip": True,
            "random_resized_crop": True,
            "pad_and_crop": 0,
            "policy": "trivialaugment",
            "erase": 0.1,
            "crop_fraction": 224 / 232,
        },
        task={"label_smoothing": 0.1},
    ),
    # Wightman, Touvron and Jegou 2021, "ResNet strikes back", arXiv:2110.00476, table 2 (ResNet-50: 80.4, 79.8 and
    # 78.1 %). timm's RandAugment of magnitude 7 of 10, which varies from image to image, is here torchvision's of 21 of
    # 30. Not measured: they are for ImageNet.
    "rsb-a1": Recipe(
        name="rsb-a1",
        **RSB,
        epochs=600,
        learning_rate=5e-3,
        weight_decay=0.01,
        mixup=0.2,
        repeats=3,
        input={**RSB_INPUT, "policy_magnitude": 21},
        task={**RSB_TASK, "label_smoothing": 0.1},
        architecture={"stochastic_depth": 0.05},
    ),
    "rsb-a2": Recipe(
        name="rsb-a2",
        **RSB,
        epochs=300,
        learning_rate=5e-3,
        weight_decay=0.02,
        mixup=0.1,
        repeats=3,
        input={**RSB_INPUT, "policy_magnitude": 21},
        task=RSB_TASK,
        architecture={"stochastic_depth": 0.05},
    ),
    "rsb-a3": Recipe(
        name="rsb-a3",
        **RSB,
        epochs=100,
        learning_rate=8e-3,
        weight_decay=0.02,
        mixup=0.1,
        last_size=160 / 224,
        input={**RSB_INPUT, "policy_magnitude": 18},
        task=RSB_TASK,
    ),
    # The shortest time to accuracy on small images: Jordan 2024, arXiv:2404.00498, on a residual network. Two cores of
    # an AMD EPYC with AVX512-BF16, bfloat16, torch 2.15.0, seeds 0, 1, 2, mean and range; all training images, the last
    # weights; seconds from the command to the last weights, kernels compiled anew: CIFAR-10, 6 epochs 92.52 % (92.32 to
    # 92.74) in 238-249 s, 16 epochs 94.17 % (94.05 to 94.34) in 583-627 s; MNIST with resnet8-half, 4 epochs 99.68 %
    # (99.65 to 99.71) in 63-69 s. Made by benchmarks/time_to_accuracy.py, which keeps every figure.
    "fast": Recipe(
        name="fast",
        model="resnet8",
        epochs=10,
        batch_size=256,
        learning_rate=0.375,
        momentum=0.85,
        nesterov=True,
        weight_decay=1.3e-3,
        decay_norm_and_bias=True,
        schedule="one_cycle",
        bias_rate=64.0,
        frozen_scales=True,
        lookahead_steps=20,
        lookahead_share=0.25,
        lookahead_grows=True,
        first_size=0.75,
        growing=0.5,
        exact_statistics=20,
        keep="last",
        input={"pad_and_crop": 2, "padding_mode": "reflect", "alternating_flip": True, "views": "shift"},
        task={"label_smoothing": 0.2},
        architecture={"initial_weights": "dirac", "output_scale": 1 / 9},
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


def rate_for(recipe: Recipe, batch_size: int) -> float:
    """Return the learning rate that does with batches of this size what the recipe's does with its own.

    Proportional to the batch for SGD (Goyal et al. 2017, arXiv:1706.02677, section 2.1), to its square root for the
    others (Malladi et al. 2022, arXiv:2205.10287; You et al. 2019, arXiv:1904.00962, section 4).
    """
    times = batch_size / recipe.batch_size
    return recipe.learning_rate * (times if recipe.optimizer == "sgd" else math.sqrt(times))


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
