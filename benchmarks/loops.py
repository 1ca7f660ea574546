"""Images a second of whole training loops: plusx's against those of others, taking turns on the same data.

    python benchmarks/loops.py --data cifar10 --data-root FOLDER [--fastai ENVIRONMENT]
    python benchmarks/loops.py --data photos [--photos FOLDER] [--model resnet50] [--fastai ENVIRONMENT]

CIFAR-10: ResNet-20, batch 128, random crops and flips. Photos: random resized crops of 224 pixels, batch 32; without
--photos from JPEGs made here; all rivals stay in memory, ResNet-50 in 19 GiB with --batch 16 and in over 24 with 32.
A few photos stand in the epoch many times over. The rivals are described in rivals.py: a plain script, torchvision's
reference script, timm's and fastai's, each as it is usually run and with its best settings for this machine: bfloat16
autocast, channels_last, torch.compile (on a GPU with CUDA graphs) and no augmentation but a crop and a flip. fastai
lives in an environment of its own, made by this script in the folder that --fastai names, which also sees the
packages that run this script; without that option it is left out. A run with fewer rivals or rounds than the result
that is there only prints.

In each of --rounds rounds every rival makes --steps steps, in an order that changes, and all others are frozen. Printed
are images a second (median, range) and how many times as fast plusx is (median and range over the rounds).
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rivals import Settings, photos_in
from turns import Rival, compared, leave_cleanly, store

from plusx.device import choose_device
from plusx.reporting import environment

HERE = Path(__file__).parent
RESULTS = HERE / "results"
OURS = "plusx"
FASTAI = "2.8.12"


def rivals_of(base: dict[str, Any], *, fastai: str, compiling: bool) -> list[tuple[str, list[str]]]:
    """Return each rival's name and command.

    Args:
        base: The settings that all share.
        fastai: The Python that has fastai; empty for none.
        compiling: Whether those that can are compiled as well.
    """
    mode = ("reduce-overhead" if torch.cuda.is_available() else "default") if compiling else ""
    words = f", {'CUDA graphs' if mode == 'reduce-overhead' else 'compiled'}" if mode else ""
    fast = {"autocast": True, "channels_last": True}
    table: list[tuple[str, str, dict[str, Any]]] = [
        ("plain script", "plain", {}),
        (f"plain script, bfloat16, channels_last, fused{words}", "plain", {**fast, "compiled": mode}),
        ("torchvision's loop", "torchvision", {}),
        ("torchvision's loop, bfloat16, channels_last, fused", "torchvision", fast),
        ("timm's loop", "timm", {}),
        (
            f"timm's loop, bfloat16, channels_last, light, fused{words}",
            "timm",
            {**fast, "light": True, "compiled": mode},
        ),
        (OURS, "plusx", {}),
    ]
    commands = [(name, [sys.executable, str(HERE / "rivals.py"), loop, told(base, own)]) for name, loop, own in table]
    if fastai:
        usual = [fastai, str(HERE / "rival_fastai.py")]
        best = "bfloat16, " if torch.cuda.is_available() else ""
        commands[-1:-1] = [
            ("fastai's Learner", [*usual, told(base, {})]),
            (f"fastai's Learner, {best}channels_last, light", [*usual, told(base, {**fast, "light": True})]),
        ]
    return commands


def told(base: dict[str, Any], own: dict[str, Any]) -> str:
    """Return a rival's settings as it reads them."""
    return json.dumps(asdict(Settings(**{**base, **own})))


def fastai_python(folder: str) -> str:
    """Return the Python of an environment with fastai, made if it is not there yet, beside this one's packages."""
    place = Path(folder).absolute()
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
        words = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        own = Path(subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip())
        # Its packages come first; those that it lacks, torch above all, are this environment's.
        (own / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    asking = [str(python), "-c", f"import fastai; assert fastai.__version__ == '{FASTAI}'"]
    if subprocess.run(asking, check=False, capture_output=True).returncode:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"fastai=={FASTAI}"], check=True)
    return str(python)


