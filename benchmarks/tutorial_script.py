"""The tutorial's MNIST script, written from its description in plain PyTorch: what plusx is held against.

float32, channels first, images read one by one by torchvision, Adam with its defaults, the network tested after every
epoch. Its network: convolutions with a residual block after each but the last, 296,640 parameters.
"""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

BATCH = 32


class ResidualBlock(nn.Module):
    """A 5x5 convolution to 30 channels, relu, a 3x3 one back, relu, and relu of the sum with the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 30, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(30, channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        out = functional.relu(self.conv1(x))
        out = functional.relu(self.conv2(out))
        return functional.relu(out + x)


class Net(nn.Module):
    """Four convolutions, three blocks, four poolings and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5, padding=2)
        self.conv2 = nn.Conv2d(20, 40, 3, padding=1)
        self.conv3 = nn.Conv2d(40, 80, 3, padding=1)
        self.conv4 = nn.Conv2d(80, 160, 3, padding=1)
        self.block1 = ResidualBlock(20)
        self.block2 = ResidualBlock(40)
        self.block3 = ResidualBlock(80)
        self.maxpool = nn.MaxPool2d(2)
        self.linear = nn.Linear(160, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, 28, 28) -> (B, 10)."""
        x = self.maxpool(self.block1(self.conv1(x)))
        x = self.maxpool(self.block2(self.conv2(x)))
        x = self.maxpool(self.block3(self.conv3(x)))
        x = self.maxpool(functional.relu(self.conv4(x)))
        return self.linear(x.view(x.size(0), -1))


def tested(net: nn.Module, loader: DataLoader) -> float:
    """Return the share of right answers in percent."""
    net.eval()
    correct = total = 0
    with torch.no_grad():
        for images, labels in loader:
            predicted = torch.argmax(net(images), 1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    return 100 * correct / total


def script(root: str, epochs: int, seed: int, limit: int = 0) -> Iterator[float]:
    """Train as the tutorial does, and yield the test accuracy in percent before the first epoch and after each.

    Args:
        root: Where torchvision finds MNIST.
        epochs: How many.
        seed: The tutorial has none; it is here so that a run can be told from another. Weights and order are drawn from
            streams of their own, which nothing that takes turns with this script can change.
        limit: Only so many training images and a sixth as many test images, for a trial; 0 takes all.
    """
    to_tensor = transforms.ToTensor()
    training = datasets.MNIST(root, train=True, transform=to_tensor)
    testing = datasets.MNIST(root, train=False, transform=to_tensor)
    if limit:
        training = torch.utils.data.Subset(training, range(limit))
        testing = torch.utils.data.Subset(testing, range(limit // 6))
    train_loader = DataLoader(training, batch_size=BATCH, shuffle=True, generator=torch.Generator().manual_seed(seed))
    test_loader = DataLoader(testing, batch_size=BATCH, shuffle=False, generator=torch.Generator())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "min", factor=0.1, patience=5, min_lr=1e-6)
    yield tested(net, test_loader)
    for _ in range(epochs):
        net.train()
        running = 0.0
        for step, (images, labels) in enumerate(train_loader):
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if step % 100 == 99:
                running = 0.0  # the tutorial prints it here
        scheduler.step(loss.item())
        yield tested(net, test_loader)
