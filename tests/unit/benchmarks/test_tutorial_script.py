"""The script that plusx is held against must be of the same network, and must not be changed by what runs beside it."""

import torch

import plusx


def test_the_scripts_network_is_mnist_resnet(benchmark):
    theirs, ours = benchmark("tutorial_script").Net().eval(), plusx.model("mnist_resnet", classes=10, seed=3).eval()
    assert sum(one.numel() for one in theirs.parameters()) == 296_640
    assert sum(one.numel() for one in ours.parameters()) == 296_640
    with torch.no_grad():
        for target, source in zip(theirs.parameters(), ours.parameters(), strict=True):
            target.copy_(source)
        images = torch.rand(4, 1, 28, 28)
        torch.testing.assert_close(theirs(images), ours(images))


class Noise(torch.utils.data.Dataset):
    """Stands for torchvision's MNIST."""

    def __init__(self, *_, **__):
        self.images = torch.rand(96, 1, 28, 28, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], index % 10


def test_what_takes_turns_with_the_script_does_not_change_it(benchmark, monkeypatch):
    script = benchmark("tutorial_script")
    monkeypatch.setattr(script.datasets, "MNIST", Noise)
    monkeypatch.setattr(script, "tested", lambda net, loader: [one.clone() for one in net.parameters()])
    torch.manual_seed(5)
    alone = list(script.script("", 2, seed=1))
    turns = []
    for state in script.script("", 2, seed=1):
        torch.rand(7)
        torch.manual_seed(99)
        turns.append(state)
    for before, after in zip(alone, turns, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
