"""The report is one page that loads nothing, says what it should, and escapes every name."""

from html.parser import HTMLParser

import numpy as np
import pytest

from plusx.errors import StorageError
from plusx.evaluation.evaluate import Predictions, evaluate
from plusx.evaluation.pictures import to_png
from plusx.evaluation.report import Mistake, Picture, ReportData, in_percent, interval, percents, place, write_report
from plusx.events import Section

NASTY = '<b>&"猫'
HISTORY = tuple(
    {"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 1 / epoch, "train_accuracy": 0.5,
     "validation_accuracy": 0.6, "learning_rate": 0.1, "seconds": 2.0}
    for epoch in range(1, 4)
)  # fmt: skip
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """The elements, attributes and text of a page; elements that are not closed in order are an error."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())

    @property
    def ids(self):
        return {attributes["id"] for tag, attributes in self.elements if tag == "section"}


def evaluation_of(classes, count=120, seed=0, sharpness=3.0):
    generator = np.random.default_rng(seed)
    targets = np.arange(count) % len(classes)
    logits = generator.normal(size=(count, len(classes)))
    logits[np.arange(count), targets] += sharpness
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    names = tuple(f"photos/{index}.jpg" for index in range(count))
    return evaluate(Predictions(names, targets, probabilities, tuple(classes)), "test", resamples=50)


@pytest.fixture(scope="module")
def full():
    evaluation = evaluation_of(("cat", NASTY, "狗"), sharpness=1.0)
    png = to_png(np.zeros((1, 8, 8), np.uint8))
    large = to_png(np.zeros((3, 120, 120), np.uint8))
    return ReportData(
        title=f"run of {NASTY}",
        headline="resnet20 was trained on photos.",
        evaluation=evaluation,
        sections=(Section("Data", (("source", NASTY),)),),
        history=HISTORY,
        best_epoch=2,
        samples=(Picture(png, NASTY), Picture(large, "cat")),
        mistakes=(Mistake(png, "狗", NASTY, 0.991, "a/狗.jpg"), Mistake(None, "cat", "狗", 0.5, "b\udcff.jpg")),
        layers=(("stem", "8×8", "one", "1,234", "5.6"), ("all", "", "", "1,234", "5.6")),
        environment=(("torch", "2.15.0"),),
        rejected=tuple((f"<{index}>.png", "is empty") for index in range(103)),
        notes=(f"a note on {NASTY}",),
        commands=(("Again:", "plusx train --config runs/x/config.yaml"),),
    )


@pytest.fixture(scope="module")
def text(full, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("run"), full).read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_has_all_its_parts(text):
    page = Page(text)
    parts = [
        "what",
        "curves",
        "confusion",
        "classes",
        "mistakes",
        "calibration",
        "samples",
        "network",
        "rejected",
        "again",
    ]
    assert page.ids == set(parts)
    assert [attributes["href"] for tag, attributes in page.elements if tag == "a"] == [f"#{part}" for part in parts]
    for said in ("resnet20 was trained on photos.", "plusx train --config runs/x/config.yaml", "2.15.0", "狗"):
        assert said in page.texts


def test_names_are_text_and_never_markup(text):
    page = Page(text)
    assert "b" not in {tag for tag, _ in page.elements}
    assert NASTY in page.texts
    assert f"run of {NASTY}" in page.texts


def test_the_page_loads_nothing(text):
    page = Page(text)
    assert not {"script", "iframe", "object"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "url(http" not in text
    assert "@import" not in text


def test_pictures_have_words_and_tiny_ones_stay_sharp(text):
    images = [attributes for tag, attributes in Page(text).elements if tag == "img"]
    assert [image.get("class") for image in images] == ["tiny", "tiny", None]
    assert images[0]["alt"] == f"an image of 狗 that the network takes for {NASTY}"
    charts = [attributes for tag, attributes in Page(text).elements if tag == "svg"]
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


def test_the_weakest_class_comes_first(full, text):
    rows = text[text.index('id="classes"') : text.index('id="mistakes"')]
    weakest = min(full.evaluation.per_class, key=lambda row: row.f1.value)
    strongest = max(full.evaluation.per_class, key=lambda row: row.f1.value)
    shown = {"cat": "cat", "狗": "狗", NASTY: "&lt;b&gt;&amp;&#34;猫"}
    assert rows.index(f'row">{shown[weakest.name]}<') < rows.index(f'row">{shown[strongest.name]}<')


def test_long_lists_point_to_their_files(text):
    assert "The other 3 are in rejected.csv." in Page(text).texts


def test_the_same_data_gives_the_same_page_and_plots(full, text, tmp_path):
    assert write_report(tmp_path, full).read_text(encoding="utf-8") == text
    plots = {path.name for path in (tmp_path / "plots").iterdir()}
    assert plots == {"curves.svg", "curves.png", "calibration.svg", "calibration.png", "confusion.svg"}


def test_little_data_gives_a_short_page(tmp_path):
    evaluation = evaluation_of(("a", "b"), count=1, sharpness=9.0)
    page = Page(write_report(tmp_path, ReportData("run", "trained.", evaluation)).read_text(encoding="utf-8"))
    assert page.ids == {"confusion", "classes", "calibration", "again"}
    assert "No image was taken for another class." in page.texts
    assert "–" in page.texts
    assert not (tmp_path / "plots" / "curves.svg").exists()


def test_many_classes_have_a_heat_map_and_a_shortened_table(tmp_path):
    evaluation = evaluation_of([f"class {index}" for index in range(110)], count=330)
    page = Page(write_report(tmp_path, ReportData("run", "trained.", evaluation)).read_text(encoding="utf-8"))
    assert "confusion" not in {attributes.get("class") for tag, attributes in page.elements if tag == "table"}
    assert "The other 10 classes are in per_class.csv." in page.texts


@pytest.mark.parametrize(("sharpness", "says"), [(0.2, "too sure"), (8.0, "no more and no less sure")])
def test_the_page_says_whether_the_network_is_too_sure(tmp_path, sharpness, says):
    evaluation = evaluation_of("abc", count=600, sharpness=sharpness)
    assert says in write_report(tmp_path, ReportData("run", "trained.", evaluation)).read_text(encoding="utf-8")


def test_percents_never_round_to_perfect():
    assert [in_percent(share) for share in (1.0, 0.99999, 0.9996, 0.5, 0.0)] == [
        "100.0",
        "99.999",
        "99.96",
        "50.0",
        "0.0",
    ]
    assert in_percent(0.9999999) == "100.000"
    assert percents(None) == interval(None) == "–"


def test_bars_stay_within_their_line():
    assert place(0.2, 0.5, 100) == 4
    assert place(1.0, 0.5, 100) == 96


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path, full):
    (tmp_path / "plots").write_text("a file", encoding="utf-8")
    with pytest.raises(StorageError):
        write_report(tmp_path, full)
