"""What to do where training waits for its data."""

from plusx.data.batches import Batches

BEARABLE = 0.05
"""The share of an epoch spent waiting above which something should be said."""


def advice(share: float, batches: Batches, cores: int) -> str:
    """Say what would make training wait less for its data; nothing where it waits little.

    Args:
        share: Of an epoch's seconds, those spent waiting for a batch, 0..1.
        batches: What was waited for.
        cores: Of this machine.

    Returns:
        A sentence, or nothing.
    """
    if share <= BEARABLE:
        return ""
    found = f"{share:.0%} of the epoch was spent waiting for data"
    if batches.in_memory:
        return f"{found}, though all images are in memory: the network is small; a larger --batch-size would help"
    help_ = [f"--workers {cores} (now {batches.workers})"] if batches.workers < cores else []
    if not batches.cached:
        help_.append("--cache FOLDER, which keeps decoded images")
    help_.append(f"smaller images: --image-size below {max(batches.input.shape[1:])}")
    return f"{found}; what would help: {', or '.join(help_)}"
