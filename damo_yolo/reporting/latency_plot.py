"""Latencies side by side, as a picture."""

from collections.abc import Sequence
from typing import IO

Bar = tuple[str, float, float, float]
"""Label; 10th, 50th and 90th percentile in milliseconds."""


def plot_latency(bars: Sequence[Bar], file: IO[bytes], *, subtitle: str) -> None:
    """Write an SVG: a bar for each median, a line from the 10th to the 90th percentile.

    Args:
        bars: in the order shown, first at the top.
        file: where to write.
        subtitle: what it was measured on.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second to import

    figure = Figure(figsize=(8, 1.2 + 0.35 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    labels = [bar[0] for bar in bars]
    middles = [bar[2] for bar in bars]
    spreads = [[bar[2] - bar[1] for bar in bars], [bar[3] - bar[2] for bar in bars]]
    places = range(len(bars))
    axes.barh(places, middles, xerr=spreads, color="#4c78a8", ecolor="#333333", capsize=3)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    for place, (_, _, middle, high) in enumerate(bars):
        axes.annotate(f" {middle:.1f}", (max(middle, high), place), va="center")
    axes.margins(x=0.12)
    axes.set_xlabel("milliseconds a call: median, 10th to 90th percentile")
    axes.set_title(subtitle, fontsize=9)
    figure.savefig(file, format="svg")
