"""Tensors and what is said of them in one inert file: safetensors, with a JSON header and a sha256 of the whole file.

Nothing in such a file can run code. It is written whole or not at all, and read whole or not at all: a truncated or
lengthened file, a flipped bit anywhere or a file of another kind is an error, never a wrong number.

The file is safetensors' own format, so its tools read it: 8 bytes with the length of a JSON text, the text, padded with
blanks, and the tensors' bytes. It is written here because the sum stands at a fixed place, the first entry of the
text, where it covers every byte but its own 64 (which count as zeros); and because the tensors go to the disk one by
one, straight from their memory, summed up on the way. Strided tensors are written contiguous; whoever loads them
restores a memory format.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from plusx.errors import CheckpointError
from plusx.storage import replacing

HEADER = "plusx"
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
OPENING = b'{"__metadata__":{"sha256":"'
LENGTH, BLANK, BLOCK = 8, b"0" * 64, 8  # bytes of the text's length, of the sum, and that the text is padded to
SUM = slice(LENGTH + len(OPENING), LENGTH + len(OPENING) + len(BLANK))


def write_tensors(path: Path, kind: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and a header of plain JSON values to one file; equal content in equal order is equal bytes.

    Args:
        path: The file; its folder must exist.
        kind: What the file is: "checkpoint" or "state"; reading asks for the same.
        header: Plain JSON values.
        tensors: The tensors by name, on any device.

    Raises:
        StorageError: It could not be written; what stood at `path` still does.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that each is aligned
    digest = hashlib.sha256()
    with replacing(path) as file:
        for piece in _pieces({"kind": kind, **header}, {name: tensors[name] for name in names}):
            digest.update(piece)
            file.write(piece)
        file.seek(SUM.start)
        file.write(digest.hexdigest().encode())


def _pieces(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Yield the file's bytes in order, with a blank in the place of its sum."""
    entries: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    told = json.dumps(json.dumps(header))  # metadata hold texts only
    rest = "".join(f",{json.dumps(name)}:{json.dumps(entry)}" for name, entry in entries.items())
    text = OPENING + BLANK + f'","{HEADER}":{told}}}{rest}}}'.encode()
    text += b" " * (-len(text) % BLOCK)
    yield len(text).to_bytes(LENGTH, "little") + text
    for tensor in tensors.values():
        if tensor.numel():
            plain = tensor.detach().cpu().contiguous()
            yield plain.reshape(-1).view(torch.uint8).numpy().data


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
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error
    ours = content[LENGTH : SUM.start] == OPENING
    if ours and content[SUM] != _sum(content):
        raise _not_whole(path)
    try:
        tensors = load(content)
        about = json.loads(content[LENGTH : LENGTH + int.from_bytes(content[:LENGTH], "little")]).get("__metadata__")
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        if content[:4] == b"PK\x03\x04" or content[:1] == b"\x80":
            raise CheckpointError(
                f"{str(path)!r} is a PyTorch pickle, not a plusx {kind}; pickles can run code and are not opened here"
            ) from error
        raise CheckpointError(
            f"{str(path)!r} is damaged or is no safetensors file ({_first_line(error)}); use another copy of it"
        ) from error
    if HEADER not in (about or {}):
        raise CheckpointError(f"{str(path)!r} holds tensors but no plusx header; expected a plusx {kind} file")
    if not ours:
        raise _not_whole(path)
    header: dict[str, Any] = json.loads(about[HEADER])
    if header["kind"] != kind:
        raise CheckpointError(f"{str(path)!r} is a plusx {header['kind']} file; expected a {kind} file")
    return header, tensors


def _not_whole(path: Path) -> CheckpointError:
    return CheckpointError(f"{str(path)!r} is damaged: its content does not match its sha256; use another copy of it")


def _sum(content: bytes) -> bytes:
    """Return the sum that stands in an undamaged file."""
    whole = memoryview(content)
    digest = hashlib.sha256(whole[: SUM.start])
    digest.update(BLANK)
    digest.update(whole[SUM.stop :])
    return digest.hexdigest().encode()


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
