"""What tests let several ranks do (tests/ranked.py); importable by the processes that do it."""

import copy
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from finished import plan_of
from torch import nn

from plusx import experiment, launch, ranks, timing  # noqa: F401 - imported once, before processes are forked
from plusx.cli import main
from plusx.data.batches import Batches
from plusx.device import Device
from plusx.errors import DataError, LostRank, PlusxError, Told, UsageError
from plusx.evaluation.inference import predict
from plusx.events import result_of
from plusx.network.architecture import Architecture
from plusx.training.loop import train
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe
from plusx.training.synchronized_norm import synchronize_norms

torch.set_num_threads(1)


def exchange() -> dict[str, Any]:
    """Everything that ranks tell each other."""
    with ranks.joined():
        mine = ranks.rank()
        rows = [3, 2, 1][: ranks.count()]
        small, large = torch.full((3,), float(mine)), torch.full((2, 5), float(mine + 1))
        whole = torch.tensor(mine, dtype=torch.float64)
        ranks.sum_up([small, large.t(), whole])
        network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.detach().fill_(mine + 7)
        ranks.share(network)

        def slow():
            yield "working"
            return f"done by {mine}"

        return {
            "count": ranks.count(),
            "largest": ranks.largest(mine, -mine, 0.5),
            "gathered": ranks.gathered({"rank": mine}),
            "first": ranks.from_first(f"said by {mine}"),
            "once": result_of(ranks.once_a_machine(slow())),
            "rows": ranks.gathered_rows(torch.full((3 - mine, 1), mine), rows).tolist(),
            "sums": (small.tolist(), large.tolist(), whole.item()),
            "shared": {tensor.float().mean().item() for tensor in (*network.parameters(), *network.buffers())},
        }  # fmt: skip


def failing(kind: str) -> str:
    """One rank fails; return what each then meets."""
    try:
        with ranks.joined():
            ranks.largest(1)
            if ranks.rank() == 1:
                raise DataError("mine alone") if kind == "said" else ValueError("a bug")
            ranks.largest(2)
    except Told as error:
        return f"silent {error.exit_code}, of {type(error.__cause__).__name__}: {error.__cause__}"
    except (PlusxError, ValueError) as error:
        return f"says {error}"
    return "went on"


def grouped() -> list[str]:
    """Enter a group of one's own, and then, inside it, plusx's; return what became of both."""
    place = launch.place()
    assert place is not None
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{place.address[1]}", rank=place.rank, world_size=place.ranks
    )
    found = ["alone"]
    try:
        with ranks.joined():
            found.append("met")
    except UsageError:
        found.append("refused")
    torch.distributed.destroy_process_group()
    return found


def lost() -> str:
    """A rank goes without a word; return what the other says."""
    try:
        with ranks.joined():
            ranks.largest(1)
            if ranks.rank() == 1:
                return "gone"
            ranks.largest(2)
    except LostRank as error:
        return str(error)
    return "went on"


