"""Pairs of networks that must be the same: ours, and torchvision's or timm's, with the same random weights.

The parity tests and benchmarks/parity.py both go through PAIRS.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import timm
import torch
import torchvision
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from plusx.network.architectures import ARCHITECTURES, paper_classes
from plusx.network.backbone import Backbone, Network
from plusx.network.key_maps import key_map_for
from plusx.tasks.classification import ClassificationHead

IMAGES = (2, 3, 56, 60)
"""(B, C, *) of what both see; sides that no stage halves without a rest, so that the rounding must agree too."""


@dataclass(frozen=True)
class Pair:
    """Two networks of one definition.

    Args:
        ours: The name of an architecture.
        framework: Whose the other one is.
        theirs: What they call it; "ResNet(...)" where they have the parts and no name.
        make: Builds theirs.
        slow: Whether it takes too long for the default tests.
    """

    ours: str
    framework: str
    theirs: str
    make: Callable[[], nn.Module] = field(compare=False)
    slow: bool = False

    @property
    def label(self) -> str:
        """What a test of it is called."""
        return f"{self.framework}-{self.theirs}"


@dataclass(frozen=True)
class Comparison:
    """What the two gave for the same images."""

    pair: Pair
    parameters: int
    ours: Tensor
    theirs: Tensor
    goes_back: bool
    """Whether our weights, written under their keys, are theirs again, every key of them."""

    @property
    def largest_difference(self) -> float:
        """The largest absolute difference of two logits."""
        return (self.ours - self.theirs).abs().max().item()

    @property
    def within_tolerance(self) -> bool:
        """Whether torch.testing.assert_close accepts them with its default tolerances."""
        # The defaults of torch.testing.assert_close for float32.
        return torch.allclose(self.ours, self.theirs, rtol=1.3e-6, atol=1e-5)


def compare(pair: Pair) -> Comparison:
    """Give both networks the same random weights and images, in evaluation mode."""
    theirs, ours = both(pair, classes=paper_classes(ARCHITECTURES[pair.ours]))
    images = torch.randn(IMAGES, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, given = theirs.eval()(images), ours.eval()(images)
    back = key_map_for(ours.architecture, pair.framework).to_theirs(ours.state_dict())
    state = theirs.state_dict()
    goes_back = back.keys() == state.keys() and all(torch.equal(back[key], state[key]) for key in state)
    return Comparison(pair, sum(each.numel() for each in ours.parameters()), given, expected, goes_back)


def both(pair: Pair, classes: int) -> tuple[nn.Module, Network]:
    """Return theirs with random weights and norm statistics, and ours with copies of them."""
    with torch.device("meta"):
        theirs = pair.make(num_classes=classes)
        backbone = Backbone(ARCHITECTURES[pair.ours])
        head = ClassificationHead(backbone.channels[-1], classes, backbone.architecture.pooling)
        ours = Network(backbone, head)
    theirs = theirs.to_empty(device="cpu")
    randomize(theirs, torch.Generator().manual_seed(0))
    copied = {key: value.clone() for key, value in theirs.state_dict().items()}
    ours.load_state_dict(key_map_for(ARCHITECTURES[pair.ours], pair.framework).to_ours(copied), assign=True)
    return theirs, ours


def randomize(network: nn.Module, generator: torch.Generator) -> None:
    """Draw weights of a size that keeps the signal's scale, and statistics that differ from a new norm's."""
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(0, 0.1, generator=generator)
                part.running_var.uniform_(0.5, 2, generator=generator)
                part.weight.uniform_(0.3, 0.6, generator=generator)
                part.bias.normal_(0, 0.1, generator=generator)
                part.num_batches_tracked.fill_(7)
            elif isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear):
                # Uniform numbers are drawn faster than normal ones; +-sqrt(6 / inputs) has the variance 2 / inputs.
                largest = (6 / part.weight[0].numel()) ** 0.5
                part.weight.uniform_(-largest, largest, generator=generator)
                if part.bias is not None:
                    part.bias.normal_(0, 0.1, generator=generator)


def torchvisions(ours: str, theirs: str = "", **options: Any) -> Pair:
    """Return the pair with torchvision's network."""
    theirs = theirs or ours
    return Pair(ours, "torchvision", theirs, partial(torchvision.models.get_model, theirs, weights=None), **options)


