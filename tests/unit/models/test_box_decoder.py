import torch

from damo_yolo.models.box_decoder import BoxDecoder, anchor_points


def test_points_are_the_top_left_pixels_of_cells_row_by_row() -> None:
    points, strides = anchor_points([(2, 3), (1, 1)], (8, 16))

    assert points.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8], [0, 0]]
    assert strides.tolist() == [[8]] * 6 + [[16]]


def test_a_box_spans_the_expected_distances_in_strides() -> None:
    logits = torch.full((1, 1, 4, 4), -100.0)  # bins 0..3
    logits[0, 0, [0, 1, 2], [1, 2, 3]] = 100.0  # left 1, top 2, right 3
    logits[0, 0, 3, [0, 3]] = 100.0  # bottom: half 0, half 3 = 1.5

    boxes = BoxDecoder(3)(logits, torch.tensor([[16.0, 24.0]]), torch.tensor([[8.0]]))

    torch.testing.assert_close(boxes, torch.tensor([[[8.0, 8.0, 40.0, 36.0]]]))


def test_decoding_stays_in_float32_under_autocast() -> None:
    logits = torch.randn(1, 6, 4, 17, generator=torch.Generator().manual_seed(0)) * 3
    points, strides = anchor_points([(2, 3)], (32,))
    decoder = BoxDecoder(16)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        boxes = decoder(logits, points, strides)

    assert boxes.dtype is torch.float32
    assert torch.equal(boxes, decoder(logits, points, strides))
