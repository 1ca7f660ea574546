"""What others call the weights that we have: state dicts from theirs to ours and back, each network a table of pairs.

torchvision's ResNets and DenseNets (whose keys timm shares), timm's ResNets and pre-activation ResNets, and the
CIFAR-10 networks of Y. Idelbayev, which are those of He et al. 2015, arXiv:1512.03385, section 4.2.

Shape letters: K classes, C channels.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from torch import Tensor

from plusx.errors import CheckpointError, UsageError, look_up
from plusx.network.architecture import Architecture
from plusx.network.key_wrappers import unwrapped

HEAD = "head.linear.weight"
NUMBER = re.compile(r"\{(?:\+(\d+))?\}")

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class KeyMap:
    """How the parts of a network are called elsewhere; every pair of templates is (theirs, ours), and works both ways.

    `{}` stands for a number, `{+1}` for one that is larger by 1 than ours, because theirs begin at 1.

    Args:
        framework: Whose keys these are.
        network: What they call such a network, in words.
        pairs: Their name of a part, and ours.
        fits: Which architectures are written so: for fields of Architecture, the values that it may have.
        older: Further pairs of former times, which are read and never written.
        wrapper: What stands before every one of their keys; a state dict with other wrappers or none is read as well.
        convolved_head: Whether their head is a 1x1 convolution, with weights (K, C, 1, 1), not a linear layer's (K, C).
        imagenet: Whether networks with these keys and a thousand outputs are trained on ImageNet.
        maker: Whose the networks are, in words; the framework's if "".
    """

    framework: str
    network: str
    pairs: Pairs
    fits: Mapping[str, tuple[object, ...]] = field(default_factory=dict[str, tuple[object, ...]])
    older: Pairs = ()
    wrapper: str = ""
    convolved_head: bool = False
    imagenet: bool = True
    maker: str = ""

    @property
    def source(self) -> str:
        """Whose the networks are, in words: "torchvision", "Y. Idelbayev"."""
        return self.maker or self.framework

    def to_ours(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return their state dict under our keys; the tensors are the same ones, but for a convolved head's shape.

        A state dict from before torch counted batches has no `num_batches_tracked`, and neither has what is returned.

        Raises:
            CheckpointError: A key is none that such a network has.
        """
        pairs = (*self.pairs, *self.older)
        ours = {translated(key, pairs): tensor for key, tensor in unwrapped(state)[0].items()}
        if self.convolved_head and HEAD in ours:
            ours[HEAD] = ours[HEAD].flatten(1)
        return ours

    def to_theirs(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return our state dict under their keys; the tensors are the same ones, but for a convolved head's shape.

        Raises:
            CheckpointError: A key is none that such a network has.
        """
        pairs = tuple((ours, theirs) for theirs, ours in self.pairs)
        theirs = {self.wrapper + translated(key, pairs): tensor for key, tensor in state.items()}
        if self.convolved_head and HEAD in state:
            theirs[self.wrapper + translated(HEAD, pairs)] = state[HEAD][:, :, None, None]
        return theirs

    def unknown(self, state: Mapping[str, Tensor]) -> list[str]:
        """Return those of their keys, without wrappers, that such a network does not have."""
        pairs = (*self.pairs, *self.older)
        return [key for key in unwrapped(state)[0] if translation(key, pairs) is None]

    def misfit(self, architecture: Architecture) -> str:
        """Return in words why an architecture is not written so: "its stem is 'small', not 'imagenet'"; "" if it is."""
        for name, values in self.fits.items():
            found = getattr(architecture, name)
            if found not in values:
                return f"its {name} is {found!r}, not {' or '.join(map(repr, values))}"
        return ""


def our_name(name: str) -> str:
    """Return what plusx calls a network of timm's: "wide_resnet50_2" is "wide50-2", "resnetv2_50" is "preresnet50"."""
    return name.replace("wide_resnet", "wide").replace("resnetv2_", "preresnet").replace("_", "-")


@cache
def pattern(template: str) -> tuple[re.Pattern[str], tuple[int, ...], str]:
    """Return what matches a template's keys, by how much each of its numbers is larger, and its form to be filled."""
    larger = tuple(int(number or 0) for number in NUMBER.findall(template))
    filled = NUMBER.sub("{}", template)
    return re.compile(r"(\d+)".join(map(re.escape, filled.split("{}"))) + r"\.(\w+)"), larger, filled


def translation(key: str, pairs: Pairs) -> str | None:
    """Return a key by the second template of the pair whose first it fits, or None if it fits none."""
    for old, new in pairs:
        expression, larger, _ = pattern(old)
        if match := expression.fullmatch(key):
            _, added, form = pattern(new)
            *numbers, last = match.groups()
            changed = [int(one) - a + b for one, a, b in zip(numbers, larger, added, strict=True)]
            if min(changed, default=0) >= 0:
                return f"{form.format(*changed)}.{last}"
    return None


def translated(key: str, pairs: Pairs) -> str:
    """Return a key by the second template of the pair whose first it fits.

    Raises:
        CheckpointError: It fits none.
    """
    found = translation(key, pairs)
    if found is None:
        expected = ", ".join(dict.fromkeys(f"{NUMBER.sub('N', old)}.*" for old, _ in pairs))
        raise CheckpointError(f"the weights have a key {key!r} that such a network does not have; expected {expected}")
    return found


def block_pairs(theirs: str, parts: Pairs) -> Pairs:
    """Return pairs for the parts of every block, whose place is `theirs` there and a stage and a number here."""
    return tuple((f"{theirs}.{old}", f"backbone.stages.{{}}.{{}}.{new}") for old, new in parts)


STEM: Pairs = (("conv1", "backbone.stem.conv"), ("bn1", "backbone.stem.norm"))
DEEP_STEM: Pairs = (
    ("conv1.0", "backbone.stem.conv1"),
    ("conv1.1", "backbone.stem.norm1"),
    ("conv1.3", "backbone.stem.conv2"),
    ("conv1.4", "backbone.stem.norm2"),
    ("conv1.6", "backbone.stem.conv3"),
    ("bn1", "backbone.stem.norm3"),
    ("maxpool.0", "backbone.stem.conv4"),
    ("maxpool.1", "backbone.stem.norm4"),
)
BRANCH: Pairs = (("conv{}", "conv{}"), ("bn{}", "norm{}"))
ATTENTION: Pairs = (
    ("se.fc1", "attention.squeeze"),
    ("se.fc2", "attention.excite"),
    ("se.conv", "attention.conv"),
)
PROJECTION: Pairs = (("downsample.0", "shortcut.conv"), ("downsample.1", "shortcut.norm"))
POOLED: Pairs = (("downsample.1", "shortcut.conv"), ("downsample.2", "shortcut.norm"))
IN_SEQUENCE: Pairs = (("shortcut.0", "shortcut.conv"), ("shortcut.1", "shortcut.norm"))
FC: Pairs = (("fc", "head.linear"),)
DENSE: Pairs = (
    ("features.conv0", "backbone.stem.conv"),
    ("features.norm0", "backbone.stem.norm"),
    *block_pairs("features.denseblock{+1}.denselayer{+1}", (("conv{}", "conv{}"), ("norm{}", "norm{}"))),
    ("features.transition{}.norm", "backbone.transitions.{}.norm"),
    ("features.transition{}.conv", "backbone.transitions.{}.conv"),
    ("features.norm5", "backbone.finish.norm"),
    ("classifier", "head.linear"),
)
OLDER_DENSE: Pairs = block_pairs(
    "features.denseblock{+1}.denselayer{+1}", (("conv.{}", "conv{}"), ("norm.{}", "norm{}"))
)
PREACTIVATION: Pairs = (
    ("stem.conv", "backbone.stem.conv"),
    *block_pairs(
        "stages.{}.blocks.{}",
        (("conv{}", "conv{}"), ("norm{}", "norm{}"), ("downsample.conv", "shortcut.conv")),
    ),
    ("norm", "backbone.finish.norm"),
    ("head.fc", "head.linear"),
)

FLAT: dict[str, tuple[object, ...]] = {"norm": ("batch",), "dims": (2,)}
ORIGINAL: dict[str, tuple[object, ...]] = {"block": ("basic", "bottleneck"), "transition": ("in_block",), **FLAT}

KEY_MAPS: dict[str, KeyMap] = {
    "torchvision": KeyMap(
        "torchvision",
        "ResNet",
        (*STEM, *block_pairs("layer{+1}.{}", (*BRANCH, *PROJECTION)), *FC),
        {**ORIGINAL, "stem": ("imagenet",), "shortcut": ("projection",), "attention": ("none",)},
    ),
    "torchvision_densenet": KeyMap(
        "torchvision",
        "DenseNet",
        DENSE,
        {"block": ("dense_bottleneck",), "transition": ("dense",), "stem": ("imagenet",), **FLAT},
        older=OLDER_DENSE,
    ),
    "timm": KeyMap(
        "timm",
        "ResNet",
        (*STEM, *block_pairs("layer{+1}.{}", (*BRANCH, *ATTENTION, *PROJECTION)), *FC),
        {**ORIGINAL, "stem": ("imagenet",), "shortcut": ("projection",)},
    ),
    "timm_deep": KeyMap(
        "timm",
        "ResNet-C",
        (*DEEP_STEM, *block_pairs("layer{+1}.{}", (*BRANCH, *ATTENTION, *PROJECTION)), *FC),
        {**ORIGINAL, "stem": ("deep", "deep_strided"), "shortcut": ("projection",)},
    ),
    "timm_pooled": KeyMap(
        "timm",
        "ResNet-D",
        (*DEEP_STEM, *block_pairs("layer{+1}.{}", (*BRANCH, *ATTENTION, *POOLED)), *FC),
        {**ORIGINAL, "stem": ("deep", "deep_strided"), "shortcut": ("pooled",)},
    ),
    "timm_preactivation": KeyMap(
        "timm",
        "ResNetV2",
        PREACTIVATION,
        {
            "block": ("preactivation_basic", "preactivation_bottleneck"),
            "transition": ("in_block",),
            "stem": ("imagenet_bare",),
            "shortcut": ("bare_projection",),
            "attention": ("none",),
            **FLAT,
        },
        convolved_head=True,
    ),
    "timm_densenet": KeyMap(
        "timm",
        "DenseNet",
        DENSE,
        {"block": ("dense_bottleneck",), "transition": ("dense",), "stem": ("imagenet",), **FLAT},
        older=OLDER_DENSE,
    ),
    "cifar": KeyMap(
        "cifar",
        "ResNet for CIFAR-10",
        (*STEM, *block_pairs("layer{+1}.{}", (*BRANCH, *IN_SEQUENCE)), ("linear", "head.linear")),
        {**ORIGINAL, "stem": ("small",), "shortcut": ("zero_pad", "projection"), "attention": ("none",)},
        wrapper="module.",
        imagenet=False,
        maker="Y. Idelbayev",
    ),
}
"""The state dicts that can be read, and written; where two read the same keys, the first is meant."""

FRAMEWORKS = tuple(dict.fromkeys(key_map.framework for key_map in KEY_MAPS.values()))


def key_map_for(architecture: Architecture, framework: str) -> KeyMap:
    """Return the map that writes an architecture's weights for a framework.

    Raises:
        UsageError: There is no such framework, or it has no such network.
    """
    look_up("framework", framework, dict.fromkeys(FRAMEWORKS))
    maps = [key_map for key_map in KEY_MAPS.values() if key_map.framework == framework]
    for key_map in maps:
        if not key_map.misfit(architecture):
            return key_map
    nearest = next((one for one in maps if architecture.block in one.fits["block"]), maps[0])
    others = dict.fromkeys(one.framework for one in KEY_MAPS.values() if not one.misfit(architecture))
    raise UsageError(
        f"{nearest.source} has no network like {architecture.name}: for a {nearest.network} "
        f"{nearest.misfit(architecture)}; use --to {' or '.join((*others, 'plusx'))}"
    )
