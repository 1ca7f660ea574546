import json
import math
import re
import string
from importlib import resources

import pytest
import torchvision.models
from torchvision.transforms import InterpolationMode

from plusx.errors import UsageError
from plusx.inputs.image import ImageInput
from plusx.weights.published import (
    CIFAR10,
    GLUON,
    PUBLISHED,
    TIMM,
    find_published,
    published_by_sha256,
    published_for,
)

THEIR_NAMES = {"wide50-2": "wide_resnet50_2", "wide101-2": "wide_resnet101_2"}
TIMM_NAMES = {f"preresnet{depth}": f"resnetv2_{depth}" for depth in (18, 34, 50, 101)}
TIMM_TAGS = {"ra4-in1k": "ra4_e3600_r224_in1k"}


# Rows of timm's results/results-imagenet.csv (commit 4e5207c7): model, image size, top-1 in percent.
TIMM_RESULTS = {
    "resnet18.a1_in1k": (224, 71.504),
    "resnet34.a1_in1k": (224, 76.420),
    "resnet50.a1_in1k": (224, 80.382),
    "resnet50.a2_in1k": (224, 79.828),
    "resnet50.a3_in1k": (160, 75.994),
    "resnet101.a1h_in1k": (224, 81.950),
    "resnet101.a1_in1k": (224, 81.494),
    "resnet152.a1h_in1k": (224, 82.818),
    "resnet152.a1_in1k": (224, 81.998),
    "resnet50c.gluon_in1k": (224, 78.016),
    "resnet101c.gluon_in1k": (224, 79.542),
    "resnet152c.gluon_in1k": (224, 79.904),
    "resnet18d.ra2_in1k": (224, 72.296),
    "resnet34d.ra2_in1k": (224, 77.108),
    "resnet50d.ra2_in1k": (224, 80.546),
    "resnet101d.ra2_in1k": (256, 82.254),
    "resnet152d.ra2_in1k": (256, 83.160),
    "resnetrs50.tf_in1k": (160, 77.858),
    "resnetrs101.tf_in1k": (192, 80.706),
    "resnetrs152.tf_in1k": (256, 82.900),
    "resnetrs200.tf_in1k": (256, 83.884),
    "resnetrs270.tf_in1k": (256, 83.596),
    "resnetrs350.tf_in1k": (288, 84.304),
    "resnetrs420.tf_in1k": (320, 84.240),
    "seresnet50.ra2_in1k": (224, 80.260),
    "seresnet50.a1_in1k": (224, 80.012),
    "seresnext50_32x4d.racm_in1k": (224, 81.268),
    "seresnext101_32x4d.gluon_in1k": (224, 80.886),
    "ecaresnet50d.miil_in1k": (224, 80.634),
    "resnext50_32x4d.a1h_in1k": (224, 81.140),
    "resnext101_32x4d.gluon_in1k": (224, 80.336),
    "resnext101_64x4d.c1_in1k": (224, 82.446),
    "wide_resnet50_2.racm_in1k": (224, 81.466),
    "resnetv2_18.ra4_e3600_r224_in1k": (224, 73.572),
    "resnetv2_34.ra4_e3600_r224_in1k": (224, 77.626),
    "resnetv2_50.a1h_in1k": (224, 80.410),
    "resnetv2_101.a1h_in1k": (224, 82.042),
    "densenet121.ra_in1k": (224, 75.574),
}

# Files of timm's releases on GitHub, which its older pretrained_cfgs named and whose names end in digits of the sha256;
# its newer ones name the hub's copies.
TIMM_RELEASES = {
    "resnetv2_50.a1h_in1k": "v0.1-rsb-weights/resnetv2_50_a1h-000cdf49.pth",
    "resnetv2_101.a1h_in1k": "v0.1-rsb-weights/resnetv2_101_a1h-5d01f016.pth",
    "densenet121.ra_in1k": "v0.1-weights/densenet121_ra-50efcf5c.pth",
}


