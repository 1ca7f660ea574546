"""Kernels: the parts of a training step on the CPU that plusx computes itself, compiled on first use.

Where they cannot be had (no compiler, another processor, another device, another layout), torch's own operators
compute the same; `describe` says which.
"""

from plusx.kernels.library import describe, identity

__all__ = ["describe", "identity"]
