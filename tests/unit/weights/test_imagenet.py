import pytest
from torchvision.models._meta import _IMAGENET_CATEGORIES

from plusx.weights.imagenet import folded, imagenet_classes, imagenet_ids, imagenet_index, same_class


def test_the_names_are_torchvisions_but_for_the_dog_that_is_called_like_a_jacket():
    differing = {
        index: (ours, theirs)
        for index, (ours, theirs) in enumerate(zip(imagenet_classes(), _IMAGENET_CATEGORIES, strict=True))
        if ours != theirs
    }
    assert differing == {264: ("Cardigan Welsh corgi", "Cardigan")}


def test_the_ids_are_timms_and_the_names_are_wordnets_for_them():
    data = pytest.importorskip("timm.data")
    info = data.ImageNetInfo()
    assert list(imagenet_ids()) == info.label_names()
    words = dict(zip(imagenet_ids(), imagenet_classes(), strict=True))
    for wnid, name in words.items():
        lemmas = {folded(lemma) for lemma in info.label_name_to_description(wnid).split(",")}
        told_apart = {"n02012849": "crane bird", "n03710721": "maillot tank suit"}.get(wnid)
        assert folded(name) in lemmas or name == told_apart


def test_every_name_and_id_stands_for_one_output():
    for index, (wnid, name) in enumerate(zip(imagenet_ids(), imagenet_classes(), strict=True)):
        assert imagenet_index(wnid) == imagenet_index(name) == imagenet_index(name.upper().replace(" ", "_")) == index
        assert same_class(wnid, name)
    assert len({folded(name) for name in imagenet_classes()}) == 1000


def test_the_pairs_that_are_easily_taken_for_one_another_are_told_apart():
    assert (imagenet_index("crane"), imagenet_index("crane_bird")) == (517, 134)
    assert (imagenet_index("maillot"), imagenet_index("maillot tank suit")) == (638, 639)
    assert (imagenet_index("Cardigan"), imagenet_index("cardigan"), imagenet_index("CARDIGAN")) == (264, 474, 474)
    assert not same_class("Cardigan", "cardigan")
    assert same_class("Cardigan", "cardigan-welsh-corgi")
    assert (imagenet_index("sunglass"), imagenet_index("sunglasses")) == (836, 837)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("tench", "n01440764", True),
        ("N01440764", "Tench", True),
        ("great_white_shark", "great white shark", True),
        ("tench", "goldfish", False),
        ("tench", "n01443537", False),
        ("ants", "Ants", True),
        ("my_class", "my class", True),
        ("ants", "bees", False),
        ("ants", "ant", False),
        ("tench", "ants", False),
        ("ants", "tench", False),
    ],
)
def test_an_id_or_a_name_stand_for_the_same_class(one, other, same):
    assert same_class(one, other) is same


def test_other_names_are_no_classes_of_imagenet():
    assert imagenet_index("ants") is None
    assert imagenet_index("") is None
