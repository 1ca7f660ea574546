import dataclasses
import multiprocessing
import signal
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from plusx.data import Sample
from plusx.data.batches import Batches
from plusx.data.cache import Cache
from plusx.data.workers import start_worker
from plusx.errors import DataError, UsageError
from plusx.events import result_of
from plusx.inputs import ImageInput

# A worker that coverage follows and that leaves nothing to measure would die of coverage's own warning.
pytestmark = pytest.mark.filterwarnings("ignore::coverage.exceptions.CoverageWarning")


@dataclass(frozen=True)
class Numbers:
    """An input of one pixel: a file's text or an array's value; augmenting adds a draw, preparing adds a half."""

    shape: tuple = (1, 1, 1)
    draws: ClassVar[int] = 2
    alternating: ClassVar[tuple] = ()

    def read(self, source):
        if isinstance(source, np.ndarray):
            return torch.from_numpy(source)[None].clone()
        width = int(source.read_text())
        if width == 0:
            raise DataError("is empty")
        return torch.full((1, 1, width), int(source.stem), dtype=torch.uint8)

    def read_augmented(self, source, numbers):
        return self.augment_batch(self.read(source)[None], numbers[None])[0]

    def hold(self, images, memory_limit):
        return Holding(self, images)

    def augment_batch(self, images, numbers):
        assert numbers.shape == (len(images), 2)
        values = (torch.from_numpy(numbers[:, 1]) * 256).to(torch.uint8)
        return images[..., :1] ^ values[:, None, None, None]

    def finish(self, images, into=None):
        return images.reshape(-1, 1, 1, 1).to(torch.float32) / 2

    def at_size(self, height, width):
        return Numbers((1, height, width))

    def prepare(self, image):
        return image[..., :1].to(torch.float32) + 0.5


@dataclass(frozen=True)
class Holding:
    look: Numbers
    images: torch.Tensor
    draws: ClassVar[int] = 2

    def __call__(self, places, numbers):
        return self.look.finish(self.look.augment_batch(self.images[torch.from_numpy(places)], numbers))


def arrays(count, size=1):
    return [Sample(f"{index}", np.full((size, size), index % 256, np.uint8), index % 3) for index in range(count)]


def files(folder, count, width=lambda index: 1):
    for index in range(count):
        (folder / f"{index}.txt").write_text(str(width(index)))
    return [Sample(f"{index}.txt", folder / f"{index}.txt", index % 3) for index in range(count)]


def batches(samples, training=True, **options):
    options = {"batch_size": 4, "collate": torch.tensor, "seed": 5} | options
    return Batches(samples, Numbers(), training=training, **options)


def bits(made, number=0, start=0):
    return [
        (batch.indices.tolist(), batch.targets.tolist(), batch.images.flatten().tolist())
        for batch in made.epoch(number, start)
    ]


def test_evaluation_is_in_order_and_prepared():
    made = batches(arrays(6), training=False)
    found = bits(made)
    assert [indices for indices, _, _ in found] == [[0, 1, 2, 3], [4, 5]]
    assert found[1] == ([4, 5], [1, 2], [4.5, 5.5])
    assert len(made) == 2
    assert made.in_memory
    assert bits(made, number=3) == found


def test_training_visits_every_sample_once_in_a_new_order():
    made = batches(arrays(23))
    first, second = bits(made, 0), bits(made, 1)
    assert sorted(index for indices, _, _ in first for index in indices) == list(range(23))
    assert first == bits(made, 0)
    assert [one[0] for one in first] != [one[0] for one in second]
    assert bits(batches(arrays(23), seed=6)) != first
    for indices, targets, _ in first:
        assert targets == [index % 3 for index in indices]


@pytest.mark.parametrize(("count", "sizes"), [(9, [4, 5]), (1, [1]), (8, [4, 4]), (10, [4, 4, 2]), (0, []), (3, [3])])
def test_a_last_batch_of_one_joins_the_one_before(count, sizes):
    made = batches(arrays(count))
    assert [len(batch.indices) for batch in made.epoch()] == sizes
    assert len(made) == len(sizes)
    assert [len(batch.indices) for batch in batches(arrays(9), training=False).epoch()] == [4, 4, 1]


