import dataclasses
import hashlib
import json

import pytest
import torch
from loopback import serving
from safetensors.torch import load_file, save_file

from plusx.cli import main
from plusx.cli import weights as module
from plusx.network.architectures import ARCHITECTURES
from plusx.weights.fetch import cache_folder
from plusx.weights.published import PUBLISHED

CONTENT = b"weights" * 1000


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TORCH_HOME", "PLUSX_MIRROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def published(monkeypatch):
    """Weights whose file is `CONTENT`, and nowhere to be had."""
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    entry = dataclasses.replace(
        PUBLISHED["resnet18:imagenet1k-v1"], url="http://127.0.0.1:1/resnet18.pth", sha256=digits
    )
    monkeypatch.setitem(PUBLISHED, entry.name, entry)
    return entry


def cached(entry, content=CONTENT):
    path = cache_folder() / entry.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def run(capsys, *arguments):
    code = main(["weights", *arguments])
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def test_everything_published_is_listed_under_its_source(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for name in PUBLISHED:
        assert sum(line.split()[:1] == [name] for line in out.splitlines()) == 1
    for heading in (
        "torchvision: ImageNet-1k's validation set, BSD-3-Clause",
        "timm: ImageNet-1k's validation set, Apache-2.0",
        "akamaster/pytorch_resnet_cifar10: CIFAR-10's test set, BSD-2-Clause",
    ):
        assert f"\n{heading}\n" in out


def test_a_line_tells_what_is_published_and_whether_it_is_here(capsys, published):
    lines = [line.split() for line in run(capsys, "list", "resnet18")[1].splitlines()]
    assert ["resnet18:imagenet1k-v1", "11,689,512", "224", "69.76", "44.7", "MiB", "-"] in lines
    assert ["resnet18:a1-in1k", "11,689,512", "224", "71.50", "~44.6", "MiB", "-"] in lines
    cached(published)
    assert run(capsys, "list", "resnet18")[1].splitlines()[3].endswith("yes")


def test_the_list_as_json(capsys, published):
    path = cached(published)
    listed = json.loads(run(capsys, "list", "resnet18", "--json")[1])
    assert [each["name"] for each in listed] == ["resnet18:imagenet1k-v1", "resnet18:a1-in1k"]
    assert listed[0]["file"] == str(path)
    assert listed[0]["parameters"] == 11_689_512
    assert listed[1]["mebibytes"] is None
    assert len(json.loads(run(capsys, "list", "--json")[1])) == len(PUBLISHED)


def test_a_network_without_published_weights(capsys):
    code, out, err = run(capsys, "list", "plain18")
    assert (code, out) == (2, "")
    assert err == "error: no weights are published for 'plain18'; plusx weights list names those that are\n"
    assert "no model is called 'resnet5O'; did you mean 'resnet5" in run(capsys, "list", "resnet5O")[2]


def test_a_part_of_a_name_lists_all_that_have_it(capsys):
    names = [each["name"] for each in json.loads(run(capsys, "list", "densenet", "--json")[1])]
    assert names == [name for name in PUBLISHED if "densenet" in name]
    assert len(names) > 4
    assert json.loads(run(capsys, "list", "ResNeXt50_32x4d", "--json")[1])[0]["name"].startswith("resnext50-32x4d:")
    one = json.loads(run(capsys, "list", "resnet50", "--json")[1])
    assert {each["architecture"] for each in one} == {"resnet50"}


def test_published_weights_are_shown_without_being_fetched(capsys):
    code, out, _ = run(capsys, "show", "resnet50:imagenet1k-v2")
    assert code == 0
    said = dict(line.strip().split(None, 1) for line in out.splitlines() if line.startswith("  "))
    assert said["model"] == "resnet50, 25,557,032 parameters"
    assert said["classes"].startswith("1,000: tench, goldfish, ")
    assert said["images"] == "224x224, 3 channels, the center of a shorter side of 232"
    assert said["score"] == "80.86 % top-1 on ImageNet-1k's validation set at 224x224, as torchvision states"
    assert said["license"].startswith("BSD-3-Clause")
    assert said["sha256"] == "begins with 11ad3fa6"
    assert said["here"].startswith("no; ")
    assert not cache_folder().exists()


def test_where_published_weights_are_and_that_they_are_right(capsys, published):
    path = cached(published)
    assert f"here          {path}\n" in run(capsys, "show", published.name)[1]
    cached(published, b"other")
    assert "is not as published: its sha256 is" in run(capsys, "show", published.name)[1]


def test_what_is_not_published_of_published_weights(capsys):
    out = run(capsys, "show", "preresnet18:default")[1]
    assert "sha256        plusx knows none" in out
    assert "resizing      bicubic, to whole levels as Pillow does" in out
    out = run(capsys, "show", "resnet20:cifar10")[1]
    assert f"sha256        {PUBLISHED['resnet20:cifar10'].sha256}" in out
    assert "resizing      bilinear, to whole levels as Pillow does" in out


@pytest.mark.parametrize(
    ("name", "said", "code"),
    [
        ("resnet50", "'resnet50' does not say which weights are meant", 2),
        ("resnet50:imagnet1k-v2", "no published weights are called", 2),
        ("nowhere.pth", "nowhere.pth", 4),
    ],
)
def test_what_is_neither_a_name_nor_a_file(capsys, name, said, code):
    found, out, err = run(capsys, "show", name)
    assert (found, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1


def foreign(path):
    """A state dict of torchvision's ResNet-18 with three outputs."""
    from torchvision.models import resnet18

    state = resnet18(num_classes=3).state_dict()
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path


def test_a_file_is_recognized(capsys, tmp_path):
    path = foreign(tmp_path / "mine.safetensors")
    code, out, _ = run(capsys, "show", str(path))
    assert code == 0
    assert "recognized    a torchvision state dict of a ResNet" in out
    assert "model         resnet18, 11,178,051 parameters" in out
    assert "classes       3, their names are not known" in out
    assert "images        their preprocessing is not known" in out
    assert hashlib.sha256(path.read_bytes()).hexdigest() in out
    about = json.loads(run(capsys, "show", str(path), "--json")[1])
    assert about["architecture"] == "resnet18"
    assert about["classes"] is None
    assert about["license"] is None


def test_a_hostile_pickle_runs_nothing(capsys, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "was run"), "w"))

    torch.save({"state_dict": {"conv1.weight": Hostile()}}, tmp_path / "hostile.pth")
    code, out, err = run(capsys, "show", str(tmp_path / "hostile.pth"))
    assert (code, out) == (4, "")
    assert err.startswith("error: ")
    assert not (tmp_path / "was run").exists()


