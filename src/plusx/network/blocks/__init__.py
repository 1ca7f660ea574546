"""Blocks: the parts that a stage repeats, one module a paper; each is a `Block`."""

from plusx.network.blocks.block import Block
from plusx.network.blocks.dense import DenseBasic, DenseBottleneck
from plusx.network.blocks.original import Basic, Bottleneck
from plusx.network.blocks.preactivation import PreActivationBasic, PreActivationBottleneck
from plusx.network.blocks.small import Fast, Single, Tutorial

BLOCKS: dict[str, type[Block]] = {
    "basic": Basic,
    "bottleneck": Bottleneck,
    "preactivation_basic": PreActivationBasic,
    "preactivation_bottleneck": PreActivationBottleneck,
    "dense_basic": DenseBasic,
    "dense_bottleneck": DenseBottleneck,
    "fast": Fast,
    "single": Single,
    "tutorial": Tutorial,
}

__all__ = ["BLOCKS", "Block"]