def timms(ours: str, theirs: str = "", **options: Any) -> Pair:
    """Return the pair with timm's network."""
    theirs = theirs or ours
    return Pair(ours, "timm", theirs, partial(timm.create_model, theirs, pretrained=False), **options)


def timms_parts(ours: str, block: type[nn.Module], *, slow: bool = False, **parts: Any) -> Pair:
    """Return the pair with a network of timm's parts that has no name there."""
    depths = ARCHITECTURES[ours].depths
    words = ", ".join(f"{key}={value}" for key, value in parts.items())
    label = f"ResNet({block.__name__}, {list(depths)}, {words})"
    return Pair(ours, "timm", label, partial(ResNet, block, depths, **parts), slow)


ECA: dict[str, Any] = {"block_args": {"attn_layer": "eca"}}
DEEP: dict[str, Any] = {"stem_width": 32, "stem_type": "deep"}

PAIRS: tuple[Pair, ...] = (
    torchvisions("resnet18"),
    torchvisions("resnet34"),
    torchvisions("resnet50"),
    torchvisions("resnet101"),
    torchvisions("resnet152"),
    torchvisions("resnext50-32x4d", "resnext50_32x4d"),
    torchvisions("resnext101-32x8d", "resnext101_32x8d"),
    torchvisions("resnext101-64x4d", "resnext101_64x4d"),
    torchvisions("wide50-2", "wide_resnet50_2"),
    torchvisions("wide101-2", "wide_resnet101_2"),
    torchvisions("densenet121"),
    torchvisions("densenet169"),
    torchvisions("densenet201"),
    torchvisions("densenet161"),
    timms("resnet18"),
    timms("resnet34"),
    timms("resnet50"),
    timms("resnet101"),
    timms("resnet152", slow=True),
    timms("resnext50-32x4d", "resnext50_32x4d"),
    timms("resnext101-32x4d", "resnext101_32x4d"),
    timms("resnext101-32x8d", "resnext101_32x8d", slow=True),
    timms("resnext101-64x4d", "resnext101_64x4d", slow=True),
    timms("wide50-2", "wide_resnet50_2", slow=True),
    timms("wide101-2", "wide_resnet101_2", slow=True),
    timms_parts("resnet18c", BasicBlock, **DEEP),
    timms_parts("resnet34c", BasicBlock, **DEEP),
    timms("resnet50c"),
    timms("resnet101c"),
    timms("resnet152c", slow=True),
    timms("resnet18d"),
    timms("resnet34d"),
    timms("resnet50d"),
    timms("resnet101d"),
    timms("resnet152d", slow=True),
    timms("resnetrs50"),
    timms("resnetrs101"),
    timms("resnetrs152", slow=True),
    timms("resnetrs200", slow=True),
    timms("resnetrs270", slow=True),
    timms("resnetrs350", slow=True),
    timms("resnetrs420", slow=True),
    timms("seresnet18"),
    timms("seresnet34"),
    timms("seresnet50"),
    timms("seresnet101"),
    timms("seresnet152", slow=True),
    timms("seresnext50-32x4d", "seresnext50_32x4d"),
    timms("seresnext101-32x4d", "seresnext101_32x4d"),
    timms_parts("ecaresnet18", BasicBlock, **ECA),
    timms_parts("ecaresnet34", BasicBlock, **ECA),
    timms_parts("ecaresnet50", Bottleneck, **ECA),
    timms_parts("ecaresnet101", Bottleneck, **ECA),
    timms_parts("ecaresnet152", Bottleneck, slow=True, **ECA),
    timms("ecaresnet50d"),
    timms("preresnet18", "resnetv2_18"),
    timms("preresnet34", "resnetv2_34"),
    timms("preresnet50", "resnetv2_50"),
    timms("preresnet101", "resnetv2_101"),
    timms("preresnet152", "resnetv2_152", slow=True),
    timms("densenet121"),
    timms("densenet169"),
    timms("densenet201", slow=True),
    timms("densenet161", slow=True),
)