def test_weights_without_a_head_or_a_sure_network(capsys):
    about = dict.fromkeys(("classes", "height", "sha256"), None)
    about |= {"recognized": "tensors", "architecture": None, "parameters": 7, "outputs": 0, "notes": ["so it is"]}
    assert list(module.rows(about | {"fits": ("resnet18", "resnet20")})) == [
        ("recognized", "tensors"),
        ("model", "7 parameters, fit resnet18, resnet20"),
        ("classes", "none: there is no head"),
        ("images", "their preprocessing is not known"),
        ("note", "so it is"),
    ]
    assert list(module.rows(about | {"fits": ()}))[1] == (
        "model",
        "7 parameters, fit no network of plusx",
    )


def test_weights_are_fetched_for_later(capsys, published):
    with serving() as server:
        server.files[published.file] = CONTENT
        code, out, _ = run(capsys, "fetch", published.name, "--mirror", server.address)
    path = cache_folder() / published.file
    assert code == 0
    assert path.read_bytes() == CONTENT
    assert str(path) in out.splitlines()[-1]
    code, out, _ = run(capsys, "fetch", published.name, "--json")
    assert json.loads(out) == {published.name: str(path)}


def test_weights_that_cannot_be_fetched(capsys, published):
    code, _, err = run(capsys, "fetch", published.name)
    assert code == 4
    assert "could not download 'resnet18.pth' (http://127.0.0.1:1/resnet18.pth: " in err
    assert "PLUSX_MIRROR" in err
    code, _, err = run(capsys, "fetch")
    assert (code, err) == (
        2,
        "error: no weights were named; for example: plusx weights fetch resnet50:imagenet1k-v2\n",
    )
    assert run(capsys, "fetch", "resnet18:nothing")[0] == 2


