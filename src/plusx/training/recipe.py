"""Recipe: how a network is trained, as plain data.

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
    "lamb": "Adam with a rate for each tensor, for large batches (You et al. 2019, arXiv:1904.00962)",
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
KEPT = {
    "best": "the weights of the epoch that `monitor` finds best on the validation split",
    "last": "the weights of the last epoch",
}
NOT_FINITE = {
    "stop": "training stops with the weights as they were before",
    "skip": "the step's samples are left out and training goes on",
    "rollback": "training goes back to the beginning of the epoch, at half the learning rate",
}
FROZEN = {
    "none": "nothing",
    "stem": "what comes before the first stage",
    "backbone": "all but the head",
}  # and a number: the stem and so many stages
FREEZE_WORDS = f"{', '.join(FROZEN)}, or a number of stages (they and the stem)"

CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "monitor": MONITORS,
    "keep": KEPT,
    "not_finite": NOT_FINITE,
}
NOT_NEGATIVE = (
    "weight_decay", "warmup_epochs", "head_epochs", "patience", "gradient_clip", "early_stopping", "lookahead_steps",
    "mixup", "cutmix", "exact_statistics", "steps", "warmup_rate", "warmup_blocks",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        name: The recipe's name.
        epochs: Passes over the training split.
        steps: The most optimizer steps: training ends with them, even within an epoch, or with the epochs, whichever
            comes first; 0 sets no such end.
        batch_size: Samples a step.
        optimizer: "sgd", "adam", "adamw" or "lamb".
        learning_rate: The highest learning rate of the schedule.
        momentum: SGD's momentum; the first beta of Adam.
        nesterov: Nesterov's form of SGD's momentum.
        weight_decay: L2 penalty's factor (decoupled with adamw).
        decay_norm_and_bias: Whether norms' weights and all biases decay too, as in He et al. 2015.
        schedule: "constant", "cosine", "step", "one_cycle" or "plateau".
        warmup_epochs: Epochs, or a part of one, over which the learning rate rises linearly to its highest; never
            more than half of all epochs.
        warmup_rate: The learning rate of the warm-up, if it is to be constant and not to rise.
        warmup_blocks: The fewest residual blocks with which a network gets the warm-up, unless it is asked for by hand.
        milestones: Shares of the training (0 to 1) at which "step" multiplies the learning rate.
        factor: What "step" and "plateau" multiply the learning rate by.
        patience: Epochs without a better validation score that "plateau" bears; it acts after one more.
        minimum_learning_rate: The lowest learning rate.
        gradient_clip: The largest norm of all gradients together; 0 clips nothing.
        early_stopping: Epochs without a better validation score after which training ends; 0 never.
        average_decay: Decay a step of the averaged weights (EMA) that are then scored and saved; 0 averages nothing.
        lookahead_steps: Steps after which the weights go back a part of the way to where they were that many steps ago
            (Zhang et al. 2019, arXiv:1907.08610); 0 never.
        lookahead_share: The part of the way that is kept (alpha there).
        lookahead_grows: Whether all of it is kept at first, and ever less, down to that share at the end, as the cube
            of what is done of the training (Jordan 2024, arXiv:2404.00498, section 3.4).
        bias_rate: The norms' biases have this many times the learning rate, and as much less weight decay (Jordan 2024,
            arXiv:2404.00498, section 3.4).
        mixup: Alpha of the beta distribution by which two images and their targets are blended (Zhang et al. 2017,
            arXiv:1710.09412); 0 blends none.
        cutmix: Alpha of the one by which a part of an image comes from another (Yun et al. 2019, arXiv:1905.04899); 0
            is off. With both, each step takes one of them, by chance.
        repeats: How often a sample comes in an epoch, each time augmented anew; the epoch has as many samples as ever,
            so it has fewer different ones (Berman et al. 2019, arXiv:1902.05509).
        first_size: Side of the training images at first, as a part of the side that is scored; it grows in steps
            (progressive resizing). 1 is off.
        last_size: Their side in the end, likewise: networks do well on images a little larger than those that they
            were trained on (Touvron et al. 2019, arXiv:1906.06423).
        growing: Share of the epochs after which they have it.
        exact_statistics: Batches of training images over which the batch norms' statistics are averaged anew before the
            network is scored, as He et al. 2015 did once after training; 0 keeps the running ones. Where the last
            weights are kept it is done for them alone.
        keep: Which weights are scored on the test split and kept: "best" or "last".
        not_finite: What happens when the loss or a gradient is not a finite number: "stop", "skip" or "rollback".
        monitor: The validation score by which the best checkpoint is chosen, and which "plateau" and early stopping
            follow: "accuracy" or "loss".
        head_epochs: Epochs, or a part of one, at first, in which the head is trained alone, at a constant rate; never
            more than half of all epochs. The schedule is that of the epochs that follow.
        rate_decay: The learning rate of the last stage is this part of the head's, and so on from stage to stage
            towards the image, the stem last (Howard and Ruder 2018, arXiv:1801.06146, section 3.2).
        frozen_norms: Whether batch norms keep the running statistics that the weights came with, and normalize by them
            in training too; their weights and biases are trained.
        frozen_scales: Whether what norms multiply each channel by stays as it is, and only what they add is trained
            (Jordan 2024, arXiv:2404.00498, section 3): weight decay would make it smaller.
        freeze: What stays as it is for the whole run: "none", "stem", a number (the stem and so many stages, "2"), or
            "backbone".
        from_data: Fields for which the data's own defaults (defaults.py) stand, rather than the values here.
        model: The network that the recipe is made for, where none is named; the data decide if empty.
        input: Changes to the input: augmentation, sizes.
        task: Changes to the task: label smoothing.
        architecture: Changes to the architecture: shortcut, zero_init_residual.
    """

    name: str = "custom"
    epochs: int = 10
    steps: int = 0
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay_norm_and_bias: bool = False
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    warmup_rate: float = 0.0
    warmup_blocks: int = 0
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    patience: int = 5
    minimum_learning_rate: float = 0.0
    gradient_clip: float = 0.0
    early_stopping: int = 0
    average_decay: float = 0.0
    lookahead_steps: int = 0
    lookahead_share: float = 0.5
    lookahead_grows: bool = False
    bias_rate: float = 1.0
    mixup: float = 0.0
    cutmix: float = 0.0
    repeats: int = 1
    first_size: float = 1.0
    last_size: float = 1.0
    growing: float = 0.5
    exact_statistics: int = 0
    keep: str = "best"
    not_finite: str = "stop"
    monitor: str = "accuracy"
    head_epochs: float = 0.0
    rate_decay: float = 1.0
    frozen_norms: bool = False
    frozen_scales: bool = False
    freeze: str = "none"
    from_data: tuple[str, ...] = ()
    model: str = ""
    input: Mapping[str, Any] = field(default_factory=dict[str, Any])
    task: Mapping[str, Any] = field(default_factory=dict[str, Any])
    architecture: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        """Check every number; raises UsageError with what was found and what was expected."""
        for name, words in CHOICES.items():
            look_up(name, getattr(self, name), words)
        for name in ("epochs", "repeats"):
            _expect(name, getattr(self, name), getattr(self, name) >= 1, "a whole number of at least 1")
        _expect(
            "batch_size", self.batch_size, self.batch_size >= 2, "at least 2: batch normalization cannot learn from one"
        )
        for name in ("learning_rate", "bias_rate"):
            _expect(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        for name in NOT_NEGATIVE:
            _expect(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("momentum", "average_decay"):
            _expect(name, getattr(self, name), 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name in ("rate_decay", "first_size", "last_size", "growing", "lookahead_share"):
            _expect(name, getattr(self, name), 0 < getattr(self, name) <= 1, "above 0 and at most 1")
        _expect("factor", self.factor, 0 < self.factor < 1, "above 0 and below 1")
        named = self.freeze in FROZEN or (self.freeze.isdecimal() and int(self.freeze) > 0)
        _expect("freeze", repr(self.freeze), named, f"{FREEZE_WORDS} from 1 on")
        in_order = list(self.milestones) == sorted(self.milestones) and all(0 < share < 1 for share in self.milestones)
        _expect("milestones", list(self.milestones), in_order, "shares of the training between 0 and 1, rising")
        smaller = self.first_size <= self.last_size or self.first_size == 1
        _expect("first_size", self.first_size, smaller, f"at most last_size {self.last_size:g}, or 1 for no growing")
        lowest_is_low = 0 <= self.minimum_learning_rate <= self.learning_rate
        _expect("minimum_learning_rate", self.minimum_learning_rate, lowest_is_low, "between 0 and learning_rate")


def all_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """Return how many optimizer steps a training has."""
    whole = recipe.epochs * steps_per_epoch
    return min(whole, recipe.steps) if recipe.steps else whole


def _expect(name: str, found: object, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"{name} is {found}, but must be {expected}")
