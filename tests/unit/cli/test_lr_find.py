import json

from plusx.cli import main


def test_the_command_prints_what_it_found(tmp_path, capsys, image_folder):
    source = str(image_folder({"left": 20, "right": 20}))
    out = str(tmp_path / "found")
    command = ["lr-find", source, "--model", "resnet20", "--batch-size", "8", "--rates", "8", "--out", out, "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["batch_size"] == 8
    assert printed["folder"].startswith(out)
    assert 2 <= len(printed["tried"]) <= 8
    assert {"steepest", "minimum_tenth", "learning_rate"} <= set(printed)
