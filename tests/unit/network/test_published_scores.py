"""Every published score stands here a second time, typed from its source, so that a slip of the finger shows."""

import re

import pytest

from plusx.network.architectures import ARCHITECTURES

# He et al. 2015, arXiv:1512.03385: tables 2 (18, plain), 3 (34, option B), 4 and 5, 6; figure 6 (plain110).
HE = {
    "resnet18": 27.88, "resnet34": 24.52, "resnet50": 22.85, "resnet101": 21.75, "resnet152": 21.43, "plain18": 27.94,
    "plain34": 28.54, "resnet20": 8.75, "resnet32": 7.51, "resnet44": 7.17, "resnet56": 6.97, "resnet110": 6.43,
    "resnet1202": 7.93, "plain110": 60,
}  # fmt: skip
# He et al. 2016, arXiv:1603.05027: tables 3 and 5.
IDENTITY = {
    "resnet164": 5.93, "resnet1001": 7.61, "preresnet110": 6.37, "preresnet164": 5.46, "preresnet1001": 4.92,
    "preresnet152": 21.1, "preresnet200": 20.7,
}  # fmt: skip
# Xie et al. 2016, arXiv:1611.05431: tables 3 to 5 and 7.
RESNEXT = {
    "resnext50-32x4d": 22.2, "resnext101-32x4d": 21.2, "resnext101-64x4d": 20.4, "resnext29-8x64d": 3.65,
    "resnext29-16x64d": 3.58,
}  # fmt: skip
# Zagoruyko and Komodakis 2016, arXiv:1605.07146: tables 4 (ZCA), 5, 6 and 8; the abstract of its code (wrn40-10).
WIDE = {
    "wide50-2": 21.9, "wrn16-4": 5.02, "wrn16-8": 4.27, "wrn22-8": 4.38, "wrn28-10": 4.00, "wrn40-1": 6.85,
    "wrn40-2": 5.33, "wrn40-4": 4.53, "wrn40-10": 3.80,
}  # fmt: skip
# He et al. 2018, arXiv:1812.01187: 76.87 and 77.16 % right.
TRICKS = {"resnet50c": 100 - 76.87, "resnet50d": 100 - 77.16}
# Bello et al. 2021, arXiv:2103.07579, as the table of its released weights has them: accuracy.
RESNET_RS = {
    f"resnetrs{depth}": 100 - right
    for depth, right in {50: 78.8, 101: 81.2, 152: 83.0, 200: 83.4, 270: 83.8, 350: 84.2, 420: 84.4}.items()
}
# Hu et al. 2017, arXiv:1709.01507: tables 2 and 4.
SENET = {
    "seresnet50": 23.29, "seresnet101": 22.38, "seresnet152": 21.57, "seresnext50-32x4d": 21.10,
    "seresnext101-32x4d": 20.70, "seresnet110": 5.21, "seresnet164": 4.39,
}  # fmt: skip
# Wang et al. 2019, arXiv:1910.03151, section 4.2: accuracy.
ECANET = {
    f"ecaresnet{depth}": 100 - right
    for depth, right in {18: 70.78, 34: 74.21, 50: 77.48, 101: 78.65, 152: 78.92}.items()
}
# Huang et al. 2016, arXiv:1608.06993: tables 2 and 3; the authors' code (161).
DENSENET = {
    "densenet121": 25.02, "densenet169": 23.80, "densenet201": 22.58, "densenet264": 22.15, "densenet161": 22.2,
    "densenet40-12": 5.24, "densenet100-12": 4.10, "densenet100-24": 3.74, "densenetbc100-12": 4.51,
    "densenetbc250-24": 3.62, "densenetbc190-40": 3.46,
}  # fmt: skip
# D. Page 2018, part 4: 94 % right.
SMALL = {"resnet9": 6}
SCORES = HE | IDENTITY | RESNEXT | WIDE | TRICKS | RESNET_RS | SENET | ECANET | DENSENET | SMALL

PAPERS = {
    "1512.03385": ("resnet18", "plain110", "resnet1202", "resnet9", "mnist_resnet"),
    "1603.05027": ("resnet164", "preresnet50", "preresnet1001"),
    "1611.05431": ("resnext50-32x4d", "resnext29-16x64d"),
    "1605.07146": ("wide101-2", "wrn40-10"),
    "1812.01187": ("resnet18c", "resnet50d"),
    "2103.07579": ("resnetrs50", "resnetrs420"),
    "1709.01507": ("seresnet18", "seresnext101-32x4d", "seresnet164"),
    "1910.03151": ("ecaresnet18", "ecaresnet50d"),
    "1608.06993": ("densenet121", "densenet161", "densenetbc190-40"),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_published_score_is_the_papers(name):
    published = ARCHITECTURES[name].published
    assert bool(published) == (name in SCORES)
    if published:
        (figure,) = re.findall(r"([\d.]+) %", published)
        assert float(figure) == pytest.approx(SCORES[name], abs=1e-9)


@pytest.mark.parametrize("number", PAPERS)
def test_a_family_names_its_paper(number):
    for name in PAPERS[number]:
        assert f"arXiv:{number}" in ARCHITECTURES[name].paper


@pytest.mark.parametrize(
    "name", ["preresnet50", "wide101-2", "resnet18d", "seresnet34", "ecaresnet50d", "resnext101-32x8d"]
)
def test_a_network_that_the_paper_has_no_result_of_is_after_it(name):
    assert ARCHITECTURES[name].paper.startswith("after ")
    assert not ARCHITECTURES[name].published
