import os
import re
from pathlib import Path

import pytest

from plusx.data import list_images, read_dataset
from plusx.data.folder import IMAGE_SUFFIXES
from plusx.errors import DataError, UsageError
from plusx.events import result_of
from plusx.inputs.image import IMAGE_SUFFIXES as READABLE_SUFFIXES


def make(root, *names):
    """Make empty files: what is in them is looked at later."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def read(root, **options):
    return result_of(read_dataset(root, **options))


def refused(root, **options):
    with pytest.raises(DataError) as found:
        read(root, **options)
    return str(found.value)


def held(dataset):
    return [(sample.name, dataset.classes[sample.target], sample.split) for sample in dataset.samples]


def test_the_suffixes_are_those_that_the_image_input_reads():
    assert IMAGE_SUFFIXES == READABLE_SUFFIXES


def test_one_folder_a_class(tmp_path):
    root = make(tmp_path / "My photos", "dog/2.PNG", "cat/1.jpg", "cat/indoors/deep/3.jpeg", "数据/猫.jpg")
    dataset = read(root)
    assert dataset.name == "My_photos"
    assert dataset.classes == ("cat", "dog", "数据")
    assert held(dataset) == [
        ("cat/1.jpg", "cat", None),
        ("cat/indoors/deep/3.jpeg", "cat", None),
        ("dog/2.PNG", "dog", None),
        ("数据/猫.jpg", "数据", None),
    ]
    assert dataset.samples[3].source == root / "数据" / "猫.jpg"
    assert dataset.notes == ()


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_folders_of_splits(tmp_path, validation):
    make(tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{validation}/b/2.jpg", "test/a/3.jpg", "test/b/3.jpg")
    dataset = read(tmp_path)
    assert dataset.classes == ("a", "b")
    assert held(dataset) == [
        ("train/a/1.jpg", "a", "train"),
        ("train/b/1.jpg", "b", "train"),
        (f"{validation}/b/2.jpg", "b", "validation"),
        ("test/a/3.jpg", "a", "test"),
        ("test/b/3.jpg", "b", "test"),
    ]


def test_what_is_beside_the_splits_is_told(tmp_path):
    make(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "readme.md", "annotations/x.xml", ".cache/y")
    assert read(tmp_path).notes == (
        "beside 'train', 'annotations/' and 'readme.md' ignored".replace(" and ", ", "),
        "1 hidden file or folder was ignored",
    )


def test_a_class_may_be_called_train(tmp_path):
    dataset = read(make(tmp_path, "train/1.jpg", "bus/2.jpg", "tram/3.jpg"))
    assert dataset.classes == ("bus", "train", "tram")
    assert {sample.split for sample in dataset.samples} == {None}


def test_hidden_and_other_files_are_ignored_and_counted(tmp_path):
    make(
        tmp_path, "a/1.jpg", "a/.2.jpg", "a/Thumbs.db", "b/1.jpg", "b/desktop.ini", "__MACOSX/a/1.jpg", ".git/x.jpg",
        "a/notes.txt", "b/labels.json", "list.csv", "b/clip.mp4",
    )  # fmt: skip
    dataset = read(tmp_path)
    assert dataset.classes == ("a", "b")
    assert len(dataset.samples) == 2
    assert "5 hidden files or folders were ignored" in dataset.notes
    assert any(note.startswith("4 files") and "list.csv" in note for note in dataset.notes)


def test_an_empty_class_folder_is_no_class(tmp_path):
    (make(tmp_path, "a/1.jpg", "b/1.jpg") / "c").mkdir()
    dataset = read(tmp_path)
    assert dataset.classes == ("a", "b")
    assert dataset.notes == ("the folder 'c' holds no images, so it is not a class",)


def test_the_same_class_in_two_spellings_of_its_letters_is_one(tmp_path):
    dataset = read(make(tmp_path, "train/caf\u00e9/1.jpg", "train/b/1.jpg", "test/cafe\u0301/1.jpg"))
    assert dataset.classes == ("b", "caf\u00e9")


def test_links_are_followed_once(tmp_path):
    root = make(tmp_path / "root", "a/1.jpg", "b/1.jpg")
    make(tmp_path / "elsewhere", "c/9.jpg", "deep/8.jpg")
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (root / "a" / "loop").symlink_to(root / "a")
    (root / "b" / "up").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "gone.jpg").symlink_to(tmp_path / "gone")
    os.mkfifo(root / "b" / "pipe.jpg")
    dataset = read(root)
    assert sorted(sample.name for sample in dataset.samples) == [
        "a/1.jpg", "b/1.jpg", "b/up/c/9.jpg", "b/up/deep/8.jpg", "c/9.jpg",
    ]  # fmt: skip
    assert [(one.name, one.reason) for one in dataset.rejected] == [
        ("a/gone.jpg", "is a link to nothing"),
        ("b/pipe.jpg", "is not a regular file"),
    ]


def test_a_name_that_is_no_unicode_can_still_be_written(tmp_path):
    folder = make(tmp_path, "a/1.jpg", "b/1.jpg") / "a"
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).touch()
    names = [sample.name for sample in read(tmp_path).samples]
    assert len(names) == 3
    assert "\n".join(names).encode("utf-8")


def test_bad_folders_are_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(tmp_path / "empty")
    assert "one folder of images for each class" in refused(tmp_path / "empty")
    assert "by suffix" in refused(make(tmp_path / "texts", "a/1.txt", "b/1.txt"))
    flat = refused(make(tmp_path / "flat", "1.jpg", "2.jpg"))
    assert "holds 2 images but no class folders" in flat
    assert "flat/cat/1.jpg" in flat
    assert "'train'" in refused(make(tmp_path / "flat split", "train/1.jpg", "val/2.jpg")).replace("flat split/", "'")
    one = refused(make(tmp_path / "one", "photos/1.jpg"))
    assert "one class only, 'photos'" in one
    unseen = refused(make(tmp_path / "unseen", "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/zebra/1.jpg"))
    assert "'zebra' in validation but not in train" in unseen
    both = make(tmp_path / "both", "train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg")
    assert re.search("two folders for validation, 'val' and 'valid'", refused(both))


def test_one_class_can_be_evaluated(tmp_path):
    make(tmp_path, "dog/1.jpg")
    dataset = read(tmp_path, classes=("cat", "dog"))
    assert held(dataset) == [("dog/1.jpg", "dog", None)]
    assert dataset.samples[0].target == 1
    assert "did you mean 'dogs'?" in refused(tmp_path, classes=("bird", "dogs"))
    assert "it knows 'bird', 'fish'" in refused(tmp_path, classes=("bird", "fish"))


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    make(tmp_path, "a/1.jpg", "b/1.jpg")
    real = os.scandir

    def scan(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert "cannot be read: Permission denied" in refused(tmp_path)


def test_listing_images(tmp_path):
    root = make(
        tmp_path, "x/b.jpg", "x/a.png", "x/deep/c.webp", "x/.hidden.jpg", "x/t.txt", "y/d.jpg", "odd.name", "[1].jpg"
    )

    def names(*given):
        return [path.relative_to(root).as_posix() for path in list_images(str(root / one) for one in given)]

    assert names("x") == ["x/a.png", "x/b.jpg", "x/deep/c.webp"]
    assert names("y/d.jpg", "x/*.jpg", "odd.name", "y") == ["y/d.jpg", "x/b.jpg", "odd.name"]
    assert names("**/*.webp") == ["x/deep/c.webp"]
    assert names("[1].jpg") == ["[1].jpg"]
    assert names("x/dee*") == ["x/deep/c.webp"]
    with pytest.raises(UsageError, match="nothing"):
        names("nothing/*.jpg")
    (root / "z").mkdir()
    with pytest.raises(DataError, match="no images were found in"):
        names("z")


def test_sources_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'fashion-mnist'"):
        read("fashion_mnst")
    with pytest.raises(UsageError, match=r"there is no source 'photoz/'; a source is a name \(digits, mnist"):
        read("photoz/")
    make(tmp_path, "data.zip", "digits/a/1.jpg", "digits/b/1.jpg")
    with pytest.raises(UsageError, match=r"'data.zip' is a file in no known format"):
        read("data.zip")
    assert len(read("./digits").samples) == 2
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        read("digitz")
    make(tmp_path, "photos/a/1.jpg")
    with pytest.raises(UsageError, match="did you mean 'photos'"):
        read("photoz/")


def test_the_folder_one_stands_in_has_a_name(tmp_path, monkeypatch):
    make(tmp_path / "birds", "a/1.jpg", "b/1.jpg")
    monkeypatch.chdir(tmp_path / "birds")
    assert (read(".").name, read(".").origin) == ("birds", ".")


def test_images_beside_the_class_folders_are_told(tmp_path):
    dataset = read(make(tmp_path, "a/1.jpg", "b/1.jpg", "cover.jpg"))
    assert len(dataset.samples) == 2
    assert dataset.notes == ("1 image outside any class's folder ignored: 'cover.jpg'",)
