import json
import re

import pytest

from plusx.data import read_dataset
from plusx.errors import DataError
from plusx.events import result_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "数据").mkdir()
    for name in ("1.jpg", "2.jpg", "3.jpg", "数据/猫.jpg"):
        (tmp_path / name).touch()
    return tmp_path


def read(folder, text, name="labels.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return result_of(read_dataset(folder / name))


def refused(folder, text, name="labels.csv", encoding="utf-8"):
    with pytest.raises(DataError) as found:
        read(folder, text, name, encoding)
    return str(found.value)


def held(dataset):
    return [(one.name, dataset.classes[one.target], one.split, one.group) for one in dataset.samples]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv(folder, delimiter, encoding):
    text = (
        "Path ,class,split,group,more\r\n1.jpg,dog,train,p1,x\r\n\r\n2.jpg,猫,train,,y\r\n数据/猫.jpg,猫,val,p2,z\r\n"
    )
    dataset = read(folder, text.replace(",", delimiter), encoding=encoding)
    assert dataset.name == "labels"
    assert dataset.classes == ("dog", "猫")
    assert held(dataset) == [
        ("1.jpg", "dog", "train", "p1"),
        ("2.jpg", "猫", "train", None),
        ("数据/猫.jpg", "猫", "validation", "p2"),
    ]
    assert dataset.samples[2].source == folder / "数据" / "猫.jpg"
    assert dataset.notes == ()


def test_a_quoted_comma_and_an_absolute_path(folder):
    (folder / "a, b.jpg").touch()
    dataset = read(folder, f'path,class\n"a, b.jpg","big, red"\n{folder}/1.jpg,small\n')
    assert held(dataset) == [("a, b.jpg", "big, red", None, None), (f"{folder}/1.jpg", "small", None, None)]


def test_json_lines(folder):
    rows = [{"path": "1.jpg", "class": 3}, {"path": "2.jpg", "class": "dog", "split": None, "group": 7}]
    dataset = read(folder, "\n".join(map(json.dumps, rows)) + "\n\n", "labels.jsonl")
    assert held(dataset) == [("1.jpg", "3", None, None), ("2.jpg", "dog", None, "7")]


def test_missing_files_are_set_aside(folder):
    dataset = read(folder, "path,class\n1.jpg,a\ngone.jpg,a\n2.jpg,b\n数据,b\n")
    assert [one.name for one in dataset.samples] == ["1.jpg", "2.jpg"]
    assert [(one.name, one.reason) for one in dataset.rejected] == [
        ("gone.jpg", "does not exist"),
        ("数据", "is a folder"),
    ]
    assert dataset.notes == ("2 files named in 'labels.csv' not found: 'gone.jpg', '数据'",)
    assert "none of the 2 files that" in refused(folder, "path,class\nx.jpg,a\ny.jpg,b\n")


def test_repeated_rows_are_left_out(folder):
    dataset = read(folder, "path,class\n1.jpg,a\n2.jpg,b\n1.jpg,a\n1.jpg,a\n")
    assert len(dataset.samples) == 2
    assert dataset.notes == ("2 repeated rows of 'labels.csv' left out",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no column 'path', 'class': it has none"),
        ("path,class\n", "has no rows"),
        ("path,label\n1.jpg,a\n", "no column 'class': it has 'path', 'label', and needs 'path' and 'class'"),
        ("path,label\n1.jpg,a\n", "rename 'label' to 'class'"),
        ("1.jpg,a\n2.jpg,b\n", "has no column 'path', 'class': it has '1.jpg', 'a'"),
        ("path,class\n1.jpg,a\n2.jpg\n", "line 3 of .* has no class"),
        ("path,class\n1.jpg,a\n ,b\n", "line 3 of .* has no path"),
        ("path,class,split\n1.jpg,a,trian\n", "line 2 of .* has the split 'trian'; expected 'train'"),
        ("path,class,split\n1.jpg,a,train\n2.jpg,b,\n", "some rows a split and others none .first: line 3"),
        ("path,class\n1.jpg,a\n1.jpg,b\n", "'1.jpg' the class 'a' on line 2 and 'b' on line 3"),
        ("path,class,split\n1.jpg,a,train\n1.jpg,a,test\n", "the split 'train' on line 2 and 'test' on line 3"),
        ("path,class\n1.jpg,a\n2.jpg,a\n", "one class only, 'a'"),
        ("path,class,split\n1.jpg,a,train\n2.jpg,b,train\n3.jpg,c,val\n", "'c' in validation but not in train"),
    ],
)
def test_bad_manifests_are_one_sentence(folder, text, sentence):
    assert re.search(sentence, refused(folder, text))


def test_bad_files_are_one_sentence(folder, monkeypatch):
    assert "line 2 of" in refused(folder, '{"path": "1.jpg", "class": "a"}\n{"path"\n', "labels.jsonl")
    assert "is not an object" in refused(folder, "[1, 2]\n", "labels.jsonl")
    assert "has no column 'class'" in refused(folder, '{"path": "1.jpg", "label": "a"}\n', "labels.jsonl")
    assert "is not UTF-8 text" in refused(folder, "path,class\n1.jpg,猫狗\n", encoding="gbk")
    assert "is not a CSV file" in refused(folder, "path,class\n1.jpg," + "x" * 200_000 + "\n")
    (folder / "labels.csv").chmod(0)
    real = type(folder).open

    def opened(path, *arguments, **options):
        if path.name == "labels.csv":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(type(folder), "open", opened)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        result_of(read_dataset(folder / "labels.csv"))


def test_one_file_under_two_spellings_of_its_path_is_one_file(folder):
    said = refused(folder, "path,class,split\n1.jpg,cat,train\n./1.jpg,dog,test\n2.jpg,dog,train\n")
    assert "the class 'cat' on line 2 and 'dog' on line 3" in said
