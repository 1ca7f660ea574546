import copy

import pytest
import ranked_work
import tiny
import torch
from ranked import on_ranks
from torch import nn

from plusx.network import layers
from plusx.training.synchronized_norm import SynchronizedNorm, synchronize_norms


@pytest.mark.parametrize("sizes", [[5, 2], [3, 1, 4]])
def test_unequal_parts_are_normalized_as_one_batch(sizes):
    for differences in on_ranks(len(sizes), ranked_work.normalize, sizes, 4):
        # float32 against float64; the mean is 50 and the deviation 3, the output is about 1.
        assert differences["output"] < 1e-5
        assert differences["gradient"] < 1e-6
        assert differences["weight"] < 1e-4
        assert differences["bias"] < 1e-5
        assert differences["mean"] < 1e-5
        assert differences["variance"] < 1e-5


@pytest.mark.parametrize(
    ("norm", "shape"), [(nn.BatchNorm1d, (4, 3, 5)), (nn.BatchNorm2d, (4, 3, 5, 2)), (nn.BatchNorm3d, (4, 3, 2, 2, 2))]
)
def test_alone_it_is_torchs_own(norm, shape):
    plain = nn.Sequential(norm(3))
    synchronized = copy.deepcopy(plain)
    synchronize_norms(synchronized)
    assert isinstance(synchronized[0], SynchronizedNorm)
    assert isinstance(synchronized[0], norm)
    x = torch.randn(shape)
    assert torch.equal(plain(x), synchronized(x))
    assert torch.equal(plain[0].running_var, synchronized[0].running_var)
    assert torch.equal(plain.eval()(x), synchronized.eval()(x))


def test_all_norms_of_a_network_keep_weights_statistics_and_names():
    network = tiny.network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = [id(one) for one in network.parameters()]
    synchronize_norms(network)
    norms = [one for one in network.modules() if isinstance(one, layers.Norm)]
    assert norms
    assert all(isinstance(one, SynchronizedNorm) for one in norms)
    assert [id(one) for one in network.parameters()] == weights
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
