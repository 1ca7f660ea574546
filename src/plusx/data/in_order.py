"""The same work on many things at once, the answers in the order of the things."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

LOOK_AHEAD = 16


def in_order(work: Callable[[T], R], things: Iterable[T], threads: int) -> Iterator[R]:
    """Yield `work(thing)` for each thing, in order, some threads ahead of whoever asks; few results wait at a time.

    Args:
        work: What is done; an error of it is raised where its result would be.
        things: What it is done to.
        threads: Below two, everything is done by whoever asks.
    """
    if threads < 2:
        yield from map(work, things)
        return
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for thing in things:
            waiting.append(pool.submit(work, thing))
            if len(waiting) >= threads * LOOK_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
