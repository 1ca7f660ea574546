"""Our networks give torchvision's logits, gradients and statistics with the same weights."""

import pytest
import torch
import torchvision
from compiled_kernels import turned_off
from network_pairs import PAIRS, compare
from network_training import both_trained

OURS = [pair for pair in PAIRS if pair.framework == "torchvision"]


@pytest.mark.parametrize("pair", OURS, ids=lambda pair: pair.label)
def test_logits_are_torchvisions(pair):
    compared = compare(pair)
    assert compared.theirs.std() > 0.01
    torch.testing.assert_close(compared.ours, compared.theirs)
    assert compared.within_tolerance
    assert compared.goes_back


def test_all_of_torchvisions_residual_and_dense_networks_are_compared():
    models = torchvision.models
    theirs = {
        name
        for name in models.list_models()
        if models.get_model_builder(name).__module__ in (models.resnet.__name__, models.densenet.__name__)
    }
    assert theirs == {pair.theirs for pair in OURS}
    assert len(theirs) == 14


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121"])
def test_training_gives_torchvisions_gradients_and_statistics(name):
    with turned_off():  # the same operators: what kernels round otherwise grows from layer to layer
        ours, theirs = both_trained(next(pair for pair in OURS if pair.theirs == name))
    torch.testing.assert_close(ours.gradients, theirs.gradients, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours.state, theirs.state)
