"""Put the measured results into the tables of README.md and README.zh.md.

    python benchmarks/readme.py

The lines of the table stand between the markers <!-- RESULTS --> and <!-- END -->; they come from
benchmarks/results/*.json alone.
"""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
MARKED = re.compile(r"(<!-- RESULTS -->\n\n\|[^\n]*\n\|[^\n]*\n).*?(\n<!-- END -->)", re.DOTALL)  # the header stays


def rows() -> list[str]:
    """Return one line of the table for each measured command."""
    lines = []
    for file in sorted((HERE / "results").glob("accuracy-*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        seeds = ", ".join(f"{100 * run['accuracy']['value']:.2f}" for run in found["runs"])
        seconds = [run["seconds"]["training"] for run in found["runs"]]
        lines.append(
            f"| `{found['command']}` | {seeds} | {found['mean']:.2f} ± {found['margin']:.2f} "
            f"| {min(seconds):.0f}-{max(seconds):.0f} s | {found['environment']['device']} |"
        )
    return lines


def main() -> None:
    """Rewrite both tables."""
    table = "".join(f"{line}\n" for line in rows())
    for name in ("README.md", "README.zh.md"):
        file = HERE.parent / name
        text = file.read_text(encoding="utf-8")
        if not MARKED.search(text):
            raise SystemExit(f"{name} has no lines <!-- RESULTS --> and <!-- END -->")
        file.write_text(MARKED.sub(lambda match: match[1] + table + match[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
