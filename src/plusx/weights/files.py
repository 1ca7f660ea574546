"""Files and folders of other people's weights, read without running anything that they hold.

safetensors holds tensors only. A PyTorch file is a pickle, which may hold calls of any function: it is read by torch's
restricted reader, which makes tensors and plain containers and refuses everything else.
"""

import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from plusx.errors import CheckpointError
from plusx.tensor_file import HEADER

PICKLE_SUFFIXES = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar")
NESTED = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net", "network")
"""Under which keys a training program keeps its state dict, averaged weights first, as timm prefers them."""

FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
CONFIG = "config.json"
REFUSED = re.compile(r"GLOBAL (\S+) (?:was|whose)")


@dataclass(frozen=True)
class Content:
    """What a file of weights holds.

    Attributes:
        file: The file with the tensors.
        state: The tensors by their own names.
        about: What a safetensors file says of itself.
        config: What the config.json beside it says.
        notes: Sentences for a person.
    """

    file: Path
    state: Mapping[str, Tensor]
    about: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()


def read_content(path: Path) -> Content:
    """Read a file of weights, or a folder with one and a config.json, as the Hugging Face hub and timm write it.

    Raises:
        CheckpointError: It is not there, empty, damaged, of no known kind, without tensors, or asks to run something.
    """
    if path.is_dir():
        return _folder(path)
    start = _start(path)
    if start[8:9] == b"{":
        return _safetensors(path)
    if _is_pickle(start):
        return _pickle(path)
    raise CheckpointError(
        f"{str(path)!r} is damaged or holds no weights; expected a .safetensors file or a PyTorch state dict "
        f"({', '.join(PICKLE_SUFFIXES[:3])})"
    )


def is_foreign(path: Path) -> bool:
    """Return whether a path holds other people's weights, rather than a run or a checkpoint of ours, or nothing."""
    if path.is_dir():
        return any((path / file).is_file() for file in (CONFIG, *FOLDER_FILES))
    if not path.is_file():
        return False
    if path.suffix.lower() in PICKLE_SUFFIXES or _is_pickle(_start(path, allow_empty=True)):
        return True
    try:
        with safe_open(path, framework="pt") as file:
            return HEADER not in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError):
        return False


def _is_pickle(start: bytes) -> bool:
    """Whether a file that begins so is a PyTorch pickle; safetensors has its header's brace at the ninth byte."""
    return start[8:9] != b"{" and (start[:4] == b"PK\x03\x04" or start[:1] == b"\x80")


def _start(path: Path, *, allow_empty: bool = False) -> bytes:
    """The first bytes, which tell the kinds apart whatever the suffix says."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"the weights {str(path)!r} do not exist; expected a file (.safetensors, .pth ...), the folder of a run, "
            "or a published name; plusx weights list shows these"
        ) from error
    except OSError as error:
        raise CheckpointError(f"the weights {str(path)!r} cannot be read: {error.strerror}") from error
    if not start and not allow_empty:
        raise CheckpointError(f"the weights {str(path)!r} are an empty file; use another copy")
    return start


def _folder(path: Path) -> Content:
    files = [path / name for name in FOLDER_FILES if (path / name).is_file()]
    if not files:
        raise CheckpointError(
            f"the folder {str(path)!r} holds no weights; expected a run's folder (weights/best.safetensors) or one "
            f"with {CONFIG} and {FOLDER_FILES[0]}"
        )
    content = read_content(files[0])
    return Content(files[0], content.state, content.about, _config(path / CONFIG), content.notes)


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read as JSON ({error}); mend it or remove it") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{str(path)!r} is no JSON object; mend it or remove it")
    return config


def _safetensors(path: Path) -> Content:
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return Content(path, _checked(path, state), about)


def _pickle(path: Path) -> Content:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats; the file is read or refused all the same
            if path.suffix == ".safetensors":  # torch would go by the suffix
                with path.open("rb") as file:
                    held = torch.load(file, weights_only=True, map_location="cpu")
            else:
                held = torch.load(path, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged file may make torch raise anything
        text = str(error)
        if "Weights only load failed" not in text and "weights_only" not in text:
            raise _damaged(path, error) from error
        asked = REFUSED.search(text)
        what = f"asks for {asked[1]!r}" if asked else "is damaged or holds more than tensors"
        raise CheckpointError(
            f"{str(path)!r} {what}; as a pickle can run code of its maker's, it was not opened and nothing was run; "
            "where it was made, save the tensors only: torch.save(model.state_dict(), FILE)"
        ) from error
    name = next((name for name in NESTED if isinstance(held, dict) and isinstance(held.get(name), dict)), "")
    notes = (f"of {path.name!r} the averaged weights, {name!r}, are used",) if name.endswith("_ema") else ()
    return Content(path, _checked(path, held[name] if name else held), notes=notes)


def _checked(path: Path, state: object) -> dict[str, Tensor]:
    """A state dict holds tensors by name, and nothing else."""
    if not isinstance(state, dict) or not state:
        found = with_article(state) if not isinstance(state, dict) else "no tensors"
        raise CheckpointError(f"{str(path)!r} holds {found}; expected a state dict: tensors by name")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{str(path)!r} holds {with_article(value)} under {key!r}; expected a state dict: tensors by name"
            )
    refuse_not_finite(str(path), state)
    return dict(state)


def with_article(value: object) -> str:
    """Return what a value is, in words: "a list", "an OrderedDict"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def refuse_not_finite(origin: str, state: Mapping[str, Tensor]) -> None:
    """Check that every number is finite.

    Raises:
        CheckpointError: One is not a number, or infinite.
    """
    floats = {key: one for key, one in state.items() if one.is_floating_point()}
    # Of numbers in one byte torch cannot ask it.
    wide = {key: one.float() if one.itemsize == 1 else one for key, one in floats.items()}
    bad = [key for key, one in wide.items() if not bool(one.isfinite().all())]
    if bad:
        more = f" and {len(bad) - 1:,} more" if len(bad) > 1 else ""
        raise CheckpointError(
            f"{origin!r} holds numbers that are not finite, in {bad[0]!r}{more}; use another copy, or weights of a "
            "training that did not diverge"
        )


def _damaged(path: Path, error: BaseException) -> CheckpointError:
    why = " ".join((str(error) or type(error).__name__).split()).split(". ")[0][:120]
    return CheckpointError(f"the weights {str(path)!r} are damaged or incomplete ({why}); use another copy of the file")
