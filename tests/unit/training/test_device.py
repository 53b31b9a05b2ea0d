"""What the device decides, with a GPU that exists in numbers only."""

import pytest
import torch

from damo_yolo.errors import TrainingError
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.device import choose_accumulation, choose_precision, memory_mib
from damo_yolo.training.memory import noise

GIB = 1 << 30


@pytest.mark.parametrize(
    ("capacity_gib", "parts"),
    [(80, 1), (24, 2), (16, 4), (8, 8)],
)
def test_a_step_is_cut_into_as_few_parts_as_fit(capacity_gib: int, parts: int) -> None:
    """64 images of 0.5 GiB and 1 GiB of weights: 33 GiB whole, 17 in two, 9 in four, 5 in eight;
    nine tenths of the memory may be used."""
    tried: list[int] = []

    def probe(images: int) -> int:
        tried.append(images)
        needed = GIB + images * GIB // 2
        if needed > capacity_gib * GIB:
            raise torch.OutOfMemoryError
        return needed

    found = choose_accumulation(probe, images=64, capacity_bytes=capacity_gib * GIB)

    assert found == parts
    assert tried[-1] == 64 // parts


def test_only_equal_parts_are_tried() -> None:
    tried: list[int] = []

    def probe(images: int) -> int:
        tried.append(images)
        return images * GIB

    assert choose_accumulation(probe, images=12, capacity_bytes=4 * GIB) == 4
    assert tried == [12, 6, 4, 3]


def test_an_image_that_does_not_fit_is_an_error_with_advice() -> None:
    with pytest.raises(TrainingError, match=r"one image does not fit into 8\.0 GiB") as caught:
        choose_accumulation(lambda images: images * 9 * GIB, images=4, capacity_bytes=8 * GIB)

    assert "lower image_size" in caught.value.fix


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)],
)
def test_a_cpu_computes_in_fp32_unless_told(precision: str, dtype: torch.dtype) -> None:
    config = TrainConfig(model="damo-yolo-ns").with_overrides([f"precision={precision}"])

    assert choose_precision(config, torch.device("cpu")) == dtype


def test_memory_in_use_is_that_of_a_process_with_torch() -> None:
    assert 50 < memory_mib(torch.device("cpu")) < 50_000


def test_noise_fills_every_image_with_objects_of_known_classes() -> None:
    config = TrainConfig(model="damo-yolo-ns", image_size=64, global_batch=4)

    images, boxes, labels, valid, mask = noise(config, 2, num_classes=3, device=torch.device("cpu"))

    assert images is not None
    assert images.shape == (2, 3, 64, 64)
    assert boxes is not None
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert labels is not None
    assert set(labels.flatten().tolist()) == {0, 1, 2}
    assert valid is not None
    assert valid.all()
    assert mask is not None
    assert mask.shape == (2, 3)
