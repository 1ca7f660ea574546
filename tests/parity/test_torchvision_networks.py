"""Our networks give torchvision's logits, features and gradients with the same weights."""

import pytest
import torch
import torchvision

from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.network.key_maps import KEY_MAPS
from plusx.tasks.classification import ClassificationHead


def both(name: str) -> tuple[torch.nn.Module, Network]:
    """Return torchvision's network with random weights and batch statistics, and ours with copies of them."""
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=10)
    for part in theirs.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(part.running_mean, std=0.1)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
            torch.nn.init.uniform_(part.weight, 0.3, 0.6)
            torch.nn.init.normal_(part.bias, std=0.1)
    backbone = Backbone(ARCHITECTURES[name])
    ours = Network(backbone, ClassificationHead(backbone.channels[-1], 10))
    ours.load_state_dict(KEY_MAPS["torchvision"].to_ours(theirs.state_dict()))
    return theirs, ours


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_logits_are_torchvisions(name):
    theirs, ours = both(name)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs.eval()(images)
        assert expected.std() > 0.01
        torch.testing.assert_close(ours.eval()(images), expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_training_gives_torchvisions_gradients_and_statistics(name):
    theirs, ours = both(name)
    images, targets = torch.randn(4, 3, 64, 64), torch.tensor([0, 3, 9, 3])
    for network in (theirs.train(), ours.train()):
        torch.nn.functional.cross_entropy(network(images), targets).backward()
    gradients = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    ours_by_key = {key: parameter.grad for key, parameter in ours.named_parameters()}
    for key, gradient in KEY_MAPS["torchvision"].to_ours(gradients).items():
        torch.testing.assert_close(ours_by_key[key], gradient, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours.state_dict(), KEY_MAPS["torchvision"].to_ours(theirs.state_dict()))
