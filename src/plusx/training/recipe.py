"""Recipe: how a network is trained, as plain data, and the named recipes.

A recipe says what the optimization does; its three maps `input`, `task` and `architecture` say what it wants changed
there. Whatever a recipe does not say is chosen from the data (defaults.py) and whatever the user says is changed, field
by field, and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plusx.errors import UsageError, look_up

OPTIMIZERS = {
    "sgd": "stochastic gradient descent with momentum",
    "adam": "Adam (Kingma and Ba 2014, arXiv:1412.6980)",
    "adamw": "Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv:1711.05101)",
}
SCHEDULES = {
    "constant": "the learning rate stays as it is",
    "cosine": "half a cosine from the learning rate to the minimum (Loshchilov and Hutter 2016, arXiv:1608.03983)",
    "step": "times `factor` at each milestone (He et al. 2015, arXiv:1512.03385, section 4.2)",
    "one_cycle": "up from 1/25 over the warm-up, then down to the minimum (Smith and Topin 2017, arXiv:1708.07120)",
    "plateau": "times `factor` when the validation score has not improved for more than `patience` epochs",
}
MONITORS = {
    "accuracy": "the share of right answers, then the loss between two that are equal",
    "loss": "the mean cross-entropy, then the accuracy between two that are equal",
}
FROZEN = {
    "none": "nothing",
    "stem": "what comes before the first stage",
    "backbone": "all but the head",
}  # and a number: the stem and so many stages
FREEZE_WORDS = f"{', '.join(FROZEN)}, or a number of stages (they and the stem)"


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        name: The recipe's name.
        epochs: Passes over the training split.
        batch_size: Samples a step.
        optimizer: "sgd", "adam" or "adamw".
        learning_rate: The highest learning rate of the schedule.
        momentum: SGD's momentum; the first beta of Adam.
        nesterov: Nesterov's form of SGD's momentum.
        weight_decay: L2 penalty's factor (decoupled with adamw).
        decay_norm_and_bias: Whether norms' weights and all biases decay too, as in He et al. 2015.
        schedule: "constant", "cosine", "step", "one_cycle" or "plateau".
        warmup_epochs: Epochs, or a part of one, over which the learning rate rises linearly to its highest; never
            more than half of all epochs.
        milestones: Shares of the training (0 to 1) at which "step" multiplies the learning rate.
        factor: What "step" and "plateau" multiply the learning rate by.
        patience: Epochs without a better validation score that "plateau" bears; it acts after one more.
        minimum_learning_rate: The lowest learning rate.
        gradient_clip: The largest norm of all gradients together; 0 clips nothing.
        early_stopping: Epochs without a better validation score after which training ends; 0 never.
        average_decay: Decay a step of the averaged weights (EMA) that are then scored and saved; 0 averages nothing.
        monitor: The validation score by which the best checkpoint is chosen, and which "plateau" and early stopping
            follow: "accuracy" or "loss".
        head_epochs: Epochs, or a part of one, at first, in which the head is trained alone, at a constant rate; never
            more than half of all epochs. The schedule is that of the epochs that follow.
        rate_decay: The learning rate of the last stage is this part of the head's, and so on from stage to stage
            towards the image, the stem last (Howard and Ruder 2018, arXiv:1801.06146, section 3.2).
        frozen_norms: Whether batch norms keep the running statistics that the weights came with, and normalize by them
            in training too; their weights and biases are trained.
        freeze: What stays as it is for the whole run: "none", "stem", a number (the stem and so many stages, "2"), or
            "backbone".
        from_data: Fields for which the data's own defaults (defaults.py) stand, rather than the values here.
        input: Changes to the input: augmentation, sizes.
        task: Changes to the task: label smoothing.
        architecture: Changes to the architecture: shortcut, zero_init_residual.
    """

    name: str = "custom"
    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay_norm_and_bias: bool = False
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    patience: int = 5
    minimum_learning_rate: float = 0.0
    gradient_clip: float = 0.0
    early_stopping: int = 0
    average_decay: float = 0.0
    monitor: str = "accuracy"
    head_epochs: float = 0.0
    rate_decay: float = 1.0
    frozen_norms: bool = False
    freeze: str = "none"
    from_data: tuple[str, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict[str, Any])
    task: Mapping[str, Any] = field(default_factory=dict[str, Any])
    architecture: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        """Check every number; raises UsageError with what was found and what was expected."""
        look_up("optimizer", self.optimizer, OPTIMIZERS)
        look_up("schedule", self.schedule, SCHEDULES)
        look_up("monitor", self.monitor, MONITORS)
        _expect("epochs", self.epochs, self.epochs >= 1, "a whole number of at least 1")
        _expect(
            "batch_size", self.batch_size, self.batch_size >= 2, "at least 2: batch normalization cannot learn from one"
        )
        _expect("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        for name in ("weight_decay", "warmup_epochs", "head_epochs", "patience", "gradient_clip", "early_stopping"):
            _expect(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("momentum", "average_decay"):
            _expect(name, getattr(self, name), 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        _expect("factor", self.factor, 0 < self.factor < 1, "above 0 and below 1")
        _expect("rate_decay", self.rate_decay, 0 < self.rate_decay <= 1, "above 0 and at most 1")
        named = self.freeze in FROZEN or (self.freeze.isdecimal() and int(self.freeze) > 0)
        _expect("freeze", repr(self.freeze), named, f"{FREEZE_WORDS} from 1 on")
        in_order = list(self.milestones) == sorted(self.milestones) and all(0 < share < 1 for share in self.milestones)
        _expect("milestones", list(self.milestones), in_order, "shares of the training between 0 and 1, rising")
        lowest_is_low = 0 <= self.minimum_learning_rate <= self.learning_rate
        _expect("minimum_learning_rate", self.minimum_learning_rate, lowest_is_low, "between 0 and learning_rate")


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


def _expect(name: str, found: object, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"{name} is {found}, but must be {expected}")


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
