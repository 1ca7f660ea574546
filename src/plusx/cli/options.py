"""The options of `plusx train`, group by group, each with its help; a value that is not given is None.

They are written by hand, because the dataclasses whose fields they change (plusx.plan.PARTS) load torch, and help must
not. A test holds the names and types of the two against one another.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from plusx.training.recipe import FREEZE_WORDS, KEPT, NOT_FINITE, OPTIMIZERS, SCHEDULES
from plusx.training.recipes import RECIPES

if TYPE_CHECKING:
    from cyclopts import Token

DATA = "from the data"
RECIPE = "from the recipe"


def option(text: str, default: str = "", **settings: Any) -> Parameter:  # noqa: ANN401 - cyclopts' own settings
    """Describe an option.

    Args:
        text: Its help.
        default: What stands where it is not given, in words.
        settings: Whatever else cyclopts is to know.
    """
    return Parameter(help=text, show_default=(lambda _: default) if default else False, **settings)


def switch(text: str) -> Parameter:
    """Describe an option that is either there or not."""
    return option(text, negative=())


def numbers(text: str, default: str = "") -> Parameter:
    """Describe an option that takes several numbers with commas between them."""
    return option(text, default, negative=(), n_tokens=1, converter=split_numbers)


def split_numbers(_: object, tokens: "tuple[Token, ...]") -> tuple[float, ...]:
    """Read "0.5,0.75" as numbers."""
    return tuple(float(part) for token in tokens for part in token.value.split(","))


def group(title: str, rank: int, text: str = "") -> Parameter:
    """Put a dataclass's fields among a command's own options, under a title and a sentence."""
    return Parameter(name="*", group=Group(title, help=text, sort_key=rank))


def listed(names: Iterable[str]) -> str:
    """Write names as one text."""
    return ", ".join(names)


@dataclass(frozen=True)
class DataOptions:
    """Where the data come from and how they are split."""

    data_root: Annotated[
        str | None, option("Folder in which named data sets are looked for first.", "$PLUSX_DATA, the cache")
    ] = None
    download: Annotated[bool | None, option("Whether a named data set that is nowhere may be downloaded.", "no")] = None
    validation: Annotated[
        float | None,
        option("Share that validates, where the source has none; 0: none, and the last weights stay.", "0.1"),
    ] = None
    test: Annotated[float | None, option("Share of the samples held out for the final score, likewise.", "0.2")] = None
    strict: Annotated[
        bool | None, option("Whether a file that cannot be read stops the run, rather than being set aside.", "no")
    ] = None
    image_size: Annotated[int | None, option("Height and width of the images that the network sees.", DATA)] = None
    height: Annotated[int | None, option("Height alone, in pixels.", DATA)] = None
    width: Annotated[int | None, option("Width alone, in pixels.", DATA)] = None
    channels: Annotated[int | None, option("1 gray, 3 color.", DATA)] = None
    mean: Annotated[
        tuple[float, ...] | None, numbers("Mean of the pixels in 0..1, one number a channel: 0.5,0.5,0.5.", DATA)
    ] = None
    deviation: Annotated[tuple[float, ...] | None, numbers("Their standard deviation, likewise.", DATA)] = None
    fit: Annotated[
        str | None, option("How an image is brought to size: crop (shorter side, then the center) or stretch.", "crop")
    ] = None
    crop_fraction: Annotated[
        float | None, option("What the central crop keeps of the shorter side: 0.875 is 224 of 256.", DATA)
    ] = None
    interpolation: Annotated[
        str | None,
        option("The filter that resizes, always antialiased: bilinear or bicubic.", "the weights' or bilinear"),
    ] = None
    rounded: Annotated[
        bool | None,
        option("Whether resized pixels become whole levels, as Pillow has them.", "no; as the weights had it"),
    ] = None
    max_pixels: Annotated[int | None, option("Files that claim more pixels are not decoded.", "100,000,000")] = None
    views: Annotated[
        str | None,
        option(
            "Answers are averaged over: one view, flip (also mirrored, if trained so), shift (also shifted).", RECIPE
        ),
    ] = None


@dataclass(frozen=True)
class ModelOptions:
    """The network."""

    model: Annotated[
        str | None, option("Its name: resnet20, resnet50, wrn28-10, densenet121 ...; plusx show lists all.", DATA)
    ] = None
    weights: Annotated[
        str | None, option("Trained weights to start from: a file, a run, or a published name; see plusx weights.")
    ] = None
    teacher: Annotated[str | None, option("A checkpoint or a run whose answers this network is taught.")] = None
    shortcut: Annotated[
        str | None,
        option("A (zero_pad), B (projection), C (projection_always), D (pooled), none: He et al. 2015 and 2018."),
    ] = None
    zero_init_residual: Annotated[bool | None, option("Whether each block starts as the identity.")] = None
    norm: Annotated[
        str | None, option("batch, none, fixup or skipinit: the last two train deep networks without any norm.")
    ] = None
    dropout: Annotated[float | None, option("Share of elements set to zero within a block; 0 is off.")] = None
    stochastic_depth: Annotated[
        float | None, option("Probability of the last block being left out, less for those before it; 0 is off.")
    ] = None


@dataclass(frozen=True)
class RecipeOptions:
    """The optimization; each changes that one field of the recipe and no other."""

    recipe: Annotated[str | None, option(f"Its name: {listed(RECIPES)}.", "from the data; finetune with weights")] = (
        None
    )
    seed: Annotated[int | None, option("Seed of splits, weights, order and augmentation.", "0")] = None
    epochs: Annotated[int | None, option("Passes over the training split.")] = None
    steps: Annotated[int | None, option("The most optimizer steps, if they end before the epochs do; 0 for none.")] = (
        None
    )
    batch_size: Annotated[int | None, option("Samples a step.")] = None
    optimizer: Annotated[str | None, option(f"{listed(OPTIMIZERS)}.")] = None
    learning_rate: Annotated[float | None, option("The highest learning rate of the schedule.")] = None
    momentum: Annotated[float | None, option("SGD's momentum; the first beta of Adam.")] = None
    nesterov: Annotated[bool | None, option("Nesterov's form of SGD's momentum.")] = None
    weight_decay: Annotated[float | None, option("Factor of the L2 penalty; decoupled with adamw and lamb.")] = None
    decay_norm_and_bias: Annotated[bool | None, option("Whether norms and biases decay too.")] = None
    schedule: Annotated[str | None, option(f"{listed(SCHEDULES)}.")] = None
    warmup_epochs: Annotated[float | None, option("Epochs, or a part of one, in which the learning rate rises.")] = None
    warmup_rate: Annotated[
        float | None, option("The learning rate of a warm-up that does not rise; 0 lets it rise.")
    ] = None
    warmup_blocks: Annotated[int | None, option("The fewest blocks with which a network gets the warm-up.")] = None
    milestones: Annotated[
        tuple[float, ...] | None, numbers("Shares of the training after which step lowers the rate: 0.5,0.75.")
    ] = None
    factor: Annotated[float | None, option("What step and plateau multiply the learning rate by.")] = None
    patience: Annotated[int | None, option("Epochs without a better validation score that plateau bears.")] = None
    minimum_learning_rate: Annotated[float | None, option("The lowest learning rate.")] = None
    gradient_clip: Annotated[float | None, option("Largest norm of all gradients together; 0 clips nothing.")] = None
    early_stopping: Annotated[
        int | None, option("Epochs without a better validation score after which training ends; 0 never.")
    ] = None
    average_decay: Annotated[float | None, option("Decay a step of averaged weights (EMA); 0 averages nothing.")] = None
    lookahead_steps: Annotated[
        int | None, option("Steps after which the weights go back a part of the way; 0 never.")
    ] = None
    lookahead_share: Annotated[float | None, option("The part of the way that lookahead keeps.")] = None
    lookahead_grows: Annotated[
        bool | None, option("Keep the whole way at first, and ever less, down to that part.")
    ] = None
    bias_rate: Annotated[float | None, option("The norms' biases have this many times the learning rate.")] = None
    mixup: Annotated[float | None, option("Alpha with which pairs of images are blended; 0 is off.")] = None
    cutmix: Annotated[float | None, option("Alpha with which pairs of images swap a part; 0 is off.")] = None
    repeats: Annotated[int | None, option("How often a sample comes in an epoch that is no longer for it.")] = None
    first_size: Annotated[
        float | None, option("Side of the training images at first, as a part of the one that is scored; 1 is off.")
    ] = None
    last_size: Annotated[float | None, option("Side of the training images in the end, likewise.")] = None
    growing: Annotated[
        float | None, option("Share of the epochs after which training images have their last size.")
    ] = None
    exact_statistics: Annotated[
        int | None, option("Batches over which norms' statistics are averaged anew before each score; 0 is off.")
    ] = None
    keep: Annotated[str | None, option(f"The weights that are kept and scored: {listed(KEPT)}.")] = None
    not_finite: Annotated[str | None, option(f"When loss or gradients are not finite: {listed(NOT_FINITE)}.")] = None
    monitor: Annotated[str | None, option("What is best on the validation split: accuracy or loss.")] = None
    freeze: Annotated[str | None, option(f"What is not trained: {FREEZE_WORDS}.")] = None
    head_epochs: Annotated[float | None, option("First epochs that train the head alone; never more than half.")] = None
    rate_decay: Annotated[
        float | None,
        option("Each part's share of the learning rate of the part behind it, from the head to the image."),
    ] = None
    frozen_norms: Annotated[
        bool | None, option("Whether batch norms keep the statistics that the weights came with.")
    ] = None
    frozen_scales: Annotated[bool | None, option("Whether what norms multiply channels by stays as it is.")] = None
    label_smoothing: Annotated[float | None, option("Share of the target spread over all classes: 0 to below 1.")] = (
        None
    )
    loss: Annotated[str | None, option("cross_entropy, or binary_cross_entropy: each class by itself.")] = None
    binary_threshold: Annotated[
        float | None, option("Share of a target above which binary_cross_entropy counts its class as there; 0 is off.")
    ] = None
    teacher_share: Annotated[float | None, option("The part of the loss that is the distance to --teacher.")] = None
    teacher_temperature: Annotated[float | None, option("What both logits are divided by for that.")] = None


@dataclass(frozen=True)
class AugmentationOptions:
    """What is done to training images only."""

    flip: Annotated[bool | None, option("Mirror half of them left to right.", DATA)] = None
    alternating_flip: Annotated[
        bool | None, option("With --flip: mirror each image in every other epoch, not by chance.", RECIPE)
    ] = None
    pad_and_crop: Annotated[int | None, option("Pixels of padding before a random crop; 0 is off.", DATA)] = None
    padding_mode: Annotated[
        str | None, option("What the padding shows: zeros, or the image reflected: reflect.", RECIPE)
    ] = None
    random_resized_crop: Annotated[bool | None, option("Cut a random part and resize it.", DATA)] = None
    crop_scale: Annotated[
        tuple[float, float] | None,
        option("Least and largest share of the area in such a part: 0.25 1.", RECIPE, negative=()),
    ] = None
    cutout: Annotated[int | None, option("Side in pixels of a square set to the mean; 0 is off.", RECIPE)] = None
    policy: Annotated[str | None, option("none, randaugment, trivialaugment.", RECIPE)] = None
    policy_magnitude: Annotated[
        int | None, option("How strong randaugment is: 0 to 30.", "9; as the recipe has it")
    ] = None
    erase: Annotated[float | None, option("Probability of setting a random rectangle to the mean.", RECIPE)] = None


@dataclass(frozen=True)
class DeviceOptions:
    """Where and how it is computed."""

    device: Annotated[str | None, option("auto, cpu, cuda, cuda:N.", "auto")] = None
    precision: Annotated[str | None, option("auto (bfloat16 where the hardware gains), float32, bfloat16.", "auto")] = (
        None
    )
    compile: Annotated[str | None, option("on, off, or auto: where it is measured to pay.", "auto")] = None
    threads: Annotated[int | None, option("CPU threads; 0 takes all cores.", "0")] = None
    workers: Annotated[
        int | None, option("Processes that read images too many for memory; -1 is one a core, at most 8.", "-1")
    ] = None
    cache: Annotated[
        str | None, option("Keep decoded training images, no larger than training needs, in this folder.", "off")
    ] = None
    sync_batch_norm: Annotated[
        bool | None, option("Whether norms of several processes take statistics from all parts of a step.", "no")
    ] = None


@dataclass(frozen=True)
class TrialOptions:
    """For a first look."""

    dry_run: Annotated[bool, switch("Decide and show everything, train nothing, write nothing.")] = False
    limit_samples: Annotated[int | None, option("At most so many samples of each split.", "all")] = None
    overfit_batches: Annotated[
        int | None, option("Train and score on this many fixed batches, without augmentation.", "off")
    ] = None


@dataclass(frozen=True)
class OutputOptions:
    """What is shown, by every command."""

    json: Annotated[bool, switch("Print the result as one JSON value; all else goes to standard error.")] = False
    quiet: Annotated[bool, switch("Show the result, warnings and errors only.")] = False
    debug: Annotated[bool, switch("Show the traceback of an unexpected error; so does PLUSX_DEBUG=1.")] = False


@dataclass(frozen=True)
class RunOptions:
    """What a run writes."""

    out: Annotated[str, option("Folder in which the run's own folder is made.", "runs")] = "runs"
    name: Annotated[str, option("Name of the run.", "the data's name and a number")] = ""
    save_minutes: Annotated[float | None, option("Minutes between two saves of the state within an epoch.", "10")] = (
        None
    )


NOT_OF_THE_PLAN = {"dry_run", "out", "name"}


def given(*options: object) -> dict[str, Any]:
    """Gather the options that were given by hand, and no others."""
    chosen: dict[str, Any] = {}
    for each in options:
        chosen |= {f.name: getattr(each, f.name) for f in dataclasses.fields(each)}  # type: ignore[arg-type]
    return {name: value for name, value in chosen.items() if value is not None and name not in NOT_OF_THE_PLAN}
