"""Weights put into a network: the backbone's as they are, the first convolution's and the head's made to fit.

Shape letters: K classes, C channels, N channels of the images.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plusx.errors import CheckpointError
from plusx.inputs.image import ImageInput
from plusx.network.architecture import Architecture
from plusx.network.backbone import Network
from plusx.weights.imagenet import imagenet_index
from plusx.weights.recognize import differences
from plusx.weights.trained import HEAD_BIAS, HEAD_WEIGHT, Weights, first_convolution

MOST_NAMED = 3


def fit(weights: Weights, network: Network, classes: Sequence[str]) -> tuple[str, ...]:
    """Load weights into a network, as far as they are of the same things; the network is changed in place.

    The backbone is taken whole. If the network's images have another number of channels, each channel of its first
    convolution gets the sum over the weights' channels divided by the new number: a gray image is then answered as its
    copy in three channels would be, where all have one mean and deviation, and activations keep their size.
    The head's rows are taken by the classes' names, if the weights know every class; else the new head stays.

    Args:
        weights: What is loaded.
        network: A network whose head has an output a class.
        classes: The classes' names, in the order of the network's outputs.

    Returns:
        Sentences on what was changed or left out.

    Raises:
        CheckpointError: The weights are of another backbone.
    """
    state, notes = adapted(weights, network.architecture)
    refuse_misfit(weights, state, network.architecture)
    head, more = head_for(weights, classes)
    kept = network.state_dict()
    if head and head[HEAD_WEIGHT].shape == kept[HEAD_WEIGHT].shape:
        state |= head
        notes += more
    else:
        notes += more or (f"the head of {weights.origin} is not of this form; a new one takes its place",)
    network.load_state_dict({**kept, **state})
    return notes


def adapted(weights: Weights, architecture: Architecture) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the backbone's weights for an architecture's number of channels, and what is to be said of it."""
    state = {key: tensor for key, tensor in weights.state.items() if key.startswith("backbone.")}
    first, wanted = first_convolution(state), architecture.channels_in
    if not first or state[first].shape[1] == wanted:
        return state, ()
    found = state[first].shape[1]
    state[first] = (state[first].sum(1, keepdim=True) / wanted).repeat_interleave(wanted, 1)
    shared = "" if wanted == 1 else f", shared evenly among the {wanted}"
    return state, (
        f"the weights are for images of {found} channels and these have {wanted}: the first convolution takes the sum "
        f"over its {found} channels{shared}",
    )


def adapted_input(given: ImageInput, channels: int) -> ImageInput:
    """Return a preprocessing for images of another number of channels: each has the mean of the means, likewise."""
    if channels == given.channels:
        return given
    mean = (sum(given.mean) / len(given.mean),) * channels
    deviation = (sum(given.deviation) / len(given.deviation),) * channels
    return dataclasses.replace(given, channels=channels, mean=mean, deviation=deviation)


def refuse_misfit(weights: Weights, state: Mapping[str, Tensor], architecture: Architecture) -> None:
    """Check that weights are those of an architecture's backbone.

    Raises:
        CheckpointError: They are of another.
    """
    words = differences(architecture, state)
    if words:
        own = [name for name in weights.candidates if name.split()[0] != architecture.name]
        if own:
            first = own[0].split()[0]
            raise CheckpointError(
                f"the weights {weights.origin!r} are of {' or '.join(own)}, not {architecture.name}; name {first} "
                f"(--model {first})"
            )
        more = f" and {len(words) - MOST_NAMED:,} more" if len(words) > MOST_NAMED else ""
        hint = f"; they fit {' or '.join(weights.candidates)}" if weights.candidates else ""
        raise CheckpointError(
            f"the weights {weights.origin!r} do not fit {architecture.name}: "
            f"{'; '.join(words[:MOST_NAMED])}{more}{hint}"
        )


def head_for(weights: Weights, classes: Sequence[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the head's rows for these classes, none if it cannot answer them, and what is to be said of it."""
    if not weights.outputs:
        return {}, (f"{weights.origin} has no head; the new one is trained from the start",)
    count = f"{len(classes):,} classes"
    if weights.classes is None:
        if weights.outputs != len(classes):
            return {}, (
                f"the head of {weights.origin} has {weights.outputs:,} outputs; a new one for {count} replaces it",
            )
        rows = list(range(len(classes)))
        note = f"{weights.origin} does not name its classes: its outputs are taken as the {count} in their order"
        notes = (note,)
    else:
        places = {index: place for place, name in enumerate(classes) if (index := place_of(name, weights.classes)) >= 0}
        if len(places) < len(classes):
            known = f"{len(places):,} of the" if places else "none of the"
            return {}, (
                f"the head of {weights.origin} has {weights.outputs:,} classes and knows {known} {count}; "
                "a new one replaces it",
            )
        rows = [index for index, _ in sorted(places.items(), key=lambda item: item[1])]
        same = rows == list(range(weights.outputs))
        notes = () if same else (f"the head's rows for the {count} are taken by name from {weights.outputs:,}",)
    chosen = torch.tensor(rows)
    return {key: weights.state[key][chosen] for key in (HEAD_WEIGHT, HEAD_BIAS) if key in weights.state}, notes


def place_of(name: str, classes: Sequence[str]) -> int:
    """Return which of the classes has this name, or is the same class of ImageNet; -1 if none is."""
    if name in classes:
        return classes.index(name)
    index = imagenet_index(name)
    if index is None:
        return -1
    return next((place for place, other in enumerate(classes) if imagenet_index(other) == index), -1)
