"""Some processes as torchrun starts them, made in moments: forked from one that has imported everything already."""

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ranked_work"])
SECONDS = 90


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What torchrun tells a process of one machine."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(ranks),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "GLOO_SOCKET_IFNAME": "lo",
    }


def start_server() -> None:
    """Start the process that the others are forked from; it finds modules where this one does."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def on_ranks(
    ranks: int,
    work: Callable[..., Any],
    *arguments: Any,
    log: Path | None = None,
    told: Sequence[Mapping[str, str]] = (),
) -> list[Any]:
    """Do some work on several ranks, and return what each gives; `work` is a function of ranked_work.

    Args:
        ranks: How many; with 0 there is one process that torchrun did not start.
        work: What each does.
        arguments: What it is given.
        log: A folder in which standard output and error of each rank are kept: "0.out", "0.err".
        told: What torchrun tells each rank otherwise.
    """
    start_server()
    port = free_port()
    members = []
    for rank in range(max(ranks, 1)):
        ours, theirs = CONTEXT.Pipe(duplex=False)
        known = environment(rank, ranks, port) if ranks else {}
        known |= told[rank] if told else {}
        process = CONTEXT.Process(target=_do, args=(theirs, known, log, rank, work, arguments), daemon=True)
        process.start()
        theirs.close()
        members.append((process, ours))
    results = []
    try:
        for rank, (_, pipe) in enumerate(members):
            assert pipe.poll(SECONDS), f"rank {rank} has not answered"
            worked, found = pipe.recv()
            assert worked, f"rank {rank}: {found}"
            results.append(found)
    finally:
        for process, pipe in members:
            pipe.close()
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
    return results


def _do(pipe: Any, told: dict[str, str], log: Path | None, rank: int, work: Any, arguments: Any) -> None:
    os.environ.update(told)
    if log is not None:
        for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
            os.dup2(os.open(log / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    try:
        answer = (True, work(*arguments))
    except BaseException:  # noqa: BLE001 - told to the test
        answer = (False, traceback.format_exc())
    sys.stdout.flush()
    sys.stderr.flush()
    pipe.send(answer)
    pipe.close()
