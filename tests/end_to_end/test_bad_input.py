"""Every sentence of the issue on bad input: one clear line, the right exit code, nothing lost."""

import os
from pathlib import Path

import pytest
from photos import CLASSES, make_photos, stripes

from plusx.cli import main

USAGE, DATA, CHECKPOINT, STORAGE = 2, 3, 4, 5


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos", {"": 12})


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main(["train", str(photos), "--out", str(out), "--epochs", "1", "--threads", "1"]) == 0
    return out / "photos-1"


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    """Run a command that must fail with this code, and return its one sentence."""
    capsys.readouterr()
    assert main(list(words)) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert shown.err.startswith("error: ")
    return " ".join(shown.err.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "digits", "--model", "resnet21"], "no model is called 'resnet21'; did you mean 'resnet20'"),
        (["train", "digits", "--recipe", "smal"], "no recipe is called 'smal'; did you mean 'small'"),
        (["train", "digits", "--epoch", "3"], "did you mean '--epochs'"),
        (["train", "digit"], "did you mean 'digits'"),
        (["train", "no/such/folder"], "there is no source 'no/such/folder'"),
        (["train", "digits", "--epochs", "0"], "epochs is 0, but must be"),
        (["train", "digits", "--optimizer", "sdg"], "did you mean 'sgd'"),
        (["train", "digits", "--device", "tpu9"], "'tpu9'"),
        (["train"], "nothing to train on was named"),
        (["show", "resnet51"], "did you mean"),
    ],
)
def test_words_that_cannot_be_used(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in refused(capsys, USAGE, *words)


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    sentence = refused(capsys, DATA, "train", str(tmp_path / "empty"))
    assert "holds no images; expected one folder of images for each class" in sentence


def test_one_class_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one" / "cat").mkdir(parents=True)
    stripes(0, 0).save(tmp_path / "one" / "cat" / "0.png")
    assert "one class only, 'cat'" in refused(capsys, DATA, "train", str(tmp_path / "one"))


def test_a_class_in_validation_that_training_never_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_photos(tmp_path / "photos", {"train": 3, "val": 2})
    (source / "val" / "dog").mkdir()
    stripes(0, 1).save(source / "val" / "dog" / "0.png")
    assert "'dog' in validation but not in train" in refused(capsys, DATA, "train", str(source))


def test_a_folder_of_unreadable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in CLASSES[:2]:
        (tmp_path / "bad" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "bad" / name / f"{number}.jpg").write_bytes(b"")
    assert "none of the 6 images" in refused(capsys, DATA, "train", str(tmp_path / "bad"))


def test_a_table_without_its_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.png,cat\n", encoding="utf-8")
    sentence = refused(capsys, DATA, "train", str(tmp_path / "labels.csv"))
    assert "label" in sentence
    assert "class" in sentence


def test_a_table_whose_files_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.csv").write_text("path,class\na.png,cat\nb.png,dog\n", encoding="utf-8")
    assert "none of the 2 files that" in refused(capsys, DATA, "train", str(tmp_path / "labels.csv"))


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_checkpoints_that_cannot_be_used(
    command: str, run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (run / "weights" / "best.safetensors").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    cases = {
        "truncated.safetensors": (whole[: len(whole) // 2], "is damaged"),
        "flipped.safetensors": (bytes(flipped), "does not match its sha256"),
        "pickle.pth": (b"PK\x03\x04" + bytes(100), "are damaged or incomplete"),
        "empty.safetensors": (b"", "is damaged"),
        "picture.png": (next(photos.rglob("*.png")).read_bytes(), "is damaged or is no safetensors file"),
    }
    for name, (content, expected) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert expected in refused(capsys, CHECKPOINT, command, str(tmp_path / name), str(photos)), name
    state = str(next((run / "state").glob("*.safetensors")))
    assert "is a plusx state file; expected a checkpoint" in refused(capsys, CHECKPOINT, command, state, str(photos))
    assert "does not exist" in refused(capsys, CHECKPOINT, command, str(tmp_path / "none"), str(photos))


def test_a_run_folder_that_exists(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    words = ["train", str(photos), "--out", str(run.parent), "--name", run.name]
    assert "exists and is not overwritten" in refused(capsys, USAGE, *words)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_no_space_left_on_the_disk(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of the state go to a device that is always full: the system's own error, at the moment of writing."""
    whole_open = Path.open

    def full(path: Path, mode: str = "r", *rest: object, **more: object) -> object:
        later_state = "state" in path.parts and "w" in mode and (path.parent / "000001.safetensors").exists()
        return whole_open(Path("/dev/full") if later_state else path, mode, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", full)
    words = ["train", str(photos), "--out", str(tmp_path / "runs"), "--epochs", "1", "--threads", "1"]
    assert "no space is left on the disk" in refused(capsys, STORAGE, *words)
    monkeypatch.undo()
    assert (tmp_path / "runs" / "photos-1" / "weights" / "last.safetensors").exists()
    assert main(["resume", str(tmp_path / "runs" / "photos-1")]) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the next test asks the kernel instead")
def test_a_read_only_output_folder(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").mkdir(mode=0o555)
    assert "may not write there" in refused(capsys, STORAGE, "train", str(photos), "--out", str(tmp_path / "runs"))


def test_an_output_folder_that_the_kernel_keeps_read_only(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(capsys, STORAGE, "train", str(photos), "--out", "/proc/plusx-runs", "--epochs", "1")
    assert "could not write '/proc/plusx-runs'" in sentence


def test_a_batch_larger_than_the_data(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(photos), "--batch-size", "500", "--dry-run"]) == 0
    shown = " ".join("".join(capsys.readouterr()).split())
    assert "the batch of 500 is larger than the 24 training samples" in shown


def test_a_last_batch_of_one(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--batch-size", "23", "--epochs", "1", "--threads", "1", "--image-size", "4", "--out", str(tmp_path)]
    assert main(["train", str(photos), *words]) == 0
    assert "the last batch of an epoch would hold one sample" in " ".join("".join(capsys.readouterr()).split())


def test_wrong_data_for_a_trained_network(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other" / "zebra").mkdir(parents=True)
    stripes(0, 1).save(tmp_path / "other" / "zebra" / "0.png")
    assert "'zebra', which the trained network does not know" in refused(
        capsys, DATA, "evaluate", str(run), str(tmp_path / "other")
    )
    assert refused(capsys, USAGE, "predict", str(run), str(tmp_path / "nothing.png"))


def test_named_data_that_are_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PLUSX_DATA", str(tmp_path / "data"))
    sentence = refused(capsys, DATA, "train", "mnist", "--data-root", str(tmp_path / "root"))
    for place in ("root", "data", "plusx"):
        assert str(tmp_path / place) in sentence.replace(" ", "")
    assert "--download" in sentence
    assert "--data-root" in sentence
