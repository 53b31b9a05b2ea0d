"""Class costs: the same from scores and from logits, and finite wherever a score may end."""

import torch

from damo_yolo.assignment.class_cost import LogitCosts, ScoreCosts, logs_of_logits, logs_of_scores
from damo_yolo.losses.quality_focal import background_loss


def test_scores_and_logits_give_the_same_costs() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 30, 11, generator=generator) * 3
    mask = torch.rand(2, 11, generator=generator) < 0.5
    anchors = torch.randint(30, (2, 9), generator=generator)
    labels = torch.randint(11, (2, 4), generator=generator)
    filled = torch.ones(2, 9, dtype=torch.bool)
    both = slice(0, 2)
    of_scores = ScoreCosts(logits.sigmoid(), mask)
    of_logits = LogitCosts(logits, background_loss(logits, mask).cost, mask)

    for expected, value in zip(
        of_scores.own(both, labels, anchors), of_logits.own(both, labels, anchors), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        of_logits.background(both, anchors, filled),
        of_scores.background(both, anchors, filled),
        rtol=1e-4,
        atol=1e-6,
    )


def test_logarithms_are_clamped_at_minus_100_even_for_infinite_logits() -> None:
    ends = torch.tensor([-torch.inf, -1000.0, 0.0, 1000.0, torch.inf])

    score, log_score, log_rest = logs_of_logits(ends)

    assert score.tolist() == [0, 0, 0.5, 1, 1]
    half = torch.tensor(0.5).log().item()
    assert log_score.tolist() == [-100, -100, half, 0, 0]
    assert log_rest.tolist() == [0, 0, half, -100, -100]
    assert logs_of_scores(torch.tensor([0.0, 1.0])).log_score.tolist() == [-100, 0]
