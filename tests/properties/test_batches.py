from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.data import Sample
from plusx.data.batches import Batches


# Augmentation that shows in the pixels which draws it was given.
def added(images, numbers):
    return images + torch.from_numpy((numbers * 200).astype(np.uint8))[:, :, None, None]


def read(source):
    return torch.from_numpy(source)[None].clone()


class Holding:
    draws = 1

    def __init__(self, images):
        self.images = images

    def __call__(self, places, numbers):
        return added(self.images[torch.from_numpy(places)], numbers).float()


INPUT = SimpleNamespace(
    draws=1,
    shape=(1, 1, 1),
    read=read,
    read_augmented=lambda source, numbers: added(read(source)[None], numbers[None])[0],
    alternating=(),
    hold=lambda images, _: Holding(images),
    finish=lambda images, _: images.permute(0, 3, 1, 2).to(torch.float32),
    prepare=lambda images: images.to(torch.float32),
)


def made(count, size, seed, *, training=True, memory_limit=2**20):
    samples = [Sample(f"{index}", np.full((1, 1), index, np.uint8), index) for index in range(count)]
    options = {"collate": torch.tensor, "memory_limit": memory_limit, "training": training}
    return Batches(samples, INPUT, batch_size=size, seed=seed, **options)


def rows(batches):
    return [(batch.indices.tolist(), batch.targets.tolist(), batch.images.flatten().tolist()) for batch in batches]


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 2**63), st.integers(0, 1000), st.data())
def test_any_start_and_either_path_give_the_same_bits(count, size, seed, epoch, data):
    memory, one_by_one = made(count, size, seed), made(count, size, seed, memory_limit=0)
    whole = rows(memory.epoch(epoch))
    start = data.draw(st.integers(0, len(whole)))
    assert rows(memory.epoch(epoch, start)) == whole[start:]
    assert rows(one_by_one.epoch(epoch, start)) == whole[start:]
    assert len(memory) == len(whole)
    assert not one_by_one.in_memory


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 50), st.integers(1, 20), st.booleans())
def test_every_sample_comes_once_and_training_never_gets_one_alone(count, size, training):
    batches = [indices for indices, _, _ in rows(made(count, size, 0, training=training).epoch(1))]
    flat = [index for indices in batches for index in indices]
    assert (sorted(flat) if training else flat) == list(range(count))
    assert all(len(indices) <= size + training for indices in batches)
    if training and count > 1 and size > 1:
        assert all(len(indices) > 1 for indices in batches)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_the_batch_size_changes_no_samples_augmentation(count, size, other, epoch):
    def pixels(size):
        return {
            index: pixel
            for indices, _, images in rows(made(count, size, 7).epoch(epoch))
            for index, pixel in zip(indices, images, strict=True)
        }

    assert pixels(size) == pixels(other)
