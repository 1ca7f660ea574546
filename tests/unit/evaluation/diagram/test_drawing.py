"""Pictures as plain data, and their files."""

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from plusx.errors import StorageError, UsageError
from plusx.evaluation.diagram.drawing import MARK, Box, Drawing, Line, Words, to_png, to_svg, write_drawing

SVG = "{http://www.w3.org/2000/svg}"
DRAWING = Drawing(
    200.5,
    100,
    "a <title>",
    "what & why",
    (
        Box(10, 10, 80, 24, "3x3 conv, 64", "#ff0000", "#000000"),
        Line(((100, 20), (180, 20)), stroke="#0000ff", thickness=4, arrow=True),
        Line(((20, 50), (60, 50), (60, 90), (20, 90)), dashed=True, curved=True, arrow=True),
        Words(190, 60, "$x_1$ < y", side="right", bold=True),
    ),
)


def test_text_stays_text_on_white():
    root = ET.fromstring(to_svg(DRAWING).decode())
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("200.5", "100", "0 0 200.5 100")
    assert [element.text for element in root.iter(f"{SVG}text")] == ["3x3 conv, 64", "$x_1$ < y"]
    assert [element.get("text-anchor") for element in root.iter(f"{SVG}text")] == ["middle", "end"]
    assert root.find(f"{SVG}title").text == "a <title>"
    assert root.find(f"{SVG}desc").text == "what & why"
    background, box = root.iter(f"{SVG}rect")
    assert (background.get("fill"), background.get("width")) == ("#ffffff", "200.5")
    assert box.get("fill") == "#ff0000"
    straight, curved = root.iter(f"{SVG}path")
    assert straight.get("stroke-dasharray") is None
    assert curved.get("stroke-dasharray")
    assert "C" in curved.get("d")
    assert len(list(root.iter(f"{SVG}polygon"))) == 2
    assert "sans-serif" in root.get("font-family")


def test_a_png_has_the_same_things_in_the_same_places():
    image = Image.open(io.BytesIO(to_png(DRAWING)))
    assert image.size == (401, 200)
    assert image.text["Software"] == MARK
    pixels = np.asarray(image.convert("RGB")).astype(int)
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert tuple(pixels[30, 28]) == (255, 0, 0)
    assert tuple(pixels[40, 280]) == (0, 0, 255)
    # The words are there, without being taken for a formula, which would be wider than high.
    assert (pixels[100:140, 240:400] < 128).any()


def test_the_same_drawing_is_the_same_bytes_whatever_matplotlib_is_told():
    import matplotlib as mpl

    first = to_png(DRAWING)
    with mpl.rc_context({"font.family": ["serif"], "axes.facecolor": "black", "savefig.bbox": "tight"}):
        assert to_png(DRAWING) == first
    assert to_svg(DRAWING) == to_svg(DRAWING)


def test_only_drawings_are_replaced(tmp_path):
    files = [tmp_path / "new" / "a.svg", tmp_path / "new" / "a.PNG"]
    write_drawing(DRAWING, files)
    assert [file.read_bytes() for file in files] == [to_svg(DRAWING), to_png(DRAWING)]
    other = Drawing(10, 10, "other", "", ())
    write_drawing(other, files)
    assert files[0].read_bytes() == to_svg(other)
    files[1].write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"a\.PNG' exists and is no diagram that plusx drew"):
        write_drawing(DRAWING, files)
    assert files[0].read_bytes() == to_svg(other)
    assert files[1].read_bytes() == b"mine"


def test_folders_and_what_cannot_be_read_are_not_replaced(tmp_path):
    (tmp_path / "a.svg").mkdir()
    (tmp_path / "b.svg").symlink_to(tmp_path / "nowhere" / "x")
    for name in ("a.svg", "b.svg"):
        with pytest.raises(UsageError, match="is no diagram"):
            write_drawing(DRAWING, [tmp_path / name])


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"could not write '.*file/folder'"):
        write_drawing(DRAWING, [tmp_path / "file" / "folder" / "a.svg"])
