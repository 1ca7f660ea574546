"""fastai's Learner as its users run it: data block, fit_one_cycle, its own Adam, its progress bar.

    python benchmarks/rival_fastai.py SETTINGS        (loops.py starts it, with fastai's own environment)

Usual: aug_transforms() on the batch. Light: a flip alone, with channels_last. Its mixed precision asks for autocast on
CUDA whatever the device, so on a CPU there is none.
"""

import json
import sys

import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.vision.all import (
    Callback,
    CategoryBlock,
    DataBlock,
    ImageBlock,
    ImageDataLoaders,
    Learner,
    Normalize,
    RandomResizedCrop,
    RandomSplitter,
    accuracy,
    aug_transforms,
    cifar_stats,
    imagenet_stats,
)
from plain import ResNet20
from torchvision import datasets, models
from turns import Turn

SIDE = 224


class Tell(Callback):
    """Says when a training step is done."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def after_batch(self) -> None:
        """Count the step."""
        if self.training:
            self.turn(len(self.xb[0]))


def main() -> None:
    """Train in turns."""
    told = json.loads(sys.argv[1])
    turn = Turn()
    plainly = {"max_rotate": 0.0, "max_zoom": 1.0, "max_lighting": 0.0, "max_warp": 0.0} if told["light"] else {}
    loading = {"bs": told["batch"], "num_workers": told["workers"]}
    if told["data"] == "cifar10":
        data = datasets.CIFAR10(told["root"], train=True)
        block = DataBlock(
            blocks=(ImageBlock, CategoryBlock),
            get_items=lambda _: list(range(len(data.data))),
            get_x=lambda index: data.data[index],
            get_y=lambda index: data.classes[data.targets[index]],
            splitter=RandomSplitter(0.1, seed=0),
            batch_tfms=[*aug_transforms(**plainly), Normalize.from_stats(*cifar_stats)],
        )
        loaders, network = block.dataloaders(None, **loading), ResNet20(10)
    else:
        loaders = ImageDataLoaders.from_folder(
            told["root"],
            valid_pct=0.1,
            seed=0,
            item_tfms=RandomResizedCrop(SIDE),
            batch_tfms=[*aug_transforms(**plainly), Normalize.from_stats(*imagenet_stats)],
            **loading,
        )
        network = models.get_model(told["model"], num_classes=loaders.c)
    learner = Learner(loaders, network, metrics=accuracy, cbs=[Tell(turn)])
    if told["channels_last"]:
        learner.add_cb(ChannelsLast())
    if told["autocast"] and torch.cuda.is_available():
        learner.add_cb(MixedPrecision(AMPMode.BF16))
    learner.fit_one_cycle(1000)


if __name__ == "__main__":
    main()
