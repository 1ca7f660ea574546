"""What weights are: whose keys they have, and of which of our architectures they can be."""

import dataclasses
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from plusx.errors import CheckpointError
from plusx.network.architecture import Architecture
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone
from plusx.network.key_maps import KEY_MAPS, KeyMap
from plusx.network.key_wrappers import is_ours, unwrapped
from plusx.weights.trained import COUNTER, first_convolution

PLACE = re.compile(r"backbone\.stages\.(\d+)\.(\d+)\.")
OTHER_SHORTCUTS = ("projection", "zero_pad", "projection_always")
BEGINNING = ("backbone.stem.", "backbone.stages.0.0.")
MOST_NAMED = 3
OTHER_HEAD = re.compile(r"(fc|classifier|linear|head|heads|last_linear)\.")


def in_our_keys(state: Mapping[str, Tensor], origin: str) -> tuple[dict[str, Tensor], KeyMap | None, tuple[str, ...]]:
    """Return foreign weights under our keys, the map that read them, and what is to be said of what was left out.

    The map is None where the keys are ours already. A head of another form does not keep the backbone from being read.
    What counts the batches of a norm is 0 where the weights come from before it was counted.

    Raises:
        CheckpointError: They have keys of no network that is known here.
    """
    bare, beside = unwrapped(state)
    notes = (f"of {origin} only the network is read; left out: {some_of(beside)}",) if beside else ()
    if is_ours(bare):
        return with_counters(bare), None, notes
    nearest = min(KEY_MAPS.values(), key=lambda key_map: len(key_map.unknown(bare)))
    strange = nearest.unknown(bare)
    if strange and len(strange) < len(bare) and all(map(OTHER_HEAD.match, strange)):
        bare = {key: tensor for key, tensor in bare.items() if key not in strange}
        notes += (f"the head of {origin}, {some_of(strange)}, is not of the form that plusx knows and is left out",)
        strange = []
    if not strange and bare:
        return with_counters(nearest.to_ours(bare)), nearest, notes
    raise CheckpointError(
        f"{origin!r} has keys of no network that plusx knows: of {len(bare):,} keys {nearest.source}'s "
        f"{nearest.network} does not know {some_of(strange)}; expected the keys of {', '.join(known_kinds())} or of "
        "plusx"
    )


def some_of(keys: list[str]) -> str:
    """Return the first keys of many, and how many more there are."""
    more = f" and {len(keys) - MOST_NAMED:,} more" if len(keys) > MOST_NAMED else ""
    return ", ".join(map(repr, keys[:MOST_NAMED])) + more


def known_kinds() -> list[str]:
    """Return the networks of others whose keys are read, in words."""
    return list(dict.fromkeys(f"{key_map.source}'s {key_map.network}" for key_map in KEY_MAPS.values()))


def with_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with a count of batches for every norm, which torch before 0.4.1 did not write."""
    complete: dict[str, Tensor] = {}
    for key, tensor in state.items():
        complete[key] = tensor
        counter = key.removesuffix("running_var") + COUNTER
        if key.endswith(".running_var") and counter not in state:
            complete[counter] = torch.tensor(0)
    return complete


def fitting(state: Mapping[str, Tensor], key_map: KeyMap | None) -> list[Architecture]:
    """Return the architectures that these weights fit in every key and shape of the backbone, the likeliest first.

    An architecture's own shortcut is tried first; only where none fits are others. Networks that a key map's framework
    does not have are none of them, so that a plain network is not taken for its residual twin, which has the same keys.
    """
    depths = depths_of(state)
    named = [one for one in ARCHITECTURES.values() if _without_empty(one.depths) == depths]
    found = _those_that_fit(named, state, key_map)
    if found:
        return found
    residual = [one for one in named if one.shortcut != "none"]
    variants = [dataclasses.replace(one, shortcut=other) for one in residual for other in OTHER_SHORTCUTS]
    return _those_that_fit(variants, state, key_map)


def depths_of(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return how many blocks each stage has, read from the keys."""
    last: dict[int, int] = {}
    for key in state:
        if match := PLACE.match(key):
            stage, place = map(int, match.groups())
            last[stage] = max(last.get(stage, -1), place)
    return tuple(last.get(stage, -1) + 1 for stage in range(max(last, default=-1) + 1))


def _without_empty(depths: tuple[int, ...]) -> tuple[int, ...]:
    """The depths without stages at the end that have no block, and so no key."""
    return depths if not depths or depths[-1] else _without_empty(depths[:-1])


def _those_that_fit(
    architectures: list[Architecture], state: Mapping[str, Tensor], key_map: KeyMap | None
) -> list[Architecture]:
    """Those that have these weights' keys and shapes, for their images' channels; the beginning is looked at first."""
    first = first_convolution(state)
    channels_in = {"channels_in": state[first].shape[1]} if first else {}
    found: list[Architecture] = []
    for architecture in architectures:
        adapted = dataclasses.replace(architecture, **channels_in)
        if key_map is not None and key_map.misfit(adapted):
            continue
        if _begins_as(adapted, state) and not differences(adapted, state):
            found.append(adapted)
    return found


def _begins_as(architecture: Architecture, state: Mapping[str, Tensor]) -> bool:
    """Whether the stem and the first block are those of the architecture; built alone, they take little time."""
    if not architecture.depths[0]:
        return True
    expected = shapes_of(dataclasses.replace(architecture, depths=(1,), widths=architecture.widths[:1]))
    start = {key: shape for key, shape in expected.items() if key.startswith(BEGINNING)}
    return start == {key: tensor.shape for key, tensor in state.items() if key.startswith(BEGINNING)}


def shapes_of(architecture: Architecture) -> dict[str, torch.Size]:
    """Return the shape of everything in an architecture's backbone, by key; no memory is taken for it."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return {f"backbone.{key}": value.shape for key, value in Backbone(architecture).state_dict().items()}


def differences(architecture: Architecture, state: Mapping[str, Tensor]) -> list[str]:
    """Return in words what of the backbone differs between weights and an architecture; nothing if they fit."""
    expected = shapes_of(architecture)
    found = {key: tensor.shape for key, tensor in state.items() if key.startswith("backbone.")}
    words = [f"{key} is missing" for key in expected if key not in found]
    words += [f"{key} is not in it" for key in found if key not in expected]
    words += [
        f"{key} is {'x'.join(map(str, found[key]))}, not {'x'.join(map(str, shape))}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    return words
