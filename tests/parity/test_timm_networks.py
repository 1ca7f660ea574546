"""Our networks give timm's logits, gradients and statistics with the same weights."""

import pytest
import torch
from compiled_kernels import turned_off
from network_pairs import PAIRS, compare
from network_training import both_trained

OURS = [pair for pair in PAIRS if pair.framework == "timm"]
MARKED = [pytest.param(pair, id=pair.label, marks=[pytest.mark.slow] if pair.slow else []) for pair in OURS]


@pytest.mark.parametrize("pair", MARKED)
def test_logits_are_timms(pair):
    compared = compare(pair)
    assert compared.theirs.std() > 0.01
    torch.testing.assert_close(compared.ours, compared.theirs)
    assert compared.within_tolerance
    assert compared.goes_back


@pytest.mark.parametrize(
    "name", ["resnet18d", "resnet50c", "seresnet18", "ecaresnet50d", "preresnet18", "preresnet50", "resnetrs50"]
)
def test_training_gives_timms_gradients_and_statistics(name):
    with turned_off():  # the same operators: what kernels round otherwise grows from layer to layer
        ours, theirs = both_trained(next(pair for pair in OURS if pair.ours == name))
    torch.testing.assert_close(ours.gradients, theirs.gradients, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours.state, theirs.state)
