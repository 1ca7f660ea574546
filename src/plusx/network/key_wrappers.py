"""What stands before the keys of a network that others wrapped or made a part of something larger."""

import re
from collections.abc import Mapping

from torch import Tensor

WRAPPERS = ("module.", "_orig_mod.")
"""What stands before all keys of a network that was saved as torch's DataParallel or torch.compile had wrapped it."""

MEMBERS = ("model.", "net.", "network.", "backbone.")
"""What stands before the keys of a network that is a part of another: of Lightning's modules, of segmenters."""

AVERAGED = "n_averaged"
"""How many states torch's AveragedModel is the mean of; it is no weight."""

OWN = re.compile(r"backbone\.(stem\.(conv|norm)\d?|stages\.\d+\.\d+\.\w+|finish\.norm)\.")
THEIR_PREACTIVATION = re.compile(r"backbone\.stages\.\d+\.blocks\.")


def unwrapped(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return a network's state without what stands before its keys, and the keys of what is beside the network."""
    bare, beside = {key: tensor for key, tensor in state.items() if key != AVERAGED}, list[str]()
    while wrapper := _wrapper_of(bare):
        beside += [key for key in bare if not key.startswith(wrapper)]
        bare = {key.removeprefix(wrapper): tensor for key, tensor in bare.items() if key.startswith(wrapper)}
    return bare, beside


def is_ours(state: Mapping[str, Tensor]) -> bool:
    """Return whether keys are those of plusx; others call a network within theirs a backbone, too."""
    return any(map(OWN.match, state)) and not any(map(THEIR_PREACTIVATION.match, state))


def _wrapper_of(state: Mapping[str, Tensor]) -> str:
    """The outermost wrapper before all keys, or of a network beside which there is more; "" where there is none."""
    for one in WRAPPERS:
        if state and all(key.startswith(one) for key in state):
            return one
    members = [one for one in MEMBERS if any(key.startswith(one) for key in state)]
    return "" if not members or is_ours(state) else members[0]
