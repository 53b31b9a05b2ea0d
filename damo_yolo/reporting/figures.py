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
WIDTH_IN = 7.2
JPEG_QUALITY = 82

MAX_TICK_NAMES = 40
"""With more classes their names would overlap."""

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
    figure, axes = _canvas(height_in=0.55 * len(shares) + 1.1)
    rows = np.arange(len(shares))
    before = [100 * pair[0] for pair in shares.values()]
    after = [100 * pair[1] for pair in shares.values()]
    axes.barh(rows - 0.18, before, 0.34, color=GREY, label="before (images)")
    axes.barh(rows + 0.18, after, 0.34, color=COLOURS[0], label="after (draws)")
    axes.set_yticks(rows, list(shares))
    axes.invert_yaxis()
    axes.set_xlabel("share, %")
    _legend(axes)
    return _svg(figure, "Share of each dataset before and after balancing")


def class_exposure(exposure: Mapping[str, tuple[float, float]]) -> str:
    """Return how often each class is seen in an epoch, before and after, most frequent first.

    Args:
        exposure: class name to (objects an epoch at raw sizes, objects an epoch with the plan).
    """
    ordered = sorted(exposure.items(), key=lambda item: -item[1][0])
    figure, axes = _canvas(height_in=3.0)
    columns = np.arange(len(ordered))
    axes.plot(columns, [pair[0] for _, pair in ordered], color=GREY, label="before")
    axes.bar(columns, [pair[1] for _, pair in ordered], color=COLOURS[0], label="after")
    axes.set_yscale("log")
    axes.set_ylabel("objects an epoch")
    if len(ordered) <= MAX_TICK_NAMES:
        axes.set_xticks(columns, [name for name, _ in ordered], rotation=60, ha="right")
    else:
        axes.set_xlabel("classes, most frequent first")
    _legend(axes)
    return _svg(figure, "Objects of each class in an epoch, before and after balancing")


def curves(series: Mapping[str, Sequence[Point]], *, label: str) -> str:
    """Return one line per series over steps.

    Args:
        series: name to (step, value) points.
        label: of the vertical axis.
    """
    figure, axes = _canvas(height_in=2.8)
    for number, (name, points) in enumerate(series.items()):
        steps, values = zip(*points, strict=True) if points else ((), ())
        axes.plot(steps, values, color=COLOURS[number % len(COLOURS)], label=name, linewidth=1.4)
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    _legend(axes)
    return _svg(figure, f"{label} over steps")


def grouped_bars(values: Mapping[str, Mapping[str, float]], *, label: str) -> str:
    """Return groups of bars: outer keys are the groups, inner keys the colours."""
    names = list(dict.fromkeys(name for group in values.values() for name in group))
    figure, axes = _canvas(height_in=2.8)
    columns = np.arange(len(values))
    width = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        heights = [group.get(name, 0.0) for group in values.values()]
        offset = (number - (len(names) - 1) / 2) * width
        colour = COLOURS[number % len(COLOURS)]
        axes.bar(columns + offset, heights, 0.9 * width, color=colour, label=name)
    axes.set_xticks(columns, list(values))
    axes.set_ylabel(label)
    _legend(axes)
    return _svg(figure, f"{label} by group")


def ranked_bars(values: Mapping[str, float], *, label: str) -> str:
    """Return one bar per name, highest first."""
    ordered = sorted(values.items(), key=lambda item: -item[1])
    figure, axes = _canvas(height_in=2.9)
    columns = np.arange(len(ordered))
    axes.bar(columns, [value for _, value in ordered], color=COLOURS[0])
    if len(ordered) <= MAX_TICK_NAMES:
        axes.set_xticks(columns, [name for name, _ in ordered], rotation=60, ha="right")
    axes.set_ylabel(label)
    return _svg(figure, f"{label}, highest first")


def _canvas(*, height_in: float) -> tuple[Figure, Axes]:
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


def _legend(axes: Axes) -> None:
    """Name the colours above the chart, where nothing is drawn."""
    axes.legend(
        frameon=False, labelcolor=GREY, fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1)
    )


def _svg(figure: Figure, title: str) -> str:
    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]
    return body.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
