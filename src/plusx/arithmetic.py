"""What the bits of a run depend on beside its plan and its data: versions, device, instruction set, threads, ranks."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version

import torch

from plusx import kernels, ranks
from plusx.device import Device
from plusx.training import compilation

PACKAGES = ("plusx", "torch", "torchvision", "numpy", "pillow")
SETTINGS = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE", "MKL_CBWR", "CUBLAS_WORKSPACE_CONFIG",
)  # fmt: skip
"""Variables of the environment by which the libraries choose other instructions, or other precision."""
EXTENSIONS = ("avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_fp16")
CACHES = ("l1d_cache_size", "l2_cache_size")  # oneDNN cuts its sums into blocks that fit them


def arithmetic(device: Device) -> dict[str, str]:
    """Return by name all that decides, on this device, which bits the same plan and data give."""
    can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    instructions = [torch.backends.cpu.get_cpu_capability(), *(name for name in EXTENSIONS if can.get(name))]
    return {
        **_versions(),
        "device": device.kind,
        "ranks": str(ranks.count()),
        "hardware": device.hardware,
        "precision": device.precision,
        "memory format": "channels_last" if device.channels_last else "channels_first",
        "compiled": compilation.identity() if device.compiled else "no",
        **({"threads": str(device.threads), "kernels": kernels.identity()} if device.kind == "cpu" else {}),
        "instructions": " ".join(instructions),
        "caches": " ".join(str(can.get(name, "")) for name in CACHES),
        **{name: os.environ[name] for name in SETTINGS if name in os.environ},
    }


@cache
def _versions() -> dict[str, str]:
    """The versions, read once: a save must not depend on files of other packages."""
    return {package: version(package) for package in PACKAGES}


def differences(then: Sequence[Mapping[str, str]], now: Sequence[Mapping[str, str]]) -> list[str]:
    """Say what differs, rank by rank, each once and as "threads 2 -> 4", or "threads 2 -> 4 (rank 3)" if not on all."""
    found: dict[str, list[int]] = {}
    for rank, (before, after) in enumerate(zip(then, now, strict=False)):
        for name in dict.fromkeys((*after, *before)):
            if before.get(name) != after.get(name):
                said = f"{name} {before.get(name, 'unset')} -> {after.get(name, 'unset')}"
                found.setdefault(said, []).append(rank)
    return [
        said if on == list(range(len(now))) or len(then) != len(now) else f"{said} (rank {', '.join(map(str, on))})"
        for said, on in found.items()
    ]
