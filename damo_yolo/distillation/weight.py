"""How much distillation counts, as a function of the step."""

import math


def distillation_weight(
    step: int,
    *,
    total_steps: int,
    untaught_steps: int,
    start: float = 0.5,
    end_ratio: float = 0.1,
) -> float:
    """Return the factor of the distillation loss: half a cosine over the run, then 0.

    The defaults are the paper's. The published code uses `start=1.0` and never stops, which is
    `untaught_steps=0`.

    Args:
        step: 0-based step of the run.
        total_steps: steps of the whole run, plain phase included: the length of the cosine.
        untaught_steps: steps at the end of the run without distillation, as the plain phase is.
        start: weight at step 0.
        end_ratio: weight at the end of the cosine, as a share of `start`.
    """
    if step >= total_steps - untaught_steps and untaught_steps > 0:
        return 0.0
    fallen = (1 - math.cos(math.pi * step / total_steps)) / 2  # 0 .. 1
    return start * (1 - (1 - end_ratio) * fallen)
