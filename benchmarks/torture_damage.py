"""Damaged files of the torture bench: bits flipped, ends cut off or added, blocks zeroed, swapped or repeated."""

import random
from collections import Counter
from pathlib import Path

from plusx.errors import CheckpointError
from plusx.tensor_file import read_tensors


def flipped(content: bytearray, draw: random.Random) -> bytearray:
    """One bit, anywhere."""
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return content


def flipped_in_head(content: bytearray, draw: random.Random) -> bytearray:
    """One bit of what comes before the tensors."""
    length = 8 + int.from_bytes(content[:8], "little")
    content[draw.randrange(length)] ^= 1 << draw.randrange(8)
    return content


def truncated(content: bytearray, draw: random.Random) -> bytearray:
    """Any number of bytes missing at the end."""
    return content[: draw.randrange(len(content))]


def extended(content: bytearray, draw: random.Random) -> bytearray:
    """Up to a block of zeros or anything at the end."""
    more = draw.randint(1, 4096)
    return content + (bytes(more) if draw.random() < 0.5 else draw.randbytes(more))


def zeroed(content: bytearray, draw: random.Random) -> bytearray:
    """A block that was never written, as after a power cut."""
    begin = 512 * draw.randrange(len(content) // 512)
    content[begin : begin + 512] = bytes(len(content[begin : begin + 512]))
    return content


def swapped(content: bytearray, draw: random.Random) -> bytearray:
    """Two blocks in one another's places."""
    one, two = (512 * draw.randrange(len(content) // 512) for _ in range(2))
    content[one : one + 512], content[two : two + 512] = content[two : two + 512], content[one : one + 512]
    return content


def repeated(content: bytearray, draw: random.Random) -> bytearray:
    """A block in the place of another."""
    one, two = (512 * draw.randrange(len(content) // 512) for _ in range(2))
    content[one : one + 512] = content[two : two + 512]
    return content


DAMAGES = (flipped, flipped_in_head, truncated, extended, zeroed, swapped, repeated)


def corruptions(state: Path, count: int, work: Path) -> tuple[Counter, list[str]]:
    """Damage a state file again and again; return how often it was noticed, and what was not."""
    draw, whole, torn = random.Random(1), state.read_bytes(), work / "torn.safetensors"
    noticed: Counter = Counter()
    wrong = []
    while noticed.total() + len(wrong) < count:
        damage = DAMAGES[(noticed.total() + len(wrong)) % len(DAMAGES)]
        content = bytes(damage(bytearray(whole), draw))
        if content == whole:
            continue  # zeros zeroed
        torn.write_bytes(content)
        try:
            read_tensors(torn, "state")
        except CheckpointError:
            noticed[damage.__name__] += 1
        else:
            wrong.append(f"corruption {noticed.total()}: {damage.__name__} was not noticed")
    return noticed, wrong
