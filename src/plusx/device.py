"""Where and how a network computes: device, precision, memory format and threads.

bfloat16 and channels_last are chosen where the hardware gains from them. Measured on CPUs with AVX512-BF16 or AMX, a
training step of ResNet-20 (batch 128, 32 px) takes half of its float32 time in bfloat16 with channels_last
(benchmarks/training_step.py); without such instructions bfloat16 is emulated and slower. The choice follows the
instruction set, not a stopwatch, so the same machine always makes the same one, and a run keeps it.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from plusx import launch, ranks
from plusx.errors import UsageError, look_up

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""The layouts that put the channels last, by the axes that a tensor has."""


@dataclass(frozen=True)
class Device:
    """A device with the way to use it; plain data, kept with a run because each part of it changes bits."""

    name: str = "cpu"
    precision: str = "float32"
    channels_last: bool = False
    threads: int = 1
    compiled: bool = False
    hardware: str = "CPU"

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute convolutions and matrix products in this precision inside the block."""
        return torch.autocast(self.kind, torch.bfloat16, enabled=self.precision == "bfloat16")

    @property
    def kind(self) -> str:
        """The device's type as torch names it: "cpu" or "cuda"."""
        return torch.device(self.name).type

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device, in its memory format."""
        network.to(self.name)
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = tensor.data.contiguous(memory_format=self.layout(tensor.ndim))
        return network

    def place_images(self, images: torch.Tensor) -> torch.Tensor:
        """Move (B, C, H, W) images to the device, in its memory format."""
        return images.to(self.name, memory_format=self.layout(images.ndim), non_blocking=True)

    def layout(self, axes: int) -> torch.memory_format:
        """Return the memory format of tensors with this many axes: images have 4, volumes 5."""
        return LAYOUTS.get(axes, torch.contiguous_format) if self.channels_last else torch.contiguous_format

    def describe(self) -> str:
        """Say in words what computes, how."""
        layout = "channels_last" if self.channels_last else "channels_first"
        threads = f", {self.threads} threads" if self.kind == "cpu" else ""
        each = f", each of {ranks.count()} processes" if ranks.count() > 1 else ""
        return f"{self.hardware} ({self.name}{threads}), {self.precision}, {layout}{each}"


def choose_device(name: str = "auto", precision: str = "auto", threads: int = 0) -> Device:
    """Choose how to compute.

    Args:
        name: "auto" (an NVIDIA GPU if there is one), "cpu", "cuda", "cuda:1"; of several ranks on a machine, each takes
            a GPU of its own, whichever of them is named.
        precision: "auto" (bfloat16 where the hardware computes in it), "float32", "bfloat16".
        threads: CPU threads; 0 takes what torch takes, or this rank's share of the machine's cores.

    Raises:
        UsageError: There is no such device or precision here.
    """
    if precision != "auto":
        look_up("precision", precision, PRECISIONS)
    if threads < 0:
        raise UsageError(f"threads is {threads}, but must be 0 (as many as there are cores) or more")
    if threads := threads or launch.threads():
        torch.set_num_threads(threads)
    device = _device_named(name)
    native = _computes_bfloat16(device)
    return Device(
        name=str(device),
        precision=("bfloat16" if native else "float32") if precision == "auto" else precision,
        channels_last=native or device.type == "cpu",
        threads=torch.get_num_threads(),
        hardware=_hardware(device),
    )


def _device_named(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device is called {name!r}; expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if launch.local_ranks() > 1:
            return _own_gpu(count)
        if (device.index or 0) >= count:
            raise UsageError(f"device {name!r} is not here: torch sees {count} NVIDIA GPUs; use --device cpu")
        return torch.device("cuda", device.index or 0)
    if device.type not in {"cpu", "cuda"}:
        raise UsageError(f"device {name!r} is not supported; expected auto, cpu, cuda or cuda:N")
    return device


def _own_gpu(count: int) -> torch.device:
    place = launch.place()
    local_rank = place.local_rank if place else 0
    if local_rank >= count:
        raise UsageError(
            f"there are {launch.local_ranks()} processes on this machine, but torch sees {count} NVIDIA GPUs; use "
            f"torchrun --nproc-per-node {max(1, count)}, or --device cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _computes_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has bfloat16 arithmetic of its own, rather than an emulation."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        can = torch.cpu.get_capabilities()
        return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    return False


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        return str(torch.cpu.get_capabilities().get("cpu_name", "CPU")) or "CPU"
    return device.type.upper()