def of(source):
    return [entry for entry in PUBLISHED.values() if entry.source == source]


def their_name(architecture):
    return THEIR_NAMES.get(architecture, architecture.replace("-", "_"))


@pytest.mark.parametrize("entry", of("torchvision"), ids=lambda entry: entry.name)
def test_torchvisions_are_as_its_enums_say(entry):
    weights = torchvision.models.get_model_weights(their_name(entry.architecture))
    theirs = weights[entry.name.split(":")[1].replace("-", "_").upper()]
    transforms = theirs.transforms()
    assert entry.url == theirs.url
    assert entry.sha256 == re.search(r"-([0-9a-f]{8})\.pth$", theirs.url)[1]
    assert entry.top1 == theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert entry.mebibytes == theirs.meta["_file_size"]
    assert [entry.size] == transforms.crop_size
    assert [round(entry.size / entry.crop_fraction)] == transforms.resize_size
    assert (list(entry.mean), list(entry.deviation)) == (transforms.mean, transforms.std)
    assert InterpolationMode(entry.interpolation) == transforms.interpolation
    assert len(entry.classes) == len(theirs.meta["categories"])


def test_their_parameters_are_those_of_our_networks():
    costs = json.loads(resources.files("plusx.network").joinpath("complexity.json").read_text(encoding="utf-8"))
    for entry in of("torchvision"):
        theirs = torchvision.models.get_model_weights(their_name(entry.architecture)).DEFAULT
        assert costs[entry.architecture]["parameters"] == theirs.meta["num_params"]


def test_all_of_torchvisions_residual_and_dense_networks_are_there_and_the_default_is_its_own():
    names = [
        name for name in torchvision.models.list_models(module=torchvision.models) if re.search("res?ne|dense", name)
    ]
    names = [name for name in names if re.match("resnet|resnext|wide_resnet|densenet", name)]
    ours = {their_name(entry.architecture): entry.architecture for entry in of("torchvision")}
    assert set(names) == set(ours)
    for name in names:
        weights = torchvision.models.get_model_weights(name)
        assert len(weights) == sum(entry.source == "torchvision" for entry in published_for(ours[name]))
        assert find_published(f"{ours[name]}:default").url == weights.DEFAULT.url


@pytest.mark.parametrize("entry", of("timm"), ids=lambda entry: entry.name)
def test_timms_are_as_its_pretrained_cfgs_say(entry):
    models = pytest.importorskip("timm.models")
    architecture, tag = entry.name.split(":")
    name = TIMM_NAMES.get(architecture, their_name(architecture))
    full = f"{name}.{TIMM_TAGS.get(tag, tag.replace('-', '_'))}"
    theirs = models.get_pretrained_cfg(full)
    if theirs.url:
        # The project moved on GitHub; both addresses lead to the same files.
        assert entry.url == theirs.url.replace("rwightman/pytorch-image-models", "huggingface/pytorch-image-models")
        assert entry.url.startswith((TIMM, GLUON))
        assert entry.sha256 == re.search(r"-([0-9a-f]{8})\.pth$", theirs.url)[1]
        assert entry.file == theirs.url.rpartition("/")[2]
    elif full in TIMM_RELEASES:
        assert entry.url == TIMM + TIMM_RELEASES[full]
        assert entry.sha256 == entry.url[-12:-4]
        assert entry.file == entry.url.rpartition("/")[2]
    else:
        assert entry.url == f"https://huggingface.co/{theirs.hf_hub_id}/resolve/main/model.safetensors"
        assert entry.sha256 == ""
        assert entry.file == f"{full}.safetensors"
    assert theirs.input_size == (3, entry.size, entry.size)
    assert math.floor(entry.size / theirs.crop_pct) == round(entry.size / entry.crop_fraction)
    assert (theirs.mean, theirs.std) == (entry.mean, entry.deviation)
    assert theirs.interpolation == entry.interpolation
    assert theirs.license == entry.license.lower()
    assert theirs.num_classes == len(entry.classes)


