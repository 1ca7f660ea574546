"""Blocks: the parts that a stage repeats, one module a paper.

A block is made from (channels_in, width, stride, shortcut), gives `expansion` times `width` channels, and names the
norm just before its sum, `last_norm`.
"""

from plusx.network.blocks.original import Basic, Bottleneck

Block = Basic | Bottleneck

BLOCKS: dict[str, type[Block]] = {
    "basic": Basic,
    "bottleneck": Bottleneck,
}
