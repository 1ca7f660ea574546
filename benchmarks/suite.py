"""Run the benchmarks behind the README's two tables, one after the other, and fill the tables from what they measured.

    python benchmarks/suite.py [--data-root FOLDER] [--long]

Without --long those of minutes, with it those of many: 30 minutes together, or an hour with all data, and over three
hours (two cores of an AMD EPYC). FOLDER holds what is more than the digits in the box: MNIST/, cifar-10-batches-py/,
hymenoptera/ (train/ and val/), imagenette-val250/ (photos, labels.csv) and weights/ (torchvision's resnet18.pth and
resnet50.pth). What needs data that are not there is left out, and said. `torture.py` is not among them: it has an hour
of its own.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CIFAR10, MNIST, PHOTOS, BEES = "cifar-10-batches-py", "MNIST", "imagenette-val250", "hymenoptera"
RESNET18, RESNET50 = "weights/resnet18.pth", "weights/resnet50.pth"


@dataclass(frozen=True)
class Benchmark:
    """One script with its options.

    Args:
        words: The command; {data}, {runs} and {fastai} stand for folders.
        minutes: How long it takes, about.
        needs: What must be in the folder of data.
    """

    words: str
    minutes: int
    needs: tuple[str, ...] = ()

    def command(self, data: str) -> str:
        """The words to run with this folder of data, which may be none; nothing where it lacks what they need."""
        missing = [name for name in self.needs if not data or not (Path(data) / name).exists()]
        return "" if missing else self.words

    def __str__(self) -> str:
        """The script and its needs, in words."""
        return f"{self.words.split()[0]} needs {', '.join(self.needs)}"


SHORT = (
    Benchmark("parity.py", 2),
    Benchmark("training_step.py", 2),
    Benchmark("training_step.py --model resnet50", 5),
    Benchmark("peak_memory.py", 3),
    Benchmark("accuracy.py digits", 4),
    Benchmark("ranks.py", 5),
    Benchmark("input_path.py --photos {data}/imagenette-val250", 5, (PHOTOS,)),
    Benchmark("imagenet_answers.py --images {data}/imagenette-val250 --weights {data}/weights/resnet18.pth "
              "{data}/weights/resnet50.pth", 3, (PHOTOS, RESNET18, RESNET50)),
    Benchmark("finetune.py {data}/hymenoptera --weights {data}/weights/resnet18.pth", 4, (BEES, RESNET18)),
    Benchmark("without_norm.py --data-root {data}", 8, (CIFAR10,)),
    Benchmark("loops.py --data cifar10 --data-root {data} --fastai {fastai}", 5, (CIFAR10,)),
    Benchmark("time_to_accuracy.py --data mnist --data-root {data} --model resnet8-half --targets 99.5:4 --no-warm", 4,
              (MNIST,)),
)  # fmt: skip
LONG = (
    Benchmark("tutorial.py --data-root {data}", 10, (MNIST,)),
    Benchmark("accuracy.py mnist --data-root {data}", 18, (MNIST,)),
    Benchmark("accuracy.py cifar10 --data-root {data}", 19, (CIFAR10,)),
    Benchmark("time_to_accuracy.py --data cifar10 --data-root {data} --targets 91.25:6 94:16 --no-warm", 45,
              (CIFAR10,)),
    Benchmark("loops.py --data photos --photos {data}/hymenoptera/train --batch 16 --fastai {fastai}", 18, (BEES,)),
    Benchmark("paper.py --data-root {data} --out {runs}", 80, (CIFAR10,)),
)  # fmt: skip


def run(benchmarks: tuple[Benchmark, ...], folders: dict[str, str]) -> list[str]:
    """Run them all, whatever becomes of any; return the commands that failed."""
    failed = []
    for benchmark in benchmarks:
        words = benchmark.command(folders["data"])
        if not words:
            print(f"Left out: {benchmark}; DATA names no folder with that.", flush=True)
            continue
        script, *options = [word.format(**folders) for word in words.split()]
        print(f"{' '.join([script, *options])}: about {benchmark.minutes} min", flush=True)
        if subprocess.run([sys.executable, str(HERE / script), *options], check=False).returncode:
            failed.append(words)
    return failed


def main() -> int:
    """Run one half of them, and fill the tables; the exit code is 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="", help="the folder that holds the data sets")
    parser.add_argument("--long", action="store_true", help="those of many minutes, instead of those of few")
    parser.add_argument("--runs", default="runs", help="where the paper's run goes on from sitting to sitting")
    parser.add_argument("--fastai", default=".venv/fastai", help="where fastai has, or is given, an environment")
    options = parser.parse_args()
    folders = {"data": options.data_root, "runs": options.runs, "fastai": options.fastai}
    failed = run(LONG if options.long else SHORT, folders)
    for words in failed:
        print(f"FAILED: {words}")
    subprocess.run([sys.executable, str(HERE / "readme.py")], check=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
