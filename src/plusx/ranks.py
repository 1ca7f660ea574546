"""What the ranks of a distributed run tell each other, and how one that fails ends all.

torchrun starts the ranks; `joined` lets them meet. Without torchrun there is one rank, nothing is set up, and every
function here gives back what it was given. Tensors travel by nccl between GPUs and by gloo between CPUs; what is not a
tensor, and what decides anything, always by gloo, which waits for no GPU.
"""

import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from plusx import launch
from plusx.errors import LostRank, Told, UsageError
from plusx.meeting import Meeting, meet
from plusx.memory import lacks_memory

T = TypeVar("T")

BUCKET = 2**23
"""Numbers that are sent at once: 32 MiB of float32."""
GONE = (
    "another process of this run is gone without a word: killed, out of memory, or its machine is down ({}); "
    "torchrun --max-restarts 3 starts all of them again, and torchrun ... -m plusx resume goes on from the state last "
    "saved"
)
UNDER_WAY = 2
"""How many such sums are computed at the same time."""

_meetings: list[Meeting] = []  # one at most: torch's own process group is one for the whole process, too


def count() -> int:
    """Return how many ranks there are."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Return which of them this is, from 0."""
    return distributed.get_rank() if _together() else 0


def is_first() -> bool:
    """Whether this rank is the one that writes."""
    return rank() == 0


@contextmanager
def joined() -> Generator[None]:
    """Meet the other ranks inside the block, if torchrun started this process and they have not met yet.

    Raises:
        Told: The block failed here, and another rank says why.
        UsageError: The process is in a group of torch's that was not made here, or that a failed block has left.
        PlusxError: The ranks cannot meet.
    """
    place = launch.place()
    if not _meetings and _together():
        raise UsageError(
            "this process is in a process group of torch.distributed already, its script's own or that of a run which "
            "failed; plusx makes its own: call torch.distributed.destroy_process_group() before, or start anew"
        )
    if place is None or _meetings:
        yield
        return
    meeting = meet(place, gpus=torch.cuda.is_available())
    _meetings.append(meeting)
    try:
        yield
        distributed.destroy_process_group()
    except Exception as error:
        if not meeting.lets_speak(error):
            raise Told(getattr(error, "exit_code", 1)) from error
        setattr(error, launch.SPOKEN_HERE, True)
        raise
    finally:
        _meetings.remove(meeting)


def largest(*numbers: float) -> list[float]:
    """Return, for each number, the largest that any rank gives."""
    if count() == 1:
        return list(numbers)
    found = torch.tensor(numbers, dtype=torch.float64)
    _carry(lambda: distributed.all_reduce(found, distributed.ReduceOp.MAX))
    return found.tolist()


def gathered(value: T) -> list[T]:
    """Return what each rank gives, in their order."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    _carry(lambda: distributed.all_gather_object(found, value))
    return found


def from_first(value: T) -> T:
    """Return what the first rank gives."""
    if count() == 1:
        return value
    found: list[Any] = [value if is_first() else None]
    _carry(lambda: distributed.broadcast_object_list(found, src=0))
    return found[0]


def once_a_machine(work: Generator[Any, None, T]) -> Generator[Any, None, T]:
    """Do some work on the first rank of each machine, and give its result to the machine's others."""
    if count() == 1:
        return (yield from work)
    meeting = _meetings[-1]
    leads = rank() == meeting.leader
    if not leads:
        work.close()
    found: list[Any] = [(yield from work) if leads else None]
    if meeting.place.local_ranks > 1:
        _carry(lambda: distributed.broadcast_object_list(found, src=meeting.leader, group=meeting.machine))
    return found[0]


def gathered_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Join all ranks' rows, in the order of the ranks.

    Args:
        rows: (counts[rank], *) this rank's, on the CPU.
        counts: How many rows each rank has.
    """
    if count() == 1:
        return rows
    longest = max(counts)
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows
    found = [torch.empty_like(padded) for _ in counts]
    _carry(lambda: distributed.all_gather(found, padded))
    return torch.cat([part[:size] for part, size in zip(found, counts, strict=True)])


def sum_up(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their sums over the ranks, in place; all ranks then hold the same bits.

    They are sent many at a time, in the order given, which is the same for the same tensors: with three or more ranks
    the order of a sum decides its bits.
    """
    tensors = list(tensors)
    if count() == 1 or not tensors:
        return
    under_way: deque[tuple[list[Tensor], Tensor, distributed.Work]] = deque()
    for bucket in _buckets(tensors):
        if len(under_way) == UNDER_WAY:
            _take_back(*under_way.popleft())
        flat = torch.cat([one.detach().reshape(-1) for one in bucket])
        under_way.append((bucket, flat, _carry(lambda flat=flat: distributed.all_reduce(flat, async_op=True))))
    while under_way:
        _take_back(*under_way.popleft())


def all_gathered(tensor: Tensor) -> Tensor:
    """Stack all ranks' tensors of one shape: (*) -> (ranks, *)."""
    found = [torch.empty_like(tensor) for _ in range(count())]
    _carry(lambda: distributed.all_gather(found, tensor.contiguous()))
    return torch.stack(found)


def share(network: nn.Module) -> None:
    """Give every rank the first one's weights and statistics."""
    if count() == 1:
        return
    for tensor in (*network.parameters(), *network.buffers()):
        sent = tensor.detach().contiguous()
        _carry(lambda sent=sent: distributed.broadcast(sent, src=0))
        tensor.detach().copy_(sent)


def _take_back(bucket: list[Tensor], flat: Tensor, work: distributed.Work) -> None:
    """Put the sums of what was sent at once, as soon as they are there, where they belong."""
    _carry(work.wait)
    first = 0
    for one in bucket:
        one.detach().copy_(flat[first : first + one.numel()].view(one.shape))
        first += one.numel()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Put neighbors of one kind together, as many as are sent at once."""
    found: list[list[Tensor]] = []
    size = 0
    for one in tensors:
        fits = found and size + one.numel() <= BUCKET and (one.dtype, one.device) == (
            found[-1][0].dtype,
            found[-1][0].device,
        )  # fmt: skip
        if not fits:
            found.append([])
            size = 0
        found[-1].append(one)
        size += one.numel()
    return found


def _carry(exchange: Callable[[], T]) -> T:
    """Do what all ranks do together; that another one is gone becomes an error that says so."""
    try:
        return exchange()
    except RuntimeError as error:
        if lacks_memory(error):
            raise
        seen = re.sub(r"\[/[^]]*\] ?", "", str(error)).split(". This")[0]  # where in torch's own source, and advice
        words = _meetings[-1].words() if _meetings else ""
        raise LostRank(words or GONE.format(" ".join(seen.split())[:120])) from error
