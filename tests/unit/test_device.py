import pytest
import tiny
import torch

from plusx.device import Device, choose_device
from plusx.errors import UsageError


@pytest.fixture
def hardware(monkeypatch):
    """Pretend to have a CPU with, or without, bfloat16 arithmetic, and no GPU."""

    def pretend(**capabilities):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "pretended", **capabilities})
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    return pretend


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx2": True}, "float32"),
    ],
)
def test_bfloat16_is_chosen_where_the_cpu_computes_in_it(hardware, capabilities, precision):
    hardware(**capabilities)
    chosen = choose_device()
    assert (chosen.name, chosen.precision, chosen.channels_last) == ("cpu", precision, True)
    assert chosen.hardware == "pretended"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_named_wins(hardware, precision):
    for capability in (True, False):
        hardware(amx_bf16=capability)
        assert choose_device("cpu", precision).precision == precision


def test_threads_are_set_and_told():
    assert choose_device("cpu", threads=2).threads == torch.get_num_threads() == 2
    assert choose_device("cpu", threads=0).threads == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gpu",), "no device is called 'gpu'; expected auto, cpu, cuda or cuda:N"),
        (("cuda:x",), "no device is called 'cuda:x'"),
        (("",), "no device is called ''"),
        (("cuda",), "device 'cuda' is not here: torch sees 0 NVIDIA GPUs; use --device cpu"),
        (("cuda:7",), "device 'cuda:7' is not here"),
        (("meta",), "device 'meta' is not supported"),
        (("cpu", "float23"), "no precision is called 'float23'; did you mean 'float32'"),
        (("cpu", "float32", -1), "threads is -1, but must be 0"),
    ],
)
def test_what_is_not_here_is_one_sentence(hardware, arguments, words):
    hardware()
    with pytest.raises(UsageError, match=words):
        choose_device(*arguments)


def test_other_kinds_of_device_are_one_sentence():
    with pytest.raises(UsageError, match="device 'mps' is not supported; expected auto, cpu, cuda or cuda:N"):
        choose_device("mps")


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"pretended {device.index}")
    for capability, precision, last in (((8, 0), "bfloat16", True), ((7, 5), "float32", False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        chosen = choose_device()
        assert (chosen.name, chosen.precision, chosen.channels_last) == ("cuda:0", precision, last)
        assert chosen.describe() == f"pretended 0 (cuda:0), {precision}, channels_{'last' if last else 'first'}"
    assert choose_device("cuda:1").name == "cuda:1"
    with pytest.raises(UsageError, match="torch sees 2 NVIDIA GPUs"):
        choose_device("cuda:2")


@pytest.mark.parametrize("last", [True, False])
def test_network_and_images_get_one_memory_format(last):
    device = Device(channels_last=last)
    network = device.place(tiny.network())
    weight = network.backbone.stages[0][0].conv1.weight
    images = device.place_images(torch.zeros(2, 3, 5, 5))
    for tensor in (weight, images):
        assert tensor.is_contiguous(memory_format=torch.channels_last) is last
        assert tensor.is_contiguous() is not last


def test_autocast_computes_in_the_precision():
    product = torch.ones(2, 2)
    for precision, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with Device(precision=precision).autocast():
            assert (product @ product).dtype is kind


def test_it_is_described_in_words():
    assert Device(threads=4, channels_last=True).describe() == "CPU (cpu, 4 threads), float32, channels_last"
