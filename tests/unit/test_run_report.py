import io

import numpy as np
import pytest
import tiny
import torch
from finished import dataset, evaluated, finished, plan_of
from PIL import Image

from plusx import run_report
from plusx.device import Device
from plusx.events import Section
from plusx.result import Result
from plusx.run_folder import RunFolder


@pytest.fixture
def data():
    return dataset()


def test_the_sheet_shows_what_the_network_is_trained_on(tmp_path):
    batches = tiny.batches(input=tiny.AUGMENTED)
    first = next(iter(batches.epoch(0)))
    shown = [tiny.AUGMENTED.normalize(pixels[None])[0] for pixels, _ in run_report._augmented(batches)]
    assert torch.equal(torch.stack(shown[:4]), first.images)
    assert [sample.target for _, sample in run_report._augmented(batches)][:4] == first.targets.tolist()
    folder = RunFolder.create(tmp_path, "bars")
    run_report.write_samples(folder, batches)
    with Image.open(folder.path / "samples" / "augmented.png") as sheet:
        assert min(sheet.size) > 8


def test_the_report_is_one_page_with_everything_in_it(tmp_path, data):
    folder = RunFolder.create(tmp_path, "bars")
    result = Result(folder.path, "test", 6, evaluated(), plan_of(), notes=("a note to be read",))
    test = tiny.batches(6, training=False)
    path = run_report.write_run_report(folder, result, data, finished(), tiny.batches(), test, Device())
    page = path.read_text(encoding="utf-8")
    assert path == folder.path / "report.html"
    for words in ("resnet20 on bars: 12 training images of 3 classes, 3 epochs", "上", "a note to be read", "arXiv"):
        assert words in page
    assert f"plusx train --config {folder.config}" in page
    mistake = run_report._mistake(result, test, 0)
    assert (mistake.true, mistake.predicted, mistake.probability, mistake.name) == ("上", "low", 1.0, "000")
    with Image.open(io.BytesIO(mistake.png)) as picture:
        assert np.array_equal(np.asarray(picture.convert("L")), tiny.samples(1)[0].source)


def test_a_report_needs_scores(tmp_path, data):
    folder = RunFolder.create(tmp_path, "bars")
    result = Result(folder.path, "test", 6, None, plan_of())
    with pytest.raises(ValueError, match="needs an evaluation"):
        run_report.write_run_report(folder, result, data, finished(), tiny.batches(), tiny.batches(), Device())


def test_the_log_has_no_empty_names(tmp_path):
    folder = RunFolder.create(tmp_path, "bars")
    run_report.logged(folder, Section("Weights", (("origin", "some.pth"), ("", "a sentence"))))
    log = (folder.path / "log.txt").read_text(encoding="utf-8")
    assert [line.split("  ", 1)[1] for line in log.splitlines()] == [
        "Weights",
        "    origin: some.pth",
        "    a sentence",
    ]
