"""What Python programs and notebooks call: train, resume, evaluate, load, model; `plusx` offers them all."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

import torch

from plusx import assessment, experiment
from plusx.assessment import Assessment
from plusx.device import choose_device
from plusx.errors import look_up
from plusx.events import result_of
from plusx.network.architecture import Architecture
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.plan import coerced
from plusx.predict import Predictor
from plusx.request import request
from plusx.result import Result
from plusx.tasks.classification import Classification
from plusx.weights.choose import choose


class TrainOptions(TypedDict, total=False):
    """What can be said by hand; whatever is not said comes from the recipe or from the data.

    The meaning of each stands where it is used: plan.Run, training.recipe.Recipe, inputs.image.ImageInput,
    tasks.classification.Classification and network.architectures.Architecture.
    """

    model: str
    recipe: str
    weights: str
    seed: int
    data_root: str
    download: bool
    validation: float
    test: float
    strict: bool
    limit_samples: int
    overfit_batches: int
    device: str
    precision: str
    threads: int
    workers: int
    cache: str
    sync_batch_norm: bool
    save_minutes: float
    teacher: str
    compile: str
    epochs: int
    steps: int
    batch_size: int
    optimizer: str
    learning_rate: float
    momentum: float
    nesterov: bool
    weight_decay: float
    decay_norm_and_bias: bool
    schedule: str
    warmup_epochs: float
    warmup_rate: float
    warmup_blocks: int
    milestones: tuple[float, ...]
    factor: float
    patience: int
    minimum_learning_rate: float
    gradient_clip: float
    early_stopping: int
    average_decay: float
    lookahead_steps: int
    lookahead_share: float
    lookahead_grows: bool
    bias_rate: float
    mixup: float
    cutmix: float
    repeats: int
    first_size: float
    last_size: float
    growing: float
    exact_statistics: int
    keep: str
    not_finite: str
    monitor: str
    freeze: str
    head_epochs: float
    rate_decay: float
    frozen_norms: bool
    frozen_scales: bool
    image_size: int
    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    fit: str
    crop_fraction: float
    interpolation: str
    rounded: bool
    max_pixels: int
    views: str
    flip: bool
    alternating_flip: bool
    pad_and_crop: int
    padding_mode: str
    random_resized_crop: bool
    crop_scale: tuple[float, float]
    cutout: int
    policy: str
    policy_magnitude: int
    erase: float
    label_smoothing: float
    loss: str
    binary_threshold: float
    teacher_share: float
    teacher_temperature: float
    shortcut: str
    zero_init_residual: bool
    norm: str
    dropout: float
    stochastic_depth: float


def train(
    source: str | Path = "",
    *,
    out: str | Path = "runs",
    name: str = "",
    config: str | Path | None = None,
    dry_run: bool = False,
    **options: Unpack[TrainOptions],
) -> Result:
    """Train a network on a source of images, score it once on the test split, and write everything to a run's folder.

    Args:
        source: "digits", "mnist", "cifar10" ..., a folder with one folder a class, or a CSV or JSON-lines manifest.
        out: Where the run's folder is made.
        name: The run's name; the data's name and a number if empty.
        config: A config.yaml of an earlier run.
        dry_run: Decide everything and train nothing.
        **options: Changes by hand, each to one field: `epochs=3`, `model="resnet20"`, `label_smoothing=0.1`.

    Returns:
        The scores with their intervals, and the run's folder.

    Raises:
        UsageError, DataError, StorageError: What was asked cannot be done; the message says what to change.
        Stopped: Ctrl-C or SIGTERM; the state is saved and `resume` goes on.
    """
    asked = request(str(source), config=Path(config) if config else None, options=dict(options))
    return result_of(experiment.run(asked, out=Path(out), name=name, dry=dry_run))


def resume(run: str | Path, *, anyway: bool = False) -> Result:
    """Go on with a run that was stopped; on a CPU it ends with the bits that it would have had unbroken.

    Args:
        run: The run's folder.
        anyway: Go on even where versions, threads or the instruction set differ and the bits may, too.

    Raises:
        CheckpointError: There is no such run, no state of it can be read, or what its bits depend on differs here.
        DataError: The data are no longer those that it began with.
    """
    return result_of(experiment.resume(Path(run), anyway=anyway))


def evaluate(
    network: str | Path,
    source: str | Path = "",
    *,
    weights: str | Path = "",
    split: str = "",
    include_training: bool = False,
    output: str | Path | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    strict: bool = False,
    device: str = "auto",
    batch_size: int = 64,
) -> Assessment:
    """Score a trained network on its own test split or on another source; see `plusx.assessment.evaluate`.

    The network is a run's folder, a checkpoint, other weights, a published name, or an architecture's with `weights`.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        UsageError, DataError: The source cannot be scored.
    """
    return result_of(
        assessment.evaluate(
            network,
            source,
            weights=weights,
            split=split,
            include_training=include_training,
            output=Path(output) if output else None,
            data_root=Path(data_root) if data_root else None,
            download=download,
            strict=strict,
            device=device,
            batch_size=batch_size,
        )
    )


def load(network: str | Path, *, weights: str | Path = "", device: str = "auto", batch_size: int = 32) -> Predictor:
    """Load a trained network that answers: `load("runs/photos-1")(["cat.jpg"])[0].class_name`.

    Args:
        network: A run's folder, whose best weights are meant, a checkpoint, other weights, the name of published ones,
            or that of an architecture, which needs weights.
        weights: Of an architecture that was named: a file, a folder or a published name.
        device: Where to compute.
        batch_size: Images that are answered together.

    Raises:
        CheckpointError: The weights cannot be read, or do not fit.
        UsageError: An architecture was named without weights.
    """
    return Predictor(result_of(choose(network, weights)).checkpoint, choose_device(device), batch_size)


def model(
    architecture: str | Architecture,
    *,
    classes: int | Sequence[str] = 1000,
    channels_in: int | None = None,
    dims: int | None = None,
    shortcut: str | None = None,
    zero_init_residual: bool | None = None,
    norm: str | None = None,
    dropout: float | None = None,
    stochastic_depth: float | None = None,
    seed: int | None = None,
) -> Network:
    """Build a network with new weights: (B, channels_in, *) -> (B, classes) logits, * being `dims` spatial axes.

    What is None stays as the architecture has it; every named one has 2 axes.

    Args:
        architecture: A name, such as "resnet50", or an architecture.
        classes: How many, or their names.
        channels_in: Channels of the input.
        dims: 1 for sound and other series, 2 for images, 3 for volumes.
        shortcut: "A", "B", "C", "D", "none" or a name in full.
        zero_init_residual: Whether each block starts as the identity.
        norm: "batch", "none", "fixup" or "skipinit".
        dropout: Share of elements set to zero within a block, in training.
        stochastic_depth: Probability of the last block's branch being left out, in training.
        seed: Seed of the weights; torch's global random stream if None.

    Raises:
        UsageError: A name or a value cannot be used.
    """
    named = look_up("model", architecture, ARCHITECTURES) if isinstance(architecture, str) else architecture
    asked = {
        "channels_in": channels_in,
        "dims": dims,
        "shortcut": shortcut,
        "zero_init_residual": zero_init_residual,
        "norm": norm,
        "dropout": dropout,
        "stochastic_depth": stochastic_depth,
    }
    changes = coerced("architecture", {name: value for name, value in asked.items() if value is not None})
    names = tuple(str(number) for number in range(classes)) if isinstance(classes, int) else tuple(classes)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        backbone = Backbone(dataclasses.replace(named, **changes))
        return Network(backbone, Classification(names).head(backbone))
