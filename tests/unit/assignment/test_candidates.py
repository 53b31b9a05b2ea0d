"""Which anchor points an object may take, to the pixel."""

import torch

from damo_yolo.assignment.candidates import box_margin, centre_margin, find_candidates


def _column(*xs: float) -> torch.Tensor:
    """Return points on the line y = 50."""
    return torch.tensor([[x, 50.0] for x in xs])


def test_a_point_on_the_side_of_a_box_is_not_inside_it() -> None:
    box = torch.tensor([[[40.0, 0.0, 60.0, 100.0]]])

    margin = box_margin(_column(39, 40, 41, 50, 59, 60), box)

    assert margin[0, 0].tolist() == [-1, 0, 1, 10, 1, 0]


def test_the_centre_square_reaches_two_and_a_half_strides_and_excludes_its_rim() -> None:
    box = torch.tensor([[[49.0, 49.0, 51.0, 51.0]]])  # centre at 50
    strides = torch.tensor([[8.0], [8.0], [8.0], [16.0]])

    margin = centre_margin(_column(50, 69, 70, 70), strides, box)

    assert margin[0, 0].tolist() == [20, 1, 0, 20]


def test_candidates_are_packed_and_those_not_both_inside_and_central_are_marked() -> None:
    points, strides = _column(8, 16, 120, 200), torch.full((4, 1), 8.0)
    wide = [[[0.0, 0.0, 240.0, 100.0]]]  # holds all points, central to the third only
    tiny = [[[7.0, 49.0, 9.0, 51.0]]]  # holds the first, central to the first two

    found = find_candidates(points, strides, torch.tensor(wide + tiny))

    assert found.filled.tolist() == [[True] * 4, [True, True, False, False]]
    assert found.anchors[0].tolist() == [0, 1, 2, 3]
    assert found.anchors[1, :2].tolist() == [0, 1]
    assert found.outside[0, 0].tolist() == [1, 1, 0, 1]
    assert found.outside[1, 0, :2].tolist() == [0, 1]
