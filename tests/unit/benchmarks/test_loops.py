"""The loops' rivals are told what their names say, and a few photos make a long epoch."""

import json

import pytest
import torch

BASE = {"data": "photos", "root": "there", "model": "resnet18", "batch": 4, "options": (("compile", "off"),)}


def test_each_rival_is_told_what_its_name_says(benchmark):
    loops = benchmark("loops")
    rivals = loops.rivals_of(BASE, fastai="python-with-fastai", compiling=True)
    assert [name for name, _ in rivals][-3:] == ["fastai's Learner", "fastai's Learner, channels_last, light", "plusx"]
    for name, command in rivals:
        told = json.loads(command[-1])
        assert told["autocast"] == told["channels_last"] == ("channels_last" in name)
        assert bool(told["compiled"]) == ("compiled" in name)
        assert told["light"] == ("light" in name)
        assert (command[0] == "python-with-fastai") == name.startswith("fastai")
        assert told["batch"] == 4
    assert len(loops.rivals_of(BASE, fastai="", compiling=False)) == 7
    assert not any("compiled" in name for name, _ in loops.rivals_of(BASE, fastai="", compiling=False))


class Stage:
    """A rival that needs no process."""

    def __init__(self, name, answers):
        self.name, self.answers, self.error = name, list(answers), ""
        self.asked = []

    def take(self, steps=0):
        self.asked.append(steps)
        answer = self.answers.pop(0)
        if answer is None:
            self.error = "it fell"
            return None
        return {"images": 32 * steps, "seconds": answer}


def test_who_falls_is_left_out_and_said(benchmark, capsys):
    loops = benchmark("loops")
    good, late = Stage("good", [9, 1, 1, 2]), Stage("late", [9, 1, 1, None])
    early = Stage("early", [None, None, None, None])
    rates, failed = loops.measured([good, late, early], steps=2, rounds=2, warm=1)
    assert rates == {"good": [64.0, 32.0]}
    assert failed == ["late: it fell", "early: it fell"]
    assert good.asked == [0, 1, 2, 2]
    assert "early" in capsys.readouterr().out.splitlines()[2]


def test_photos_stand_in_an_epoch_many_times(benchmark, tmp_path):
    rivals = benchmark("rivals")
    photos = rivals.made_photos(tmp_path / "made", count=4, size=(20, 15))
    folder = rivals.linked(photos, tmp_path / "linked", least=10)
    files = sorted(file for file in folder.glob("*/*"))
    assert len(files) == 12
    assert {file.parent.name for file in files} == {"even", "odd"}
    assert all(file.resolve().is_file() for file in files)
    with pytest.raises(SystemExit, match="holds no folders"):
        rivals.linked(tmp_path / "made" / "even", tmp_path / "other", least=10)


@pytest.mark.parametrize("name", ["plain", "torchvision", "timm", "plusx"])
def test_each_loop_trains(name, benchmark, tmp_path, monkeypatch):
    rivals = benchmark("rivals")
    monkeypatch.setattr(rivals, "SIDE", 64)
    photos = rivals.made_photos(tmp_path / "photos", count=12, size=(80, 70))
    settings = rivals.Settings(
        data="photos",
        root=str(photos),
        model="resnet18",
        batch=4,
        workers=0,
        options=(("compile", "off"), ("validation", 0.0)),
    )
    counted = []

    def done(images):
        counted.append(images)
        if len(counted) == 2:
            raise StopIteration

    with pytest.raises(StopIteration):
        rivals.LOOPS[name](settings, done)
    assert counted == [4, 4]


def test_the_first_so_many_answers_are_counted(benchmark):
    accuracies = benchmark("rivals").accuracies
    output = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    first, second = accuracies(output, torch.tensor([0, 1, 2, 2]), (1, 2))
    assert (first.item(), second.item()) == (50.0, 75.0)