def test_weights_are_converted_there_and_back(capsys, tmp_path):
    expected = load_file(foreign(tmp_path / "theirs.safetensors"))
    theirs = tmp_path / "theirs.pth"
    torch.save({"epoch": 3, "state_dict_ema": expected}, theirs)
    ours, again = tmp_path / "ours.safetensors", tmp_path / "again.pth"
    code, out, _ = run(capsys, "convert", str(theirs), str(ours), "--to", "plusx")
    assert code == 0
    assert "a torchvision state dict of a ResNet" in out
    assert "note: of 'theirs.pth' the averaged weights, 'state_dict_ema', are used" in out
    assert f"{ours}, {ours.stat().st_size:,} bytes, under plusx's keys" in out
    code, out, _ = run(capsys, "convert", str(ours), str(again), "--to", "torchvision", "--json")
    about = json.loads(out)
    assert (about["recognized"], about["file"]) == ("a plusx checkpoint", str(again))
    state = torch.load(again, weights_only=True)
    assert set(state) == set(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


@pytest.mark.parametrize("arguments", [["resnet50d:ra2-in1k"], ["none.pth", "--model", "resnet50d"]])
def test_what_others_do_not_have_is_refused_before_it_is_fetched_or_read(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "convert", arguments[0], "new.pth", *arguments[1:], "--to", "torchvision")
    assert (code, out) == (2, "")
    assert "torchvision has no network like resnet50d: " in err
    assert err.endswith("; use --to timm or plusx\n")


def test_classes_without_names_get_numbers_and_that_is_said(capsys, tmp_path):
    theirs = foreign(tmp_path / "theirs.safetensors")
    out = run(capsys, "convert", str(theirs), str(tmp_path / "ours.safetensors"), "--to", "plusx")[1]
    assert "note: the names of the classes are not known: they are called 0 to 2" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new.pth", "--to", "torchvison"], "no framework is called 'torchvison'; did you mean 'torchvision'?"),
        (["new.pth", "--to", "timm", "--model", "resnet"], "no model is called 'resnet'; did you mean"),
        (["there.pth", "--to", "timm"], "'there.pth' exists and is not overwritten; choose another name"),
        (["new.txt", "--to", "timm"], "cannot be written to 'new.txt'"),
        (["new.pth"], "--to needs a value"),
    ],
)
def test_what_cannot_be_converted(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    foreign(tmp_path / "theirs.safetensors")
    (tmp_path / "there.pth").write_bytes(b"mine")
    code, out, err = run(capsys, "convert", "theirs.safetensors", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert (tmp_path / "there.pth").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs.safetensors", "there.pth"]


def test_a_command_that_is_none_is_answered_with_those_of_weights(capsys):
    code, _, err = run(capsys, "lst")
    assert (code, err) == (2, "error: no command is called 'lst'; did you mean 'list'?\n")
    assert run(capsys, "-x")[2] == "error: no option is called '-x'; see plusx weights --help\n"


def test_every_published_network_is_one_of_ours():
    assert {entry.architecture for entry in PUBLISHED.values()} <= set(ARCHITECTURES)
    assert {entry.architecture for entry in PUBLISHED.values()} <= set(module.costs())