def test_a_batch_size_of_one_stays():
    assert [len(batch.indices) for batch in batches(arrays(3), batch_size=1).epoch()] == [1, 2]


@pytest.mark.parametrize("training", [True, False])
def test_the_same_bits_from_memory_and_from_files_whatever_the_workers(tmp_path, training):
    samples = files(tmp_path, 23)
    expected = bits(batches(samples, training, shape=(1, 1, 1)), 2)
    state = torch.get_rng_state()
    for workers in (0, 1, 2):
        made = batches(samples, training, workers=workers, memory_limit=22, shape=(1, 1, 1))
        assert not made.in_memory
        assert bits(made, 2) == expected
        assert bits(made, 2, start=3) == expected[3:]
    assert torch.equal(torch.get_rng_state(), state), "the network's own random numbers are left alone"
    assert batches(samples, training, memory_limit=23, shape=(1, 1, 1)).in_memory


def test_where_images_are_held_is_known_before_any_is_read(tmp_path):
    missing = [Sample(f"{index}", tmp_path / f"{index}", 0) for index in range(3)]
    assert not batches(missing).in_memory
    assert batches(missing, shape=(3, 10, 10), memory_limit=900).in_memory
    assert not batches(missing, shape=(3, 10, 10), memory_limit=899).in_memory
    assert batches(arrays(3, size=2), memory_limit=12).in_memory
    assert not batches(arrays(3, size=2), memory_limit=11).in_memory
    assert not batches(arrays(3) + arrays(1, size=2)).in_memory
    assert not batches(arrays(3) + missing).in_memory


