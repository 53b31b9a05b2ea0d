"""The schedule of distillation: the paper's by default, the published code's by choice."""

from pathlib import Path

import numpy as np
import pytest

from damo_yolo.distillation.weight import distillation_weight


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 0.5), (50, 0.275), (75, 0.1159), (80, 0.0), (99, 0.0)]
)
def test_weight_falls_along_a_cosine_and_is_0_in_the_plain_phase(step: int, weight: float) -> None:
    value = distillation_weight(step, total_steps=100, untaught_steps=20)

    assert value == pytest.approx(weight, abs=5e-5)


def test_the_published_code_starts_at_1_and_never_stops(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "distill.npz")
    total_steps = int(golden["weight_total_iters"])

    for step, weight in zip(golden["weight_iters"], golden["weight"], strict=True):
        value = distillation_weight(int(step), total_steps=total_steps, untaught_steps=0, start=1.0)
        assert value == pytest.approx(weight, rel=1e-9)