def measured(rivals: Sequence[Rival], steps: int, rounds: int, warm: int) -> tuple[dict[str, list[float]], list[str]]:
    """Let all take turns.

    Returns:
        Images a second of each, a number a round; and what went wrong with whom.
    """
    rates: dict[str, list[float]] = {}
    for rival in rivals:
        first = rival.take()
        again = rival.take(warm)
        if first and again:
            rates[rival.name] = []
            print(f"{rival.name:65} ready, first step after {first['seconds']:.1f} s", flush=True)
        else:
            print(f"{rival.name:65} left out: {rival.error}", flush=True)
    for number in range(rounds):
        shift = number % len(rivals)
        for rival in [*rivals[shift:], *rivals[:shift]]:
            answer = rival.take(steps)
            if answer:
                rates[rival.name].append(answer["images"] / answer["seconds"])
        print(f"round {number + 1} of {rounds} done", flush=True)
    failed = [f"{rival.name}: {rival.error}" for rival in rivals if rival.error]
    whole = {rival.name: rates[rival.name] for rival in rivals if not rival.error}
    return whole, failed


def versions(fastai: str) -> dict[str, str]:
    """Return the rivals' versions."""
    found = {"fastai": FASTAI} if fastai else {}
    for package in ("torchvision", "timm"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print what was found."""
    for row in rows:
        ratio = ""
        if "ratio" in row and row["name"] != OURS:
            ratio = f", plusx {row['ratio']:.2f} times as fast ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        speed = f"{row['images']:7.1f} images/s ({row['low']:.1f} to {row['high']:.1f})"
        print(f"{row['name']:65} {speed}{ratio}")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("cifar10", "photos"), default="photos")
    parser.add_argument("--data-root", default="", help="where cifar-10-batches-py is")
    parser.add_argument("--photos", default="", help="a folder with one folder of photos for each class")
    parser.add_argument("--model", default="", help="of the photos: resnet50, resnet18 ...; for CIFAR-10 resnet20")
    parser.add_argument("--batch", type=int, default=0, help="images a step: 128, or 32 of photos")
    parser.add_argument("--steps", type=int, default=0, help="of each rival in each round: 20, or 12 of photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fastai", default="", help="folder of an environment with fastai, made if need be")
    parser.add_argument("--compile", default="auto", help="whether plusx is compiled: auto, on, off")
    parser.add_argument("--no-compiled", action="store_true", help="leave torch.compile out for the others")
    options = parser.parse_args()
    small = options.data == "cifar10"
    if small and not (Path(options.data_root) / "cifar-10-batches-py").is_dir():
        raise SystemExit("CIFAR-10 is skipped: --data-root names no folder that holds cifar-10-batches-py")
    model = "resnet20" if small else options.model or "resnet50"
    batch, steps = options.batch or (128 if small else 32), options.steps or (20 if small else 12)
    python = fastai_python(options.fastai) if options.fastai else ""
    leave_cleanly()
    with contextlib.ExitStack() as stack:
        root, what = (options.data_root, "CIFAR-10") if small else stack.enter_context(photos_in(options.photos))
        base = {"data": options.data, "root": str(root), "model": model, "batch": batch, "workers": options.workers}
        base["options"] = (("compile", options.compile),)
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rivals: list[Rival] = []
        for name, command in rivals_of(base, fastai=python, compiling=not options.no_compiled):
            rivals.append(Rival(name, command, logs / f"{len(rivals)}.txt"))
            stack.callback(rivals[-1].close)
        rates, failed = measured(rivals, steps, options.rounds, warm=max(8, steps // 4))
    rows = compared(rates, OURS)
    show(rows)
    result = {
        "data": what,
        "model": model,
        "batch": batch,
        "steps": steps,
        "rows": rows,
        "rates": rates,
        "failed": failed,
        "rivals": versions(python),
        "environment": environment(choose_device()),
        "load": os.getloadavg()[0],
    }
    kind = "gpu" if torch.cuda.is_available() else "cpu"
    store(RESULTS / f"loops-{options.data}-{model}-{kind}.json", result)
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