def test_timms_figures_are_those_of_its_results():
    found = {}
    for entry in of("timm"):
        architecture, tag = entry.name.split(":")
        name = TIMM_NAMES.get(architecture, their_name(architecture))
        found[f"{name}.{TIMM_TAGS.get(tag, tag.replace('-', '_'))}"] = (entry.size, entry.top1)
    assert found == TIMM_RESULTS


def test_the_cifar_weights_are_known_by_their_whole_sum():
    entries = of("akamaster/pytorch_resnet_cifar10")
    assert [(entry.architecture, entry.top1) for entry in entries] == [
        ("resnet20", 91.73), ("resnet32", 92.63), ("resnet44", 93.10), ("resnet56", 93.39),
    ]  # fmt: skip
    for entry in entries:
        assert len(entry.sha256) == 64
        assert entry.file == f"{entry.architecture}-{entry.sha256[:8]}.th"
        assert entry.classes == CIFAR10
        assert entry.image_input() == ImageInput(32, 32, 3, entry.mean, entry.deviation, rounded=True)
        assert published_by_sha256(entry.sha256) is entry


def test_every_entry_is_sound():
    for name, entry in PUBLISHED.items():
        assert entry.name == name == name.lower()
        assert re.fullmatch(r"[a-z0-9-]+:[a-z0-9-]+", name)
        assert set(entry.sha256) <= set(string.hexdigits.lower())
        assert len(entry.sha256) in {0, 8, 64}
        assert f"{entry.top1:.2f} % top-1 on " in entry.score
        assert entry.license in entry.terms
        assert entry.source in entry.terms
        assert entry.image_input().crop_fraction == entry.crop_fraction
    assert len({entry.file for entry in PUBLISHED.values()}) == len(PUBLISHED)


def test_a_name_may_be_spelled_with_underscores_and_capitals():
    entry = PUBLISHED["resnext50-32x4d:imagenet1k-v2"]
    assert find_published("resnext50-32x4d:imagenet1k-v2") is entry
    assert find_published(" ResNeXt50_32x4d:IMAGENET1K_V2") is entry
    assert find_published("resnet50d:default") is PUBLISHED["resnet50d:ra2-in1k"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "resnet34",
            "'resnet34' does not say which weights are meant; for 'resnet34' there are 'resnet34:imagenet1k-v1'",
        ),
        ("resnet50:", "'resnet50:' does not say which weights are meant; for 'resnet50' there are "),
        (
            "resnet50:v2",
            "no published weights are called 'resnet50:v2'; for 'resnet50' there are 'resnet50:imagenet1k-v2'",
        ),
        ("resnet20", "'resnet20' does not say which weights are meant; say 'resnet20:cifar10'"),
        ("resnet20:imagenet", "no published weights are called 'resnet20:imagenet'; say 'resnet20:cifar10'"),
        ("resnt50:imagenet1k-v2", "no published weights are called 'resnt50:imagenet1k-v2'; did you mean 'resnet50:"),
        ("resnet50.a1_in1k", "did you mean 'resnet50:a1-in1k'"),
        ("plain18:imagenet", "no published weights are called 'plain18:imagenet'"),
        ("qqq", "no published weights are called 'qqq'; see plusx weights list"),
        ("", "no published weights are called ''; see plusx weights list"),
    ],
)
def test_a_name_that_is_none_is_told_which_are(name, said):
    with pytest.raises(UsageError) as found:
        find_published(name)
    assert said in str(found.value)


def test_a_file_is_known_by_the_digits_that_are_published():
    assert published_by_sha256("11ad3fa6" + "0" * 56) is PUBLISHED["resnet50:imagenet1k-v2"]
    assert published_by_sha256("0" * 64) is None
