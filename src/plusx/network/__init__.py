"""From an input tensor to outputs: stems, blocks, shortcuts, the networks made of them, and their initial weights.

`architectures` is plain data and loads no torch; `backbone` turns it into modules.
"""
