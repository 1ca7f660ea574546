import csv

import pytest

from plusx.errors import UsageError
from plusx.events import Section, result_of
from plusx.rate_search import search
from plusx.request import request


def test_a_search_writes_the_curve_and_no_run(tmp_path, image_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = str(image_folder({"left": 20, "right": 20}))
    asked = request(source, options={"model": "resnet20", "batch_size": 8})
    made = result_of(search(asked, steps=12))
    assert sorted(one.name for one in made.folder.iterdir()) == ["rates.csv", "rates.png", "rates.svg"]
    assert made.folder.relative_to(".").as_posix() == "lr-find/pictures-1"
    rows = list(csv.DictReader((made.folder / "rates.csv").read_text().splitlines()))
    assert [float(row["learning_rate"]) for row in rows] == [one.learning_rate for one in made.found.tried]
    assert (made.folder / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert result_of(search(asked, steps=3)).folder.name == "pictures-2"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["lr-find", "pictures"]


def test_a_curve_without_a_fall_says_so(image_folder, tmp_path):
    asked = request(str(image_folder({"left": 8, "right": 8})), options={"model": "resnet20", "batch_size": 8})
    events = list(search(asked, out=tmp_path / "out", lowest=1e-30, highest=1e-29, steps=2))
    (screen,) = [one for one in events if isinstance(one, Section)]
    said = dict(screen.rows)
    assert said["tried"] == "2 rates, up to 1e-29"
    assert said["the recipe's own"].endswith("(small)")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 1}, "steps is 1, but must be at least 2"),
        ({"lowest": 1.0, "highest": 0.1}, "from 1 to 0.1"),
        ({"lowest": 0.0}, "two above 0"),
    ],
)
def test_impossible_searches_are_refused_before_any_work(changes, words):
    with pytest.raises(UsageError, match=words):
        next(search(request("digits"), **changes))
