"""Weights made complete: what their files do not say is told by the user or assumed, so that they can answer."""

import dataclasses
from collections.abc import Sequence

from plusx.checkpoint import Checkpoint
from plusx.errors import CheckpointError
from plusx.network.architecture import Architecture
from plusx.tasks.classification import Classification
from plusx.weights.assumed import assumed_input, in_words
from plusx.weights.fit import refuse_misfit
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
        raise CheckpointError(
            f"the weights {weights.origin!r} have no head that plusx knows, so they give no answers; train with them: "
            f"plusx train DATA --weights {weights.origin}"
        )
    chosen = architecture_of(weights, architecture)
    look, notes = weights.input, weights.notes
    if look is None:
        look = assumed_input(chosen, chosen.channels_in)
        notes += (f"{weights.origin} does not say how its images were prepared: {in_words(look)}, are assumed",)
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
        if not weights.candidates:
            raise CheckpointError(
                f"the weights {weights.origin!r} are {weights.recognized} whose depths and widths no network of plusx "
                "has, so they cannot be used here; plusx show lists its networks"
            )
        first = weights.candidates[0].split()[0]
        raise CheckpointError(
            f"the weights {weights.origin!r} fit {', '.join(weights.candidates)}; name the one that they are of: "
            f"plusx predict {first} IMAGE --weights {weights.origin}, and elsewhere --model {first}"
        )
    chosen = dataclasses.replace(chosen, channels_in=weights.channels_in)
    refuse_misfit(weights, weights.state, chosen)
    return chosen


def checkpoint_of(weights: Weights, classes: Sequence[str] | None = None) -> Checkpoint:
    """Return complete weights as a checkpoint that answers, without training.

    Args:
        weights: As `complete` gives them.
        classes: The classes' names; the weights' own if None, and numbers where these are not known.

    Raises:
        CheckpointError: They are not complete.
    """
    names = tuple(classes or weights.classes or map(str, range(weights.outputs)))
    if weights.architecture is None or weights.input is None:
        raise CheckpointError(f"the weights {weights.origin!r} do not say of what network they are")
    provenance = {"weights": weights.origin, "recognized": weights.recognized}
    return Checkpoint(weights.architecture, weights.input, Classification(names), dict(weights.state), {}, provenance)
