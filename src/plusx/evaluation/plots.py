"""The curves of a training and the reliability diagram, drawn without any of the user's words.

matplotlib has no Chinese letters in its own font, so class names never come here; they are text in the report.

Papers: Guo et al. 2017, arXiv:1706.04599, figure 1 (reliability diagram).
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import IO, Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from plusx.evaluation.scores import CalibrationBin, wilson

History = Sequence[Mapping[str, float | int | None]]

# the report's light colors; `inline` puts the style sheet's variables in their place
COLORS = {"ink": "#1d2327", "soft": "#59636a", "line": "#dcd9d0", "hit": "#0c676e", "miss": "#b8460f"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "plusx",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": COLORS["ink"],
    "axes.edgecolor": COLORS["soft"],
    "axes.labelcolor": COLORS["soft"],
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": COLORS["line"],
    "grid.linewidth": 0.8,
    "xtick.color": COLORS["soft"],
    "ytick.color": COLORS["soft"],
    "legend.frameon": False,
}
PANELS = {
    "loss": (("train_loss", "training"), ("validation_loss", "validation")),
    "accuracy": (("train_accuracy", "training"), ("validation_accuracy", "validation")),
    "learning rate": (("learning_rate", "learning rate"),),
}


def percent(value: float, _position: int | None = None) -> str:
    """Return a share as a tick says it."""
    return f"{100 * value:.4g} %"


def draw_panel(axes: Axes, history: History, title: str, best_epoch: int | None, *, legend: bool) -> None:
    """Draw one of PANELS: a line for each of its columns, an epoch a point."""
    for column, name in PANELS[title]:
        points = [(row["epoch"], row.get(column)) for row in history]
        points = [
            (epoch, value)
            for epoch, value in points
            if epoch is not None and value is not None and math.isfinite(value)
        ]
        if not points:
            continue
        training = name == "training"
        axes.plot(
            *zip(*points, strict=True),
            color=COLORS["soft" if training else "hit"],
            linewidth=1.3 if training else 2.0,
            linestyle=(0, (4, 2)) if training else "-",
            marker="o" if len(points) < 16 else None,
            markersize=3,
            label=name,
        )
    if best_epoch is not None and title != "learning rate":
        axes.axvline(best_epoch, color=COLORS["miss"], linewidth=1, linestyle=(0, (1, 2)), label="best epoch")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if title == "accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(percent))
    else:
        axes.set_ylim(bottom=0)
    if legend:
        axes.set_title(title, loc="left", fontsize=10.5)
        if title != "learning rate":
            axes.legend()


def figure_of(width: float, height: float) -> Figure:
    """Return an empty figure that no global state knows of; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves(history: History, best_epoch: int | None = None) -> Figure:
    """Draw loss, accuracy and learning rate side by side."""
    with rc_context(STYLE):
        figure = figure_of(11, 3)
        for axes, title in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            draw_panel(axes, history, title, best_epoch, legend=True)
    return figure


def curve(history: History, title: str, best_epoch: int | None = None) -> Figure:
    """Draw one of PANELS, without title and legend."""
    with rc_context(STYLE):
        figure = figure_of(4.4, 2.7)
        draw_panel(figure.subplots(), history, title, best_epoch, legend=False)
    return figure


def calibration(bins: Sequence[CalibrationBin]) -> Figure:
    """Draw how often the network is right for each confidence, with 95 % intervals, above how often it has that one."""
    with rc_context(STYLE):
        figure = figure_of(5, 4.4)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        upper.plot([0, 1], [0, 1], color=COLORS["soft"], linewidth=1, linestyle=(0, (4, 2)))
        for b in bins:
            score = wilson(round((b.accuracy or 0) * b.samples), b.samples)
            if score is None:
                continue
            upper.bar((b.low + b.high) / 2, score.value, (b.high - b.low) * 0.92, color=COLORS["hit"], alpha=0.22)
            upper.plot([b.confidence] * 2, [score.low, score.high], color=COLORS["hit"], linewidth=1.4, clip_on=False)
            upper.plot([b.confidence], [score.value], color=COLORS["hit"], marker="o", markersize=4.5, clip_on=False)
            lower.bar((b.low + b.high) / 2, b.samples, (b.high - b.low) * 0.92, color=COLORS["soft"], alpha=0.55)
            lower.annotate(
                f"{b.samples:,}", ((b.low + b.high) / 2, b.samples), (0, 1.5), textcoords="offset points",
                ha="center", va="bottom", fontsize=7.5, color=COLORS["soft"],
            )  # fmt: skip
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="right")
        lower.set(xlabel="confidence", ylabel="samples", yticks=[])
        lower.margins(y=0.3)
        lower.grid(visible=False)
        upper.yaxis.set_major_formatter(FuncFormatter(percent))
        lower.xaxis.set_major_formatter(FuncFormatter(percent))
    return figure


def rate_curve(tried: Sequence[tuple[float, float, float]], marks: Mapping[str, float]) -> Figure:
    """Draw the loss over the learning rate.

    Args:
        tried: A learning rate, its loss, and the smoothed loss, step by step.
        marks: Rates to be marked, by what they are called.
    """
    with rc_context(STYLE):
        figure = figure_of(6.4, 3.8)
        axes = figure.subplots()
        if tried:
            rates, losses, smoothed = zip(*tried, strict=True)
            axes.plot(rates, losses, color=COLORS["soft"], linewidth=0.8, alpha=0.6, label="loss of a batch")
            axes.plot(rates, smoothed, color=COLORS["hit"], linewidth=2, label="smoothed")
            top = max(smoothed[0], min(smoothed)) * 1.6
            axes.set_ylim(min(0.0, *smoothed), max(top, min(smoothed) * 1.1))
        for (name, rate), line in zip(marks.items(), ((0, (1, 2)), (0, (4, 2))), strict=False):
            axes.axvline(rate, color=COLORS["miss"], linewidth=1.2, linestyle=line, label=f"{name}: {rate:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        if tried:
            axes.legend()
    return figure


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG with real text and no background: the same bytes for the same data."""
    file = io.StringIO()
    _save(figure, file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return file.getvalue()


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG on white, since dark text on nothing cannot be read in a dark viewer."""
    file = io.BytesIO()
    _save(figure, file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def _save(figure: Figure, file: IO[Any], **options: Any) -> None:  # noqa: ANN401 - matplotlib's
    with rc_context(STYLE):
        figure.savefig(file, **options)
    figure.set_layout_engine("none")  # the parts have their places: to find them takes half the time of drawing


def inline(svg: str, label: str) -> str:
    """Turn a figure's SVG file into an element of a page: its colors follow the page, a reader hears the label.

    Args:
        svg: What `to_svg` returned.
        label: A sentence without characters that HTML gives a meaning.
    """
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", element, flags=re.DOTALL)
    for name, color in COLORS.items():
        element = element.replace(color, f"var(--{name})")
    # the page's own font, and a width that the page decides
    element = re.sub(r"font-family: [^;\"]*;", "", element)
    start, rest = element.split(">", 1)
    start = re.sub(r' (width|height)="[^"]*"', "", start)
    return start.replace("<svg", f'<svg role="img" aria-label="{label}"', 1) + ">" + rest
