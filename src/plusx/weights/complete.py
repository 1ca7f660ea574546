"""Weights made complete: what their files do not say is told by the user or assumed, so that they can answer."""

import dataclasses
from collections.abc import Sequence

from plusx.checkpoint import Checkpoint
from plusx.errors import CheckpointError
from plusx.inputs.image import ImageInput
from plusx.network.architecture import Architecture
from plusx.tasks.classification import Classification
from plusx.weights.fit import adapted_input, refuse_misfit
from plusx.weights.published import IMAGENET_DEVIATION, IMAGENET_MEAN
from plusx.weights.trained import Weights


def complete(weights: Weights, architecture: Architecture | None = None) -> Weights:
    """Return weights that have an architecture and a preprocessing; what is assumed is among their notes.

    Args:
        weights: What was read.
        architecture: Of what network they are, as the user says; None where they say it themselves.

    Raises:
        CheckpointError: They have no head, or fit another architecture, or fit several and the user names none.
    """
    if not weights.outputs:
        raise CheckpointError(f"the weights {weights.origin!r} have no head, so they give no answers; train with them")
    chosen = architecture_of(weights, architecture)
    look, notes = weights.input, weights.notes
    if look is None:
        side = chosen.image_size
        look = adapted_input(ImageInput(side, side, 3, IMAGENET_MEAN, IMAGENET_DEVIATION), chosen.channels_in)
        notes += (
            f"{weights.origin} does not say how its images were prepared: {side}x{side} pixels with ImageNet's mean "
            "and deviation are assumed",
        )
    return dataclasses.replace(weights, architecture=chosen, input=look, notes=notes)


def architecture_of(weights: Weights, architecture: Architecture | None = None) -> Architecture:
    """Return of what network weights are: what they say themselves, or what the user says and they fit.

    Raises:
        CheckpointError: They fit another architecture than the user says, or fit several, or none, and none is named.
    """
    chosen = weights.architecture
    if chosen is None or (architecture is not None and architecture.name != chosen.name):
        chosen = architecture
    if chosen is None:
        fits = f"fit {', '.join(weights.candidates)}" if weights.candidates else "fit no architecture of plusx"
        raise CheckpointError(f"the weights {weights.origin!r} {fits}; name the one that they are of")
    chosen = dataclasses.replace(chosen, channels_in=weights.channels_in)
    refuse_misfit(weights, weights.state, chosen)
    return chosen


def checkpoint_of(
    weights: Weights, architecture: Architecture | None = None, classes: Sequence[str] | None = None
) -> Checkpoint:
    """Return weights as a checkpoint that answers, without training.

    Args:
        weights: What was read.
        architecture: Of what network they are, where they do not say it.
        classes: The classes' names; the weights' own if None, and numbers where these are not known.

    Raises:
        CheckpointError: They have no head, or fit another architecture, or fit several and none is named.
    """
    whole = complete(weights, architecture)
    names = tuple(classes or whole.classes or map(str, range(whole.outputs)))
    if whole.architecture is None or whole.input is None:  # complete() gives both
        raise CheckpointError(f"the weights {weights.origin!r} do not say of what network they are")
    provenance = {"weights": weights.origin, "recognized": weights.recognized}
    return Checkpoint(whole.architecture, whole.input, Classification(names), dict(whole.state), {}, provenance)