def normalize(sizes: list[int], channels: int) -> dict[str, float]:
    """The largest differences of a synchronized norm of unequal parts from torch's norm of the whole in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(sum(sizes), channels, 3, 2, generator=generator) * 3 + 50  # a mean that sums of squares would lose
    wanted = torch.randn(x.shape, generator=generator)
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, generator=generator)
    nn.init.uniform_(norm.bias, generator=generator)
    reference = copy.deepcopy(norm).double()
    of_x = x.double().requires_grad_()
    expected = reference(of_x)
    (expected * wanted.double()).sum().backward()
    network = nn.Sequential(norm)
    synchronize_norms(network)
    with ranks.joined():
        place = slice(sum(sizes[: ranks.rank()]), sum(sizes[: ranks.rank() + 1]))
        part = x[place].clone().requires_grad_()
        found = network(part)
        (found * wanted[place]).sum().backward()
        norm = network[0]
        ranks.sum_up([norm.weight.grad, norm.bias.grad])
        pairs = {
            "output": (found, expected[place]),
            "gradient": (part.grad, of_x.grad[place]),
            "weight": (norm.weight.grad, reference.weight.grad),
            "bias": (norm.bias.grad, reference.bias.grad),
            "mean": (norm.running_mean, reference.running_mean),
            "variance": (norm.running_var, reference.running_var),
        }
        return {name: (one - other).abs().max().item() for name, (one, other) in pairs.items()}


def trained(
    architecture: Architecture, changes: dict[str, Any], *, synchronized: bool = False, trouble: str = ""
) -> dict[str, Any]:
    """Train the tiny network on 29 samples in steps of 10, on as many ranks as there are, and say what came of it."""
    recipe = Recipe("test", **{"epochs": 2, "batch_size": 10, "learning_rate": 0.1, "warmup_epochs": 0, **changes})
    with ranks.joined():
        network = tiny.network(architecture=architecture)
        if synchronized:
            synchronize_norms(network)
        batches = Batches(
            tiny.samples(29), tiny.AUGMENTED, batch_size=10, collate=tiny.TASK.collate, seed=3, training=True,
            rank=ranks.rank(), ranks=ranks.count(),
        )  # fmt: skip
        progress = Progress(network, recipe)
        _make(trouble, progress)
        for _ in train(network, tiny.TASK, batches, recipe, progress, Device()):
            if progress.epoch_ended:
                progress.record({"accuracy": 0.5})
        state = {name: value.double().numpy() for name, value in progress.scored_network.state_dict().items()}
        rows = [{name: row[name] for name in ("step", "train_loss", "train_accuracy")} for row in progress.history]
        return {
            "state": state, "rows": rows, "incidents": progress.incidents, "skipped": progress.skipped,
            "micro_batches": progress.micro_batches,
        }  # fmt: skip


def _make(trouble: str, progress: Progress) -> None:
    """Let one rank alone meet something in its third step."""
    forward, calls = progress.network.forward, []

    def troubled(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        if ranks.rank() == ranks.count() - 1 and len(calls) == 3:
            if trouble == "memory":
                raise MemoryError("used up")
            return forward(x) * torch.nan
        return forward(x)

    if trouble:
        progress.network.forward = troubled


def answers(count: int) -> tuple[list[str], np.ndarray]:
    """What a network answers to some samples that the ranks share."""
    with ranks.joined():
        batches = Batches(
            tiny.samples(count), tiny.INPUT, batch_size=8, collate=tiny.TASK.collate, training=False,
            rank=ranks.rank(), ranks=ranks.count(),
        )  # fmt: skip
        found = result_of(predict(tiny.network().eval(), tiny.TASK, batches, Device()))
        return list(found.names), found.probabilities


def command(words: list[str], stopped_by: int = 0, run: str = "") -> int:
    """Run a command line on every rank; the last rank alone may get a signal when a run has saved a few states."""
    if stopped_by and ranks_last():
        threading.Thread(target=_signal_later, args=(stopped_by, Path(run)), daemon=True).start()
    return main(words)


def killed(words: list[str], run: str) -> int:
    """Run a command line on every rank; the last is a process of its own, which gets SIGKILL after a few states."""
    if not ranks_last():
        return main(words)
    process = os.fork()
    if process == 0:
        os._exit(main(words))
    _signal_later(signal.SIGKILL, Path(run), process)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def ranks_last() -> bool:
    """Whether this is the last rank, before they have met."""
    return int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1


def _signal_later(number: int, run: Path, process: int = 0) -> None:
    while not list((run / "state").glob("00000[4-9].safetensors")):
        threading.Event().wait(0.01)
    os.kill(process or os.getpid(), number)


def synchronized(*given: Any) -> dict[str, Any]:
    """Train with synchronized norms."""
    return trained(*given, synchronized=True)


def troubled(architecture: Architecture, changes: dict[str, Any], trouble: str) -> dict[str, Any]:
    """Train, and let the last rank alone meet something in its third step."""
    return trained(architecture, changes, trouble=trouble)


def judged(failing: int) -> tuple[bool, float, str]:
    """Measure whether compiling pays, where it fails on one rank; return what each rank decides."""
    compile_it = torch.compile

    def compiles(network: nn.Module, **options: Any) -> Any:
        traced = compile_it(network, backend="eager", **options)

        def fails(images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("Failed to find a C++ compiler")

        return fails if ranks.rank() == failing else traced

    torch.compile = compiles
    with ranks.joined():
        batches = Batches(
            tiny.samples(40), tiny.INPUT, batch_size=8, collate=tiny.TASK.collate, seed=3, training=True,
            rank=ranks.rank(), ranks=ranks.count(),
        )  # fmt: skip
        plan = plan_of(epochs=1000, batch_size=8)
        decided = timing.compilation_pays(plan, tiny.network(), batches, Device(), 9.0)
        ranks.largest(7)  # still in step
        return decided
