"""Class-aware suppression against a loop over classes: `python benchmarks/suppression.py`.

The loop takes the best box of a class, drops what overlaps it, and goes on (torch, no compiled
operator); both sides keep the same boxes (tests/unit/models/test_postprocess.py). Sides take
turns; figures are medians of CPU time.
"""

import sys
from pathlib import Path

from timing import interleaved, parse_repeats

from damo_yolo.models.postprocess import suppress

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.plain_suppression import crowd, suppress_by_class

CANDIDATES = 2000


def main() -> None:
    repeats = parse_repeats(__doc__, default=9)
    print(f"{CANDIDATES} candidates\n")
    print("| classes | loop ms | ours ms | faster |")
    print("|---|---|---|---|")
    for num_classes in (1, 8, 80, 701):
        print(_row(num_classes, repeats), flush=True)


def _row(num_classes: int, repeats: int) -> str:
    boxes, scores, labels = crowd(CANDIDATES, num_classes, seed=0)
    loop, ours = interleaved(
        (
            lambda: suppress_by_class(boxes, scores, labels, 0.7),
            lambda: suppress(boxes, scores, labels, iou_threshold=0.7, max_kept=500),
        ),
        repeats=repeats,
    )
    return f"| {num_classes} | {loop * 1e3:.1f} | {ours * 1e3:.2f} | {loop / ours:.0f}x |"


if __name__ == "__main__":
    main()
