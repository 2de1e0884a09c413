"""The picture of a run: ratios of times on a logarithmic axis, and the cost per image and per pixel."""

import os
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from benchmark.peers import LAX, OWN
from benchmark.rows import GROWTH_BATCHES, GROWTH_PIXELS
from benchmark.targets import FLOOR, TORCH, Results, growth, value
from jaxcnn.viz.style import BLUE, GREEN, ORANGE, VERMILION, figure, save

ITSELF = "jaxcnn, plain"
MARKS: dict[str, dict[str, Any]] = {  # in the order in which they are drawn, those that matter most on top
    FLOOR: {"marker": "|", "color": "black", "s": 50, "linewidths": 1.5},
    "flax": {"marker": "^", "color": ORANGE, "s": 18},
    "equinox": {"marker": "v", "color": ORANGE, "s": 18},
    "keras": {"marker": "x", "color": ORANGE, "s": 18, "linewidths": 1.2},
    ITSELF: {"marker": "d", "color": GREEN, "s": 26},
    LAX: {"marker": "o", "color": BLUE, "s": 28},
    TORCH: {"marker": "s", "color": VERMILION, "s": 24},
}
KINDS = {
    "step": "Training step",
    "scan": "Two steps in a scan",
    "ensemble": "Step of 10 models, vmapped",
    "per_example": "Per-example clipped gradients",
    "inference": "Inference, by batch size",
}
LINE = 0.19  # inches
SLOWER = "#F4F4F4"


def draw(results: Results, path: str | os.PathLike) -> None:
    """Write the picture of the rows that were run; only the curves if there is nothing else, and nothing of nothing."""
    networks = _placed({name: result for name, result in results.items() if name.split("/")[0] in KINDS})
    layers = _placed({name: result for name, result in results.items() if name.startswith("layer/")})
    curves = growth(results)
    end = max((place[0] for place in (*networks, *layers)), default=0) + 1
    heights = ([LINE * end + 0.9] if networks or layers else []) + ([2.6] if curves else [])
    if not heights:
        return
    fig, axes = figure(len(heights), 2, (13, sum(heights) + 0.5), gridspec_kw={"height_ratios": heights})
    if networks or layers:
        _ratios(axes[0, 0], networks, "Networks", end)
        _ratios(axes[0, 1], layers, "Single layers", end)
        marks = {m.get_label(): m for ax in axes[0] for m in ax.collections}
        order = [f"over {label}" for label in reversed(MARKS) if f"over {label}" in marks]
        fig.legend([marks[label] for label in order], order, loc="outside upper center", ncols=len(order))
    if curves:
        _curve(axes[-1, 0], curves.get("image", {}), "image", "images in a batch", GROWTH_BATCHES)
        _curve(axes[-1, 1], curves.get("pixel", {}), "pixel", "pixels on a side", GROWTH_PIXELS)
    save(fig, path)


def _placed(results: Results) -> list[tuple[float, str, Mapping[str, Any]]]:
    """The line of each row, its label and its result; headings come without a result."""
    placed: list[tuple[float, str, Mapping[str, Any]]] = []
    y, last = 0.0, ""
    for name, result in results.items():
        kind, case, *rest = name.split("/")
        group = case if kind == "layer" else kind
        label = f"{case} {' '.join(rest)}".replace("_", " ")
        if group != last:
            y += 0.6 if placed else 0
            if kind in KINDS:
                placed.append((y, KINDS[kind], {}))
                y += 1
        elif kind == "layer":
            label = " ".join(rest)  # the layer stands one line above
        placed.append((y, label, result))
        y, last = y + 1, group
    return placed


def _ratios(ax: Axes, placed: list[tuple[float, str, Mapping[str, Any]]], title: str, end: float) -> None:
    """A line per row, a mark per comparison."""
    if not placed:
        ax.set_axis_off()
        return
    for label, mark in MARKS.items():
        points = [(ratio, y) for y, _, result in placed if result for ratio in _compared(result, label)]
        if points:
            ax.scatter(*zip(*points, strict=True), label=f"over {label}", zorder=3, **mark)
    ax.set_xscale("log")
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, 0.5), max(right, 2))
    ax.axvspan(1, ax.get_xlim()[1], color=SLOWER, zorder=0)
    ax.axvline(1, color="black", linewidth=0.8, zorder=2)
    ax.set_ylim(end - 0.3, -0.8)
    ax.set_yticks([y for y, _, _ in placed], [label for _, label, _ in placed], fontsize="small")
    for text, line, (_, _, result) in zip(ax.get_yticklabels(), ax.get_ygridlines(), placed, strict=True):
        text.set_weight("normal" if result else "bold")
        line.set_visible(bool(result))
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter("{x:g}×")
    ax.set(title=title, xlabel="time of jaxcnn over that of the other (left of 1: faster)")


def _compared(result: Mapping[str, Any], label: str) -> list[float]:
    """jaxcnn's time over those that a label stands for."""
    own = value(result, OWN)
    others = [name for name in result["programs"] if name.startswith(f"{OWN} ")] if label == ITSELF else [label]
    found = [value(result, other) for other in others]
    return [own / other for other in found if own and other]


def _curve(ax: Axes, costs: Mapping[int, float], unit: str, label: str, sizes: tuple[int, ...]) -> None:
    """Cost per unit over the size: level where it grows linearly."""
    if not costs:
        ax.set_axis_off()
        return
    ax.plot(list(costs), list(costs.values()), color=BLUE, marker="o")
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, list(map(str, sizes)))
    ax.set_ylim(0, 1.25 * max(costs.values()))
    ax.set(title=f"Training step: cost per {unit}", xlabel=label, ylabel=f"microseconds per {unit}")
