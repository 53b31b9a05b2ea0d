import torch

from damo_yolo.loading.collate import collate, join
from tests.picture_builders import painted


def test_objects_are_padded_and_images_keep_their_pixels() -> None:
    samples = [painted(count, side=32, seed=count) for count in (2, 0, 3)]

    batch = collate(samples)

    assert batch.images.shape == (3, 3, 32, 32)
    assert batch.images.dtype == torch.uint8
    assert (batch.images[2].permute(1, 2, 0).numpy() == samples[2].image).all()
    assert batch.gt_boxes.shape == (3, 3, 4)
    assert batch.gt_valid.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert batch.gt_boxes[0, :2].tolist() == samples[0].boxes.tolist()
    assert batch.gt_labels[0].tolist() == [*samples[0].labels, 0]
    assert (batch.gt_boxes[~batch.gt_valid] == 0).all()
    assert batch.keys == ("painted/2", "painted/0", "painted/3")
    assert batch.original_sizes == ((32, 32),) * 3


def test_a_batch_of_backgrounds_keeps_one_padded_place() -> None:
    batch = collate([painted(0), painted(0)])

    assert batch.gt_boxes.shape == (2, 1, 4)
    assert not batch.gt_valid.any()


def test_the_class_mask_can_be_left_out() -> None:
    samples = [painted(1, known=(0, 3)), painted(1, known=(1,))]

    mask = collate(samples).class_mask
    assert mask is not None
    assert [row.nonzero().flatten().tolist() for row in mask] == [[0, 3], [1]]
    assert collate(samples, class_mask=False).class_mask is None


def test_joined_parts_equal_the_whole() -> None:
    samples = [painted(count, side=32, seed=count) for count in (0, 4, 1, 2, 0)]

    for with_mask in (True, False):
        whole = collate(samples, class_mask=with_mask)
        joined = join(
            [
                collate(samples[:1], class_mask=with_mask),
                collate(samples[1:3], class_mask=with_mask),
                collate(samples[3:], class_mask=with_mask),
            ]
        )
        for name in ("images", "gt_boxes", "gt_labels", "gt_valid"):
            assert torch.equal(getattr(joined, name), getattr(whole, name))
        assert (joined.class_mask is None) == (not with_mask)
        if joined.class_mask is not None and whole.class_mask is not None:
            assert torch.equal(joined.class_mask, whole.class_mask)
        assert joined.keys == whole.keys
        assert joined.images.is_contiguous(memory_format=torch.channels_last)
