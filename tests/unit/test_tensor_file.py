import io
import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from plusx.errors import CheckpointError
from plusx.tensor_file import read_tensors, write_tensors

HEADER = {"classes": ["猫", "dog"], "score": 0.5, "none": None}
TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "flags": torch.tensor([True, False]),
}


def same(first, second):
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.safetensors"
    write_tensors(path, "checkpoint", HEADER, TENSORS)
    return path


def test_what_was_written_is_read(file):
    header, tensors = read_tensors(file, "checkpoint")
    assert list(header.items()) == [("kind", "checkpoint"), *HEADER.items()]  # a table keeps its columns' order
    assert same(tensors, TENSORS)


def test_every_flipped_bit_is_noticed(file, tmp_path):
    """Header length, JSON, metadata, the sum itself, padding, tensors: there is no place where damage passes."""
    content = file.read_bytes()
    torn = tmp_path / "torn"
    for place in range(len(content)):
        for bit in range(8) if place < 200 or place % 5 == 0 else (place % 8,):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            torn.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                read_tensors(torn, "checkpoint")


def test_equal_content_is_equal_bytes_and_safetensors_reads_it(file, tmp_path):
    again = tmp_path / "again"
    write_tensors(again, "checkpoint", HEADER, dict(reversed(TENSORS.items())))
    assert again.read_bytes() == file.read_bytes()
    assert same(load_file(file), TENSORS)
    with safe_open(file, framework="pt") as opened:
        assert set(opened.metadata()) == {"sha256", "plusx"}


def test_a_sound_file_without_our_sum_at_its_place_is_damaged(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "file", metadata={"plusx": json.dumps({"kind": "checkpoint"})})
    with pytest.raises(CheckpointError, match="does not match its sha256"):
        read_tensors(tmp_path / "file", "checkpoint")


def test_every_truncation_is_noticed(file, tmp_path):
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    torn = tmp_path / "torn"
    for size in {0, 1, 7, 8, 9, 8 + length // 2, 8 + length - 1, 8 + length, 8 + length + 1, len(content) - 1}:
        torn.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"damaged.*; use another copy"):
            read_tensors(torn, "checkpoint")


def test_bytes_after_the_end_are_noticed(file):
    with file.open("ab") as end:
        end.write(b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        read_tensors(file, "checkpoint")


@pytest.mark.parametrize("size", range(0, 320, 8))
def test_a_header_of_any_length_is_read(tmp_path, size):
    """The first byte is the header's length modulo 256: for some lengths it is that of a pickle or an archive."""
    path = tmp_path / "file"
    write_tensors(path, "state", {"text": "x" * size}, {})
    assert read_tensors(path, "state")[0]["text"] == "x" * size


def test_headers_met_the_first_byte_of_a_pickle(tmp_path):
    """Guards the guard: among the lengths above is one that begins with 0x80."""
    starts = set()
    for size in range(0, 320, 8):
        write_tensors(tmp_path / "file", "state", {"text": "x" * size}, {})
        starts.add((tmp_path / "file").read_bytes()[0])
    assert 0x80 in starts


def test_a_file_of_another_kind_is_named(file):
    with pytest.raises(CheckpointError, match="is a plusx checkpoint file; expected a state file"):
        read_tensors(file, "state")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_and_not_opened(tmp_path, zipped):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "model.pt"
    torch.save({"trap": Trap()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="is a PyTorch pickle, not a plusx checkpoint; pickles can run code"):
        read_tensors(path, "checkpoint")
    assert not (tmp_path / "sprung").exists()


def test_a_foreign_safetensors_file_is_told_apart_from_a_damaged_one(tmp_path):
    for number, metadata in enumerate((None, {"format": "pt"})):
        path = tmp_path / f"{number}.safetensors"
        save_file({"weight": torch.ones(2)}, path, metadata=metadata)
        with pytest.raises(CheckpointError, match="holds tensors but no plusx header"):
            read_tensors(path, "checkpoint")


def test_text_is_no_checkpoint(tmp_path):
    (tmp_path / "notes.txt").write_text("Not a checkpoint at all, but some sentences.")
    with pytest.raises(CheckpointError, match="is damaged or is no safetensors file"):
        read_tensors(tmp_path / "notes.txt", "checkpoint")


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"is a folder; expected a plusx checkpoint file"):
        read_tensors(tmp_path, "checkpoint")
    with pytest.raises(CheckpointError, match=r"does not exist; expected a plusx state file"):
        read_tensors(tmp_path / "none", "state")


def test_a_file_that_may_not_be_opened_is_one_sentence(file, monkeypatch):
    def refuse(*given, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CheckpointError, match="Permission denied"):
        read_tensors(file, "checkpoint")


def test_strided_tensors_keep_their_values(tmp_path):
    image_like = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    turned = torch.randn(4, 6).t()
    every_other = torch.arange(10.0)[::2]
    given = {"nhwc": image_like, "turned": turned, "every_other": every_other, "wide": torch.ones(1).expand(3)}
    write_tensors(tmp_path / "file", "state", {}, given)
    assert same(read_tensors(tmp_path / "file", "state")[1], given)


def test_tensors_that_share_their_memory_are_saved_each(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    given = {"one": whole, "same": whole, "row": whole[1], "overlapping": whole[1:], "flat": whole.view(-1)}
    write_tensors(tmp_path / "file", "state", {}, given)
    assert same(read_tensors(tmp_path / "file", "state")[1], given)


def test_gradients_are_no_part_of_it(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    write_tensors(tmp_path / "file", "state", {}, {"weight": weight})
    assert not read_tensors(tmp_path / "file", "state")[1]["weight"].requires_grad


def test_the_header_is_json_that_any_reader_of_safetensors_sees(file):
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    metadata = json.load(io.BytesIO(content[8 : 8 + length]))["__metadata__"]
    assert json.loads(metadata["plusx"])["classes"] == ["猫", "dog"]
