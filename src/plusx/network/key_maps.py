"""What others call the weights that we have: state dicts from theirs to ours and back.

torchvision's ResNet keys (`layer1.0.bn1.weight`, `fc.weight`), which timm's ResNets and most published ImageNet
weights share; and those of Y. Idelbayev's CIFAR-10 weights (`module.layer1.0.bn1.weight`, `module.linear.weight`),
which are the networks of He et al. 2015, arXiv:1512.03385, section 4.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from plusx.errors import CheckpointError


@dataclass(frozen=True)
class KeyMap:
    """How the parts of a network are called elsewhere; every pair is (theirs, ours), and works both ways.

    Args:
        starts: What a key may begin with.
        insides: What may follow, within a block.
        wrapper: What stands before every one of their keys, because their network was wrapped when it was saved; a
            state dict without it is read as well.
    """

    starts: tuple[tuple[str, str], ...]
    insides: tuple[tuple[str, str], ...]
    wrapper: str = ""

    def to_ours(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return their state dict under our keys; the tensors are the same ones.

        A state dict from before torch counted batches has no `num_batches_tracked`, and neither has what is returned.

        Raises:
            CheckpointError: A key is none that such a network has.
        """
        return {translated(key.removeprefix(self.wrapper), self.starts, self.insides): state[key] for key in state}

    def to_theirs(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return our state dict under their keys; the tensors are the same ones.

        Raises:
            CheckpointError: A key is none that such a network has.
        """
        starts = tuple((ours, theirs) for theirs, ours in self.starts)
        insides = tuple((ours, theirs) for theirs, ours in self.insides)
        return {self.wrapper + translated(key, starts, insides): state[key] for key in state}


def translated(key: str, starts: tuple[tuple[str, str], ...], insides: tuple[tuple[str, str], ...]) -> str:
    """Replace the start of a key, and every part inside it, by the second of the pair whose first it is.

    Raises:
        CheckpointError: The key has none of the starts.
    """
    for old, new in starts:
        if key.startswith(old):
            rest = key[len(old) - 1 :]
            for old_part, new_part in insides:
                rest = rest.replace(old_part, new_part)
            return new + rest.removeprefix(".")
    expected = ", ".join(f"{old}*" for old, _ in starts)
    raise CheckpointError(f"the weights have a key {key!r} that such a network does not have; expected {expected}")


STEM = (("conv1.", "backbone.stem.conv."), ("bn1.", "backbone.stem.norm."))
STAGES = tuple((f"layer{number}.", f"backbone.stages.{number - 1}.") for number in (1, 2, 3, 4))
NORMS = tuple((f".bn{number}.", f".norm{number}.") for number in (1, 2, 3))

KEY_MAPS: dict[str, KeyMap] = {
    "torchvision": KeyMap(
        (*STEM, *STAGES, ("fc.", "head.linear.")),
        (*NORMS, (".downsample.0.", ".shortcut.conv."), (".downsample.1.", ".shortcut.norm.")),
    ),
    "cifar": KeyMap(
        (*STEM, *STAGES[:3], ("linear.", "head.linear.")),
        (*NORMS, (".shortcut.0.", ".shortcut.conv."), (".shortcut.1.", ".shortcut.norm.")),
        wrapper="module.",
    ),
}
