"""What the bits of a run depend on beside its plan and its data: versions, device, instruction set, threads, ranks."""

import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

import torch

from plusx import kernels, ranks
from plusx.device import Device

PACKAGES = ("plusx", "torch", "torchvision", "numpy", "pillow")
SETTINGS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "CUBLAS_WORKSPACE_CONFIG")
"""Variables of the environment by which the libraries choose other instructions."""
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
        "compiled": "yes" if device.compiled else "no",
        **({"threads": str(device.threads), "kernels": kernels.identity()} if device.kind == "cpu" else {}),
        "instructions": " ".join(instructions),
        "caches": " ".join(str(can.get(name, "")) for name in CACHES),
        **{name: os.environ[name] for name in SETTINGS if name in os.environ},
    }


@cache
def _versions() -> dict[str, str]:
    """The versions, read once: a save must not depend on files of other packages."""
    return {package: version(package) for package in PACKAGES}


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say what differs, each as "threads 2 -> 4"."""
    return [
        f"{name} {then.get(name, 'unset')} -> {now.get(name, 'unset')}"
        for name in dict.fromkeys((*now, *then))
        if then.get(name) != now.get(name)
    ]
