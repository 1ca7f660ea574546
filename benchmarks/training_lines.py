"""Lines of the README on training: data, whole loops, time to accuracy, memory, the paper's run."""

from collections.abc import Iterator
from typing import Any

Found = dict[str, Any]
Line = tuple[str, str]


def input_path(found: Found) -> Iterator[Line]:
    """Images a second that are read and augmented, and how many times as many as torchvision's loader makes."""
    for row in found["rows"]:
        ratio = f", {row['ratio']:.1f} x ({row['ratio_low']:.1f}-{row['ratio_high']:.1f})" if row["ratio"] != 1 else ""
        yield f"{row['work']}, images a second: {row['name']}", f"{row['images_a_second']:,.0f}{ratio}"


def loops(found: Found) -> Iterator[Line]:
    """Images a second of each loop, and how many times as fast plusx is."""
    where = f", {found['environment']['device']}" if "cuda" in found["environment"]["device"] else ""
    what = f"{found['model']}, {found['data']}, batch {found['batch']}{where}, images a second: "
    for row in found["rows"]:
        ratio = (
            f", plusx {row['ratio']:.2f} x ({row['ratio_low']:.2f}-{row['ratio_high']:.2f})" if "ratio" in row else ""
        )
        speed = f"{row['images']:.{0 if row['images'] >= 100 else 1}f}"
        yield what + row["name"], speed + ("" if row["name"] == "plusx" else ratio)
    for words in found["failed"]:
        name, _, error = words.partition(": ")
        yield what + name, f"did not run: {error}"


def time_to_accuracy(found: Found) -> Iterator[Line]:
    """Seconds to a target with the length that was chosen for it, and what the plain script takes."""
    for row in found["targets"]:
        warm = f", {row['warm']['seconds']:.0f} s with warm caches" if row.get("warm") else ""
        met = "" if row["met"] else "not met: "
        score = f"{row['mean']:.2f} % (SD {row['deviation']:.2f}, {seeds(row['runs'])})"
        yield (
            f"{row['target']:g} %: `{found['command']} --epochs {row['epochs']}`",
            f"{met}{score} in {row['seconds']:.0f} s from the command to the last weights, kernels compiled anew{warm}",
        )
    for row in found["plain"]["extrapolated"]:
        took = row["source"]
        if row["seconds"]:
            steps = f"{row['steps']:,} steps of {1e3 * found['plain']['step_seconds']:.0f} ms"
            took = f"{duration(row['seconds'])}, extrapolated: {steps} ({row['source']})"
        yield f"{row['target']:g} %, {found['data']}: plain script, float32", took
    runs = found["plain"]["runs"]
    if runs:
        score, seconds = (sum(run[name] for run in runs) / len(runs) for name in ("accuracy", "seconds"))
        what = f"{found['data']}: plain script, float32, {runs[0]['epochs']} epochs"
        yield what, f"{score:.2f} % ({seeds(runs)}) in {duration(seconds)}, measured"


def seeds(runs: list[Any]) -> str:
    """Count runs: "1 seed", "3 seeds"."""
    return f"{len(runs)} seed" + ("s" if len(runs) != 1 else "")


def duration(seconds: float) -> str:
    """Write a length of time: "95 s", "42 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"


def peak_memory(found: Found) -> Iterator[Line]:
    """The largest memory of each loop, and how many times plusx's that is."""
    for row in found["rows"]:
        times = f", {row['ratio']:.2f} x plusx's" if "ratio" in row and row["name"] != "plusx" else ""
        where = "GPU" if row["where"] == "gpu" else "process"
        yield (
            f"{found['model']}, batch {found['batch']}, peak memory of the {where}: {row['name']}",
            f"{row['peak']:,.0f} MiB{times}",
        )


def ranks(found: Found) -> Iterator[Line]:
    """Whether several processes count and train as one does."""
    counts = found["counts"]
    alike = sum(one["right"] == counts["1"]["right"] and one["same_bytes"] for one in counts.values())
    yield (
        f"{found['samples']} test samples on {', '.join(counts)} processes: the same predictions, byte for byte",
        f"{alike} of {len(counts)}",
    )
    for name, each in found["training"].items():
        if isinstance(each, dict) and "2" in each:
            what = {"no norm": "without norms", "synchronized": "`--sync-batch-norm`"}.get(name, name)
            several = [count for count in each if count != "1"]
            yield (
                f"weights after {found['steps']} steps on {', '.join(several)} processes, {what}: largest difference "
                "from one process's",
                _apart([each[count] for count in several]),
            )
            yield (
                f"right of {found['samples']} test samples after training on {', '.join(each)} processes, {what}",
                ", ".join(str(one["right"]) for one in each.values()),
            )
    each = found["killed"]
    met = each["same_bits"] and each["resumed"] and each["killed"] == each["whole"]
    yield (
        f"a rank of 2 killed, all started again: right of {found['samples']} test samples, whole run and killed run",
        f"{each['whole']['right']}, {each['killed']['right']}; {'the same' if met else 'NOT the same'} bits",
    )


def _apart(rows: list[Found]) -> str:
    """How far weights are from one another, how far they may be and why, and whether all are within that."""
    said = ", ".join(f"{row['largest_relative_difference']:.0e}" for row in rows) + " of the largest weight"
    if "tolerance" not in rows[0]:
        return said
    met = "met" if all(row["met"] for row in rows) else "NOT met"
    return f"{said}; {met}: at most {rows[0]['tolerance']:.0e} ({rows[0]['why']})"


def torture(found: Found) -> Iterator[Line]:
    """What was done to runs, and what became of it."""
    if found["wrong"]:
        yield "runs that were killed, starved and damaged", f"FAILED: {len(found['wrong'])} findings"
        return
    if kills := found.get("kills"):
        yield (
            f"SIGKILLs in {found['minutes']:g} minutes, all resumed to the weights of the unbroken run",
            f"{kills['kills']}, {kills['kills inside a save, all']} of them inside a save",
        )
    for name, each in found.items():
        if name.startswith("matrix"):
            kind = name.removeprefix("matrix, ")
            yield (
                f"ingredient x precision x workers x place, {kind}: killed and resumed to the same weights",
                f"{each['passed']} of {each['cells']}",
            )
    if each := found.get("corruptions"):
        yield "damaged states that were noticed", f"{each['detected']:,} of {each['detected'] + each['undetected']:,}"
    if each := found.get("system calls failed"):
        yield "system calls of a save that failed, all borne or said", f"{each['run']} of {each['found']}"
    if each := found.get("full disk"):
        yield "full, read-only and small disks, all borne or said", str(len(each))


def paper(found: Found) -> Iterator[Line]:
    """The paper's run, or how far it is."""
    what = f"resnet20, the paper's {found['steps']:,} steps, CIFAR-10 test error (published {found['published']} %)"
    if found["complete"]:
        yield what, f"{found['error']:.2f} %"
    elif found["curve"]:
        last = found["curve"][-1]
        yield what, f"partial: {last['test_error']:.2f} % after {last['step']:,} steps"
