"""Pictures of a report: charts as inline SVG, photographs as small inline JPEGs.

Charts use greys and a few strong colours that read on a light and on a dark page; their background
is transparent.
"""

import base64
import io
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

GREY = "#808790"
COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#ec4899", "#14b8a6")
WIDTH_IN = 4.8
"""A phone shows such a picture at its own size, so its words can be read there."""
JPEG_QUALITY = 82

MAX_TICK_NAMES = 40
"""With more classes their names would overlap."""

MAX_BARS = 40
"""With more names the chart would be longer than a screen."""

Point = tuple[float, float]


def jpeg_uri(image: NDArray[np.uint8], *, max_width: int = 1200) -> str:
    """Return an RGB image of any size as a `data:` address, shrunk to `max_width` pixels."""
    height, width = image.shape[:2]
    if width > max_width:
        size = (max_width, round(height * max_width / width))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def before_after(shares: Mapping[str, tuple[float, float]]) -> str:
    """Return bars of each dataset's share before and after balancing.

    Args:
        shares: dataset to (share of images, share of draws), each 0..1.
    """
    figure, axes = canvas(height_in=0.55 * len(shares) + 1.1)
    rows = np.arange(len(shares))
    before = [100 * pair[0] for pair in shares.values()]
    after = [100 * pair[1] for pair in shares.values()]
    axes.barh(rows - 0.18, before, 0.34, color=GREY, label="before (images)")
    axes.barh(rows + 0.18, after, 0.34, color=COLOURS[0], label="after (draws)")
    axes.set_yticks(rows, list(shares))
    axes.invert_yaxis()
    axes.set_xlabel("share, %")
    legend(axes)
    return as_svg(figure, "Share of each dataset before and after balancing")


def class_exposure(exposure: Mapping[str, tuple[float, float]]) -> str:
    """Return how often each class is seen in an epoch, before and after, most frequent first.

    Args:
        exposure: class name to (samples an epoch at raw sizes, samples an epoch with the plan).
    """
    ordered = sorted(exposure.items(), key=lambda item: -item[1][0])
    figure, axes = canvas(height_in=3.0)
    columns = np.arange(len(ordered))
    axes.plot(columns, [pair[0] for _, pair in ordered], color=GREY, label="before")
    axes.bar(columns, [pair[1] for _, pair in ordered], color=COLOURS[0], label="after")
    axes.set_yscale("log")
    axes.set_ylabel("samples an epoch")
    if len(ordered) <= MAX_TICK_NAMES:
        axes.set_xticks(columns, [name for name, _ in ordered], rotation=90)
    else:
        axes.set_xlabel("classes, most frequent first")
    legend(axes)
    return as_svg(figure, "Samples of an epoch with each class, before and after balancing")


def curves(series: Mapping[str, Sequence[Point]], *, label: str) -> str:
    """Return one line per series over steps.

    Args:
        series: name to (step, value) points.
        label: of the vertical axis.
    """
    figure, axes = canvas(height_in=2.8)
    for number, (name, points) in enumerate(series.items()):
        steps, values = zip(*points, strict=True) if points else ((), ())
        axes.plot(steps, values, color=COLOURS[number % len(COLOURS)], label=name, linewidth=1.4)
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    legend(axes)
    return as_svg(figure, f"{label} over steps")


def grouped_bars(values: Mapping[str, Mapping[str, float]], *, label: str) -> str:
    """Return groups of bars: outer keys are the groups, inner keys the colours."""
    names = list(dict.fromkeys(name for group in values.values() for name in group))
    figure, axes = canvas(height_in=2.8)
    columns = np.arange(len(values))
    width = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        heights = [group.get(name, 0.0) for group in values.values()]
        offset = (number - (len(names) - 1) / 2) * width
        colour = COLOURS[number % len(COLOURS)]
        axes.bar(columns + offset, heights, 0.9 * width, color=colour, label=name)
    axes.set_xticks(columns, list(values))
    axes.set_ylabel(label)
    legend(axes)
    return as_svg(figure, f"{label} by group")


def ranked_bars(values: Mapping[str, float], *, label: str) -> str:
    """Return one bar across per name, highest first; of many names the ends, with a gap between."""
    ordered = sorted(values.items(), key=lambda item: -item[1])
    if len(ordered) > MAX_BARS:
        half = MAX_BARS // 2
        ordered = [*ordered[:half], (f"({len(ordered) - 2 * half} more)", 0.0), *ordered[-half:]]
    figure, axes = canvas(height_in=0.19 * len(ordered) + 0.8)
    rows = np.arange(len(ordered))
    axes.barh(rows, [value for _, value in ordered], 0.7, color=COLOURS[0])
    axes.set_yticks(rows, [name for name, _ in ordered])
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_xlabel(label)
    return as_svg(figure, f"{label}, highest first")


def reliability(bins: Sequence[tuple[float, float, int]]) -> str:
    """Return precision over mean score of (mean score, precision, detections) of each bin."""
    figure, axes = canvas(height_in=2.8)
    axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1, label="as it should be")
    scores = [score for score, _, _ in bins]
    most = max((count for _, _, count in bins), default=1)
    sizes = [12 + 120 * count / most for _, _, count in bins]
    axes.plot(scores, [p for _, p, _ in bins], color=COLOURS[0], linewidth=1)
    axes.scatter(scores, [p for _, p, _ in bins], s=sizes, color=COLOURS[0], label="detections")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("score")
    axes.set_ylabel("share that is right")
    legend(axes)
    return as_svg(figure, "How far scores can be believed")


def precision_curves(series: Mapping[str, Sequence[float]]) -> str:
    """Return precision over recall 0, 0.01, ..., 1; one line per name."""
    figure, axes = canvas(height_in=2.8)
    for number, (name, values) in enumerate(series.items()):
        recall = np.linspace(0, 1, len(values))
        axes.plot(recall, values, color=COLOURS[number % len(COLOURS)], label=name, linewidth=1.4)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    legend(axes)
    return as_svg(figure, "Precision over recall")


def intervals(values: Mapping[str, tuple[float, float, float]], *, label: str) -> str:
    """Return a dot with its interval per name; the line is at 0.

    Args:
        values: name to (value, low, high).
        label: of the horizontal axis.
    """
    figure, axes = canvas(height_in=0.26 * len(values) + 0.8)
    axes.axvline(0, color=GREY, linewidth=1)
    for row, (value, low, high) in enumerate(values.values()):
        colour = COLOURS[2] if low > 0 else COLOURS[3] if high < 0 else GREY
        axes.plot((low, high), (row, row), color=colour, linewidth=2)
        axes.plot(value, row, "o", color=colour, markersize=5)
    axes.set_yticks(np.arange(len(values)), list(values))
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xlabel(label)
    return as_svg(figure, f"{label}, with its interval")


def canvas(*, height_in: float) -> tuple[Figure, Axes]:
    """Return an empty chart in the report's style."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.add_subplot()
    axes.tick_params(which="both", colors=GREY, labelsize=8)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(GREY)
    return figure, axes


def legend(axes: Axes) -> None:
    """Name the colours above the chart, where nothing is drawn."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            frameon=False,
            labelcolor=GREY,
            fontsize=8,
            ncols=4,
            loc="lower left",
            bbox_to_anchor=(0, 1),
        )


def as_svg(figure: Figure, title: str) -> str:
    """Return a chart as SVG text, the same for the same chart."""
    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]
    return body.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
