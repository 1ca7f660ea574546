import json

import numpy as np
import pytest
import torch

import plusx
from plusx.errors import CheckpointError, DataError, UsageError
from plusx.network.architectures import ARCHITECTURES


def test_a_model_has_the_classes_and_channels_that_were_asked_for():
    network = plusx.model("resnet20", classes=10)
    assert sum(one.numel() for one in network.parameters()) == 269_722
    assert plusx.model("resnet20", classes=["a", "b"], channels_in=5)(torch.zeros(2, 5, 16, 16)).shape == (2, 2)
    assert plusx.model(ARCHITECTURES["resnet32"], classes=3).architecture.name == "resnet32"


def test_a_models_seed_decides_its_weights_and_leaves_the_callers_stream_alone():
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    first = plusx.model("resnet20", classes=3, seed=1).state_dict()
    assert torch.equal(torch.rand(2), expected)
    torch.manual_seed(5)
    again, other = (plusx.model("resnet20", classes=3, seed=seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.linear.weight"], other["head.linear.weight"])


def test_a_model_without_a_seed_follows_torchs():
    torch.manual_seed(4)
    first = plusx.model("resnet20", classes=3).state_dict()["head.linear.weight"]
    assert not torch.equal(first, plusx.model("resnet20", classes=3).state_dict()["head.linear.weight"])
    torch.manual_seed(4)
    assert torch.equal(first, plusx.model("resnet20", classes=3).state_dict()["head.linear.weight"])


def test_a_models_shortcut_may_be_the_papers_letter():
    assert plusx.model("resnet20", classes=3, shortcut="b").architecture.shortcut == "projection"
    network = plusx.model("resnet20", classes=3, zero_init_residual=True)
    assert all((block.last_norm.weight == 0).all() for block in network.backbone.blocks())
    assert not plusx.model("resnet20", classes=3).architecture.zero_init_residual


@pytest.mark.parametrize(
    ("given", "options", "error", "words"),
    [
        ("resnet21", {}, UsageError, "no model is called 'resnet21'"),
        ("resnet20", {"shortcut": "Z"}, UsageError, "no shortcut is called 'Z'"),
        ("resnet20", {"channels_in": 0}, UsageError, "channels_in 0"),
        ("resnet20", {"channels_in": "3.5"}, UsageError, "architecture.channels_in is '3.5'"),
        ("resnet20", {"zero_init_residual": 1}, UsageError, "true or false"),
        ("resnet20", {"classes": 1}, DataError, "only one class"),
        ("resnet20", {"classes": 0}, DataError, "no classes"),
    ],
)
def test_what_no_model_can_be_is_one_sentence(given, options, error, words):
    with pytest.raises(error, match=words):
        plusx.model(given, **options)


def test_a_run_in_python_from_pictures_to_predictions(image_folder, tmp_path):
    """The five lines of the README, on pictures of noise: only that all parts fit together is tested here."""
    root = image_folder({"cat": 9, "猫": 9})
    result = plusx.train(root, out=tmp_path / "runs", name="mine", epochs=1, limit_samples=6, device="cpu", threads=1)
    assert result.run == tmp_path / "runs" / "mine"
    assert result.samples == result.evaluation.samples
    assert json.loads(json.dumps(result.to_dict()))["run"] == str(result.run)

    again = plusx.evaluate(result.run, device="cpu")
    rows = again.evaluation.predictions.probabilities
    np.testing.assert_allclose(rows, result.evaluation.predictions.probabilities, atol=1e-6)

    predictor = plusx.load(result.run, device="cpu", batch_size=2)
    names = again.evaluation.predictions.names
    answers = predictor([root / name for name in names])
    np.testing.assert_allclose([list(one.probabilities.values()) for one in answers], rows, atol=1e-6)

    resumed = plusx.resume(result.run)
    assert resumed.evaluation.scores["accuracy"] == result.evaluation.scores["accuracy"]
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        plusx.train(root, out=tmp_path / "runs", name="mine", epochs=1)


def test_a_dry_run_decides_everything_and_writes_nothing(image_folder, tmp_path):
    root = image_folder({"a": 9, "b": 9})
    result = plusx.train(root, out=tmp_path / "runs", dry_run=True, recipe="photos", epochs=3, threads=1)
    assert result.run is None
    assert result.evaluation is None
    assert result.plan.recipe.epochs == 3
    assert result.to_dict()["plan"]["recipe"]["name"] == "photos"
    assert not (tmp_path / "runs").exists()


def test_unknown_options_and_lost_runs_are_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="no option is called 'epoch'; did you mean 'epochs'"):
        plusx.train("digits", epoch=3)
    with pytest.raises(CheckpointError, match="does not exist"):
        plusx.resume(tmp_path / "none")
    with pytest.raises(CheckpointError, match="does not exist"):
        plusx.load(tmp_path / "none")