def test_an_image_that_has_another_size_than_it_had_is_named(tmp_path):
    made = batches(files(tmp_path, 9, width=lambda index: 1 + index // 8), shape=(1, 1, 1))
    with pytest.raises(
        DataError, match=r"'8\.txt' has changed: .* \(1, 1, 2\), and when it was checked .* \(1, 1, 1\)"
    ):
        next(made.epoch())


def test_only_training_from_files_reads_what_training_needs(tmp_path, monkeypatch):
    plain = Numbers.read_augmented
    monkeypatch.setattr(Numbers, "read_augmented", lambda self, source, numbers: plain(self, source, numbers) ^ 1)
    samples = files(tmp_path, 3)
    assert sorted(bits(batches(samples, training=False))[0][2]) == [0.5, 1.5, 2.5]
    exact = bits(batches(samples, shape=(1, 1, 1)))
    assert exact != bits(batches(samples))
    monkeypatch.undo()
    assert exact == bits(batches(samples))


def test_images_of_different_sizes_are_read_each_time(tmp_path):
    samples = files(tmp_path, 9, width=lambda index: 1 + index // 8)
    made = batches(samples)
    assert not made.in_memory
    assert bits(made) == bits(batches(files(tmp_path, 9)))
    assert len(bits(batches(samples, training=False))) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_can_no_longer_be_read_is_named(tmp_path, workers):
    samples = files(tmp_path, 8, width=lambda index: 1 + index % 2)
    made = batches(samples, training=False, workers=workers)
    assert not made.in_memory
    (tmp_path / "6.txt").write_text("0")
    found = made.epoch()
    assert next(found).indices.tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"'6\.txt' can no longer be read: is empty"):
        next(found)
    (tmp_path / "6.txt").unlink()
    with pytest.raises(DataError, match=r"'6\.txt' can no longer be read: No such file"):
        list(made.epoch())
    with pytest.raises(DataError, match=r"'6\.txt'"):
        list(batches(files(tmp_path, 6) + samples[6:], shape=(1, 1, 1)).epoch())


@pytest.mark.parametrize("workers", [0, 1])
def test_where_memory_lacks_no_file_is_to_blame(tmp_path, workers, monkeypatch):
    samples = files(tmp_path, 8, width=lambda index: 1 + index % 2)
    made = batches(samples, training=False, workers=workers)

    def read(_, source):
        raise DataError("it is too large for this machine's memory") from MemoryError()

    monkeypatch.setattr(type(made.input), "read", read)
    with pytest.raises(MemoryError, match="too large"):
        list(made.epoch())


def test_a_fault_in_a_worker_is_not_hidden(tmp_path):
    samples = files(tmp_path, 8, width=lambda index: 1 + index % 2)
    made = batches(samples, training=False, workers=1)
    assert not made.in_memory
    (tmp_path / "6.txt").write_text("no number")
    with pytest.raises(ValueError, match="no number"):
        list(made.epoch())
    assert multiprocessing.active_children() == []


def test_leaving_an_epoch_ends_its_workers(tmp_path):
    samples = files(tmp_path, 40, width=lambda index: 1 + index % 2)
    made = batches(samples, workers=2)
    epoch = made.epoch()
    next(epoch)
    children = multiprocessing.active_children()
    assert len(children) == 2
    began = time.perf_counter()
    epoch.close()
    assert not any(child.is_alive() for child in children)
    assert time.perf_counter() - began < 4, "they were not asked, but waited for"
    assert len(bits(made)) == 10


def test_samples_without_a_class_get_minus_one():
    samples = [Sample("x", np.zeros((1, 1), np.uint8), None)]
    assert next(iter(batches(samples, training=False).epoch())).targets.tolist() == [-1]


def test_reading_into_memory_tells_its_progress():
    made = batches(arrays(250))
    events = list(made.load())
    assert len(events) == 125
    assert (events[-1].done, events[-1].total) == (250, 250)
    assert list(made.load()) == []
    assert made.in_memory


def test_workers_leave_signals_to_the_run():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads = torch.get_num_threads()
    try:
        start_worker()
        assert torch.get_num_threads() == 1
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
        torch.set_num_threads(threads)


@pytest.mark.parametrize("policy", ["none", "randaugment"])
def test_the_image_input_gives_the_same_bits_on_both_paths(policy):
    generator = np.random.default_rng(0)
    samples = [Sample(f"{index}", generator.integers(0, 256, (12, 12, 3), np.uint8), index % 3) for index in range(11)]
    image = ImageInput(10, 10, 3, (0.5,) * 3, (0.25,) * 3, flip=True, pad_and_crop=2, cutout=3, policy=policy)
    options = {"batch_size": 4, "collate": torch.tensor, "seed": 1}
    for training in (True, False):
        memory = Batches(samples, image, training=training, **options)
        one_by_one = Batches(samples, image, training=training, memory_limit=1, workers=1, **options)
        assert memory.in_memory
        assert not one_by_one.in_memory
        for ours, theirs in zip(memory.epoch(3), one_by_one.epoch(3), strict=True):
            assert ours.images.shape[1:] == (3, 10, 10)
            assert ours.images.dtype == torch.float32
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.targets, theirs.targets)
    assert result_of(memory.load()) is None


@pytest.mark.parametrize("count", [1, 2, 7, 23])
@pytest.mark.parametrize("ranks", [1, 2, 5])
@pytest.mark.parametrize("memory_limit", [0, 10**6])
def test_in_evaluation_each_sample_is_one_ranks(count, ranks, memory_limit):
    options = {"memory_limit": memory_limit, "shape": (1, 1, 1)}
    options["training"] = False
    alone = {row[0]: row[1:] for one in bits(batches(arrays(count), **options)) for row in zip(*one, strict=True)}
    together = {}
    for rank in range(ranks):
        made = batches(arrays(count), rank=rank, ranks=ranks, **options)
        found = list(made.epoch())
        assert len(found) == len(made)
        assert [index for batch in found for index in batch.indices.tolist()] == list(made.part)
        assert all(batch.total == len(batch.indices) for batch in found)
        rows = [row for one in bits(made) for row in zip(*one, strict=True)]
        assert together.keys().isdisjoint(row[0] for row in rows)
        together |= {row[0]: row[1:] for row in rows}
    assert together == alone


@pytest.mark.parametrize("memory_limit", [0, 10**6])
def test_in_training_the_ranks_share_each_step_out(memory_limit):
    options = {"batch_size": 6, "memory_limit": memory_limit, "repeats": 2}
    alone = list(batches(arrays(24), **options).epoch(2))
    parts = [batches(arrays(24), rank=rank, ranks=3, **options) for rank in range(3)]
    assert {len(part) for part in parts} == {4} == {len(list(part.epoch(2))) for part in parts}
    assert parts[0].part == range(24)
    for rows in zip(*(part.epoch(2) for part in parts), strict=True):
        assert len({batch.total for batch in rows}) == 1
    joined = [
        torch.cat([batch.images for batch in rows]) for rows in zip(*(part.epoch(2) for part in parts), strict=True)
    ]
    assert torch.cat(joined).equal(torch.cat([batch.images for batch in alone]))


def test_copies_of_a_sample_differ_and_the_first_is_what_it_was():
    plain = {
        index: value for found in bits(batches(arrays(24))) for index, value in zip(found[0], found[2], strict=True)
    }
    for indices, _, values in bits(batches(arrays(24), repeats=2)):
        firsts, seconds = values[:2], values[2:]
        assert indices[:2] == indices[2:]
        assert firsts == [plain[index] for index in indices[:2]]
        assert all(first != second for first, second in zip(firsts, seconds, strict=True))


def test_impossible_shares_are_refused():
    with pytest.raises(UsageError, match=r"a step of 4 samples leaves some of 5 ranks fewer than 2; use a larger"):
        batches(arrays(9), ranks=5)
    with pytest.raises(UsageError, match="a step of 3 samples"):
        batches(arrays(3), ranks=4)
    with pytest.raises(UsageError, match="repeats is 0"):
        batches(arrays(3), repeats=0)
    assert len(batches(arrays(3), training=False, ranks=4, rank=3)) == 0


@pytest.mark.parametrize("memory_limit", [0, 10**6])
def test_an_epochs_size_is_that_of_its_images_and_of_an_input_made_for_it(memory_limit):
    generator = np.random.default_rng(0)
    samples = [Sample(f"{index}", generator.integers(0, 256, (16, 16, 3), np.uint8), index % 3) for index in range(9)]
    look = ImageInput(16, 16, 3, (0.5,) * 3, (0.25,) * 3, flip=True, pad_and_crop=4, cutout=4)
    options = {"batch_size": 4, "collate": torch.tensor, "training": True, "memory_limit": memory_limit}
    made = Batches(samples, look, sizes=lambda epoch: (8 + 4 * epoch, 8 + 4 * epoch), **options)
    for epoch in (0, 1, 2, 0):
        side = 8 + 4 * epoch
        small = dataclasses.replace(look, height=side, width=side, pad_and_crop=side // 4, cutout=side // 4)
        expected = Batches(samples, small, **options)
        for ours, theirs in zip(made.epoch(epoch), expected.epoch(epoch), strict=True):
            assert ours.images.shape[2:] == (side, side)
            assert ours.images.equal(theirs.images)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_reads_from_a_cache_and_evaluation_does_not(tmp_path, workers):
    generator = np.random.default_rng(0)
    samples = []
    for index in range(9):
        path = tmp_path / f"{index}.png"
        Image.fromarray(generator.integers(0, 256, (40 + index, 30, 3), np.uint8)).save(path)
        samples.append(Sample(path.name, path, 0))
    look = ImageInput(16, 16, 3, (0.5,) * 3, (0.25,) * 3, flip=True, pad_and_crop=2)
    options = {"batch_size": 4, "collate": torch.tensor, "workers": workers}
    expected = [batch.images for batch in Batches(samples, look, training=True, **options).epoch(1)]
    cache = Cache(tmp_path / "cache", look.reduced, look.to_dict())
    made = Batches(samples, look, training=True, cache=cache, **options)
    events = list(made.load())
    assert events[-1].activity == "filling the cache"
    assert made.cached
    for sample in samples:
        sample.source.unlink()
    assert all(map(torch.equal, [batch.images for batch in made.epoch(1)], expected))
    assert not Batches(samples, look, training=False, cache=cache, **options).cached
    assert not Batches(arrays(3), look, training=True, cache=cache, batch_size=2, collate=torch.tensor).cached
