"""The plot of a balance preview: datasets, powers and classes before and after."""

import io
from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from damo_yolo.mixing.exposure import Exposure
from damo_yolo.reporting.figures import COLOURS, GREY, MAX_TICK_NAMES

SIZE_IN = (10.0, 7.5)
DPI = 110


def exposure_plot(exposure: Exposure, class_names: Mapping[int, str], *, kind: str) -> bytes:
    """Return a PNG or SVG; the same exposure gives the same bytes.

    Args:
        exposure: an epoch before and after balancing.
        class_names: of the classes by id.
        kind: "png" or "svg".
    """
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.3))
    _draw_datasets(figure.add_subplot(grid[0, 0]), exposure)
    _draw_powers(figure.add_subplot(grid[0, 1]), exposure)
    _draw_classes(figure.add_subplot(grid[1, :]), exposure, class_names)
    figure.suptitle(
        f"{exposure.draws_per_epoch:,} draws an epoch, unique coverage"
        f" {exposure.unique_coverage:.1%}, size power {exposure.config.size_power:.3g}"
    )
    sink = io.BytesIO()
    with rc_context({"svg.hashsalt": "exposure"}):
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(sink, format=kind, dpi=DPI, metadata=metadata)
    return sink.getvalue()


def _draw_datasets(axes: Axes, exposure: Exposure) -> None:
    rows = np.arange(len(exposure.datasets))
    shares = exposure.datasets.values()
    axes.barh(rows - 0.18, [100 * item.share_before for item in shares], 0.34, color=GREY)
    axes.barh(rows + 0.18, [100 * item.share_after for item in shares], 0.34, color=COLOURS[0])
    axes.set_yticks(
        rows,
        [f"{name}\nat most {item.largest_draws:.3g}x" for name, item in exposure.datasets.items()],
    )
    axes.invert_yaxis()
    axes.legend(("before (images)", "after (draws)"), frameon=False)
    axes.set_xlabel("share, %")
    axes.set_title("datasets, with the draws of their most drawn image", fontsize="medium")


def _draw_powers(axes: Axes, exposure: Exposure) -> None:
    powers = [item.size_power for item in exposure.powers]
    for number, name in enumerate(exposure.datasets):
        shares = [100 * item.shares[name] for item in exposure.powers]
        axes.plot(powers, shares, marker="o", color=COLOURS[number % len(COLOURS)], label=name)
    axes.axvline(exposure.config.size_power, color=GREY, linestyle=":")
    axes.set_xlabel("size power (0 evens datasets, 1 keeps their sizes)")
    axes.set_ylabel("share of draws, %")
    axes.set_title("what each power would do", fontsize="medium")
    axes.legend(frameon=False)


def _draw_classes(axes: Axes, exposure: Exposure, class_names: Mapping[int, str]) -> None:
    ordered = sorted(exposure.classes, key=lambda item: -item.before)
    columns = np.arange(len(ordered))
    axes.plot(columns, [item.before for item in ordered], color=GREY, drawstyle="steps-mid")
    axes.plot(columns, [item.after for item in ordered], ".", color=COLOURS[0])
    axes.set_yscale("log")
    axes.set_ylabel("samples an epoch")
    axes.legend(("before", "after"), frameon=False)
    axes.set_title("samples of an epoch that hold each class", fontsize="medium")
    if len(ordered) <= MAX_TICK_NAMES:
        names = [class_names[item.class_id] for item in ordered]
        axes.set_xticks(columns, names, rotation=60, ha="right")
    else:
        axes.set_xlabel(f"{len(ordered)} classes, most frequent first")
