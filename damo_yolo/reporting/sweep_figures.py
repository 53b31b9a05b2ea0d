"""Pictures of a sweep: its trials across all settings, and the front of several goals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from damo_yolo.reporting.figures import COLOURS, GREY, as_svg, canvas, legend


@dataclass(frozen=True, slots=True)
class Scale:
    """One upright axis: where its values lie between its ends."""

    name: str
    low: float
    high: float
    is_log: bool = False
    labels: tuple[str, ...] = ()
    """Of a choice: values are places among them."""

    def place(self, value: float) -> float:
        """Return where a value lies, 0 at the lower end and 1 at the upper one."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = np.log([low, high, value]).tolist()
        return 0.5 if high == low else (value - low) / (high - low)

    @property
    def ends(self) -> tuple[str, str]:
        """Return what is written at both ends."""
        if self.labels:
            return self.labels[0], self.labels[-1]
        return f"{self.low:.3g}", f"{self.high:.3g}"


def parallel_coordinates(
    scales: Sequence[Scale],
    lines: Mapping[int, Sequence[float]],
    *,
    default: int | None,
    best: int | None,
) -> str:
    """Return a line per trial through all settings to its score; default and best stand out.

    Args:
        scales: an axis for each setting, the score last.
        lines: number of the trial to its value on each axis.
        default: number of the trial with the default values.
        best: number of the best other trial.
    """
    figure, axes = canvas(height_in=3.0)
    columns = np.arange(len(scales))
    styles = {default: (COLOURS[1], 2.4, f"default ({default})")}
    styles |= {best: (COLOURS[0], 2.4, f"best ({best})")}
    for number in sorted(lines, key=lambda number: number in styles):
        heights = [scale.place(v) for scale, v in zip(scales, lines[number], strict=True)]
        colour, width, label = styles.get(number, (GREY, 0.8, ""))
        axes.plot(columns, heights, color=colour, linewidth=width, label=label or "_", alpha=0.9)
    for column, scale in enumerate(scales):
        axes.vlines(column, 0, 1, color=GREY, linewidth=0.8)
        for height, text in zip((-0.04, 1.04), scale.ends, strict=True):
            side = "top" if height < 0 else "bottom"
            axes.text(column, height, text, color=GREY, fontsize=7, ha="center", va=side)
    axes.set_xticks(columns, [scale.name for scale in scales])
    axes.tick_params(axis="x", length=0, pad=14)
    axes.set_yticks([])
    axes.set_ylim(-0.02, 1.15)
    for spine in axes.spines.values():
        spine.set_visible(False)
    legend(axes)
    return as_svg(figure, "Trials across all settings, to their score")


def front(
    points: Mapping[int, tuple[float, float]], on_front: Sequence[int], *, names: tuple[str, str]
) -> str:
    """Return trials by two goals, those of the front joined.

    Args:
        points: number of the trial to (first, second) goal.
        on_front: numbers of the trials that no other beats in all goals.
        names: of the goals.
    """
    figure, axes = canvas(height_in=2.8)
    rest = [point for number, point in points.items() if number not in on_front]
    kept = sorted(points[number] for number in on_front)
    for found, colour, label in ((rest, GREY, "beaten"), (kept, COLOURS[0], "front")):
        axes.scatter([p[0] for p in found], [p[1] for p in found], color=colour, label=label, s=18)
    axes.plot([p[0] for p in kept], [p[1] for p in kept], color=COLOURS[0], linewidth=1)
    for number, (x, y) in points.items():
        axes.annotate(
            str(number), (x, y), (3, 3), textcoords="offset points", color=GREY, fontsize=7
        )
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    legend(axes)
    return as_svg(figure, f"{names[1]} against {names[0]}")
