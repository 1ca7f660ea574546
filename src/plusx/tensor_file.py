"""Tensors and what is said of them in one inert file: safetensors, with a JSON header and a sha256 of everything.

Nothing in such a file can run code. It is written whole or not at all, and read whole or not at all: a truncated file,
a flipped bit or a file of another kind is an error, never a wrong number. safetensors refuses shared and strided
tensors, so each is made contiguous and given its own bytes on saving; whoever loads them restores a memory format.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from plusx.errors import CheckpointError
from plusx.storage import write_bytes

HEADER = "plusx"


def write_tensors(
    path: Path, kind: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor], *, keep: Path | None = None
) -> None:
    """Write tensors and a header of plain JSON values to one file.

    Args:
        path: The file; its folder must exist.
        kind: What the file is: "checkpoint" or "state"; reading asks for the same.
        header: Plain JSON values.
        tensors: The tensors by name, on any device.
        keep: Where the file that stood at `path` goes.

    Raises:
        StorageError: It could not be written; what stood at `path` still does.
    """
    told = {"kind": kind, **header}
    flat = _apart(tensors)
    # One key: safetensors writes several in a random order, and equal content should be equal bytes.
    content = save(flat, metadata={HEADER: _text({"sha256": _digest(told, flat), "header": told})})
    write_bytes(path, content, keep=keep)


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file that `write_tensors` wrote, and check every byte of it.

    Returns:
        The header and the tensors, on the CPU.

    Raises:
        CheckpointError: There is no such file, or it is damaged, or it is of another kind.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{str(path)!r} {found}; expected a plusx {kind} file (.safetensors)")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        if _is_pickle(path):
            raise CheckpointError(
                f"{str(path)!r} is a PyTorch pickle, not a plusx {kind}; pickles can run code and are not opened here"
            ) from error
        raise CheckpointError(
            f"{str(path)!r} is damaged or is no safetensors file ({_first_line(error)}); use another copy of it"
        ) from error
    if HEADER not in about:
        raise CheckpointError(f"{str(path)!r} holds tensors but no plusx header; expected a plusx {kind} file")
    sealed: Any = None
    try:
        sealed = json.loads(about[HEADER])
        whole = sealed["sha256"] == _digest(sealed["header"], tensors)
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise CheckpointError(
            f"{str(path)!r} is damaged: its content does not match its sha256; use another copy of it"
        )
    header: dict[str, Any] = sealed["header"]
    if header["kind"] != kind:
        raise CheckpointError(f"{str(path)!r} is a plusx {header['kind']} file; expected a {kind} file")
    return header, tensors


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, each contiguous and in memory of its own."""
    apart: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        one = tensor.detach().cpu().contiguous()
        if one.untyped_storage().data_ptr() in taken:
            one = one.clone()
        taken.add(one.untyped_storage().data_ptr())
        apart[name] = one
    return apart


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(_text(header).encode("utf-8"))
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def _is_pickle(path: Path) -> bool:
    """Say whether a file begins as a PyTorch pickle does; a sound file may by chance, so only ask it of others."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return False
    return start == b"PK\x03\x04" or start[:1] == b"\x80"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
