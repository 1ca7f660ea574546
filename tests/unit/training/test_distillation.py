import dataclasses
import hashlib

import numpy as np
import pytest
import tiny
import torch
from torch.nn import functional

from plusx.checkpoint import Checkpoint
from plusx.device import Device
from plusx.errors import CheckpointError, UsageError
from plusx.tasks.classification import Classification
from plusx.tasks.task import Taught
from plusx.training.distillation import Teacher
from plusx.training.loop import train
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe
from plusx.training.step import Stepping

STUDENT_INPUT = dataclasses.replace(tiny.INPUT, mean=(0.2,), deviation=(0.7,))
STUDENT_TASK = Classification(("low", "上", "middle"))  # the teacher's classes in another order


@pytest.fixture
def teacher_file(tmp_path):
    path = tmp_path / "teacher.safetensors"
    tiny.checkpoint(seed=4).save(path)
    return path


def test_the_teacher_sees_the_images_as_it_is_used_to_and_answers_in_the_students_order(teacher_file):
    teacher = Teacher.load(str(teacher_file), STUDENT_TASK, STUDENT_INPUT, Device())
    pixels = torch.from_numpy(np.stack([tiny.pixels(target, 3) for target in range(3)]))[:, None]
    targets = torch.tensor([1, 2, 0])
    taught = teacher(STUDENT_INPUT.prepare(pixels), targets)
    network = Checkpoint.load(teacher_file).network()
    expected = network(tiny.INPUT.prepare(pixels)).detach()
    torch.testing.assert_close(taught.answers, expected[:, [2, 0, 1]], rtol=1e-4, atol=1e-5)
    assert taught.targets is targets
    assert not taught.answers.requires_grad
    assert not teacher.network.training
    assert teacher.sha256 == hashlib.sha256(teacher_file.read_bytes()).hexdigest()


def test_a_slice_of_taught_targets_is_that_of_both():
    part = Taught(torch.arange(6), torch.arange(12).view(6, 2))[slice(2, 4)]
    assert part.targets.tolist() == [2, 3]
    assert part.answers.tolist() == [[4, 5], [6, 7]]


def test_a_teacher_that_does_not_know_a_class_is_refused(teacher_file):
    with pytest.raises(UsageError, match="does not know the class 'left'; it knows 上, middle, low"):
        Teacher.load(str(teacher_file), Classification(("low", "left")), STUDENT_INPUT, Device())


def test_a_teacher_of_other_channels_is_refused(teacher_file):
    color = dataclasses.replace(tiny.INPUT, channels=3, mean=(0.2,) * 3, deviation=(0.7,) * 3)
    with pytest.raises(UsageError, match="takes images of 1 channels, but these have 3; use --channels 1"):
        Teacher.load(str(teacher_file), tiny.TASK, color, Device())


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        Teacher.load(str(tmp_path / "no.safetensors"), tiny.TASK, tiny.INPUT, Device())


def test_a_step_is_taught_by_the_answers_for_its_own_images(teacher_file):
    """The first step's gradient is that of the formula: (1 - a) cross-entropy + a T^2 KL."""
    task = dataclasses.replace(tiny.TASK, teacher_share=0.3, teacher_temperature=4.0)
    teacher = Teacher.load(str(teacher_file), task, tiny.AUGMENTED, Device())
    recipe = Recipe(
        epochs=1, batch_size=4, learning_rate=0.5, momentum=0.0, weight_decay=0.0, schedule="constant", mixup=1.0
    )
    batches = tiny.batches(input=tiny.AUGMENTED)
    network, twin = tiny.network(), tiny.network()
    progress = Progress(network, recipe)
    next(train(network, task, batches, recipe, progress, teach=teacher))
    images, targets = Stepping(task, recipe, Progress(twin, recipe), Device(), seed=3)._placed(next(batches.epoch()))
    outputs, answers = twin.train()(images), teacher.network(images).detach()
    own = -(targets * outputs.log_softmax(1)).sum(1).mean()
    wanted, found = (answers / 4).softmax(1), (outputs / 4).softmax(1)
    distance = 16 * (wanted * (wanted / found).log()).sum(1).mean()
    loss = 0.7 * own + 0.3 * distance
    loss.backward()
    for after, before in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(after, before - 0.5 * before.grad, rtol=1e-4, atol=1e-6)
    assert progress.sums["loss"].item() / 4 == pytest.approx(loss.item(), rel=1e-5)
    assert targets.shape == (4, 3)


def test_a_network_learns_from_the_teacher_alone(teacher_file):
    """Nothing of the loss is the targets' own: the student ends near to its teacher, whatever the classes are."""
    task = dataclasses.replace(tiny.TASK, teacher_share=1.0, teacher_temperature=1.0)
    teacher = Teacher.load(str(teacher_file), task, tiny.INPUT, Device())
    recipe = Recipe(epochs=40, batch_size=12, learning_rate=0.1, schedule="one_cycle", weight_decay=0.0)
    batches = tiny.batches(24, batch_size=12)
    progress = Progress(tiny.network(seed=8), recipe)
    distances = []
    for _ in train(progress.network, task, batches, recipe, progress, teach=teacher):
        if progress.epoch_ended:
            distances.append(progress.history[-1]["train_loss"])
            progress.record({"accuracy": 0.5})
    assert distances[-1] < distances[0] / 10


def test_micro_batches_are_taught_part_by_part(teacher_file):
    sizes = []
    teacher = Teacher.load(str(teacher_file), tiny.TASK, tiny.INPUT, Device())
    teacher.network.register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    recipe = Recipe(epochs=1, batch_size=8)
    progress = Progress(tiny.network(), recipe)
    progress.micro_batches = 2
    for _ in train(progress.network, tiny.TASK, tiny.batches(8, batch_size=8), recipe, progress, teach=teacher):
        pass
    assert sizes == [4, 4]


def test_the_distance_is_torchs_and_zero_to_oneself():
    task = dataclasses.replace(tiny.TASK, teacher_share=0.5, teacher_temperature=3.0)
    outputs, answers = torch.randn(5, 3), torch.randn(5, 3)
    losses = task.losses(outputs, Taught(torch.tensor([0, 1, 2, 0, 1]), answers))
    soft = functional.cross_entropy(outputs / 3, (answers / 3).softmax(1))
    entropy = functional.cross_entropy(answers / 3, (answers / 3).softmax(1))
    assert losses["teacher"].item() == pytest.approx(0.5 * 9 * (soft - entropy).item(), rel=1e-4)
    same = task.losses(outputs, Taught(torch.tensor([0, 1, 2, 0, 1]), outputs))
    assert same["teacher"].item() == pytest.approx(0, abs=1e-5)
    own = functional.cross_entropy(outputs, torch.tensor([0, 1, 2, 0, 1]))
    assert same["cross_entropy"].item() == pytest.approx(0.5 * own.item())
