import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch

from plusx.data.batches import Batches
from plusx.errors import UsageError


def mirrored(count=400, epochs=4, **changes):
    """Which samples are mirrored in each epoch: (epochs, count)."""
    look = dataclasses.replace(tiny.INPUT, **{"flip": True, "alternating_flip": True} | changes)
    batches = Batches(tiny.samples(count), look, batch_size=50, collate=tiny.TASK.collate, seed=4, training=True)
    own = torch.stack([look.prepare(look.read(sample.source)) for sample in tiny.samples(count)])
    found = np.zeros((epochs, count), bool)
    for epoch in range(epochs):
        for batch in batches.epoch(epoch):
            same = (batch.images == own[batch.indices]).flatten(1).all(1)
            turned = (batch.images == own[batch.indices].flip(3)).flatten(1).all(1)
            assert (same ^ turned).all()
            found[epoch, batch.indices] = turned.numpy()
    return found


def test_each_image_is_mirrored_in_every_other_epoch():
    found = mirrored()
    assert 150 < found[0].sum() < 250
    for before, after in pairwise(found):
        assert (before ^ after).all()


def test_by_chance_it_is_not():
    found = mirrored(alternating_flip=False)
    assert 120 < (found[0] ^ found[1]).sum() < 280


def test_without_flips_nothing_alternates():
    assert not mirrored(flip=False).any()


def test_it_is_a_switch():
    with pytest.raises(UsageError, match="alternating_flip is 1; expected true or false"):
        dataclasses.replace(tiny.INPUT, alternating_flip=1)
