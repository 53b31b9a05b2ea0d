"""The published optimisation step, number by number, and its parts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from damo_yolo.losses.detection import DetectionLoss, LossConfig
from damo_yolo.models.zoo import build_detector
from damo_yolo.samples import Batch
from damo_yolo.training.config import OptimizerConfig
from damo_yolo.training.ema import WeightAverage
from damo_yolo.training.optim import build_optimizer, set_learning_rate
from damo_yolo.training.schedule import average_decay
from damo_yolo.training.step import StepLosses, TrainedModel, backward, split, to_device

OPTIMIZERS = {
    "T": OptimizerConfig(kind="sgd", weight_decay=5e-4, momentum=0.9),
    "Ns": OptimizerConfig(kind="adamw", weight_decay=1e-2),
}
LOSS_TOLERANCE = {"T": 3e-4, "Ns": 1e-5}
"""Relative; after two updates, as the notes of the golden data say."""


def _filled(size: str, golden_dir: Path) -> Any:
    """Return a detector with the weights that the golden data were made with."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("fill_weights", golden_dir / "fill_weights.py")
    assert spec
    assert spec.loader
    fill_weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill_weights)
    return fill_weights.fill_model(build_detector(f"damo-yolo-{size.lower()}"))


def _golden_part(golden: Any) -> tuple[Tensor | None, ...]:
    """Return the golden batch as the step takes it; its network input is image / 64 - 2."""
    images = torch.from_numpy(golden["images"]).float() / 64 - 2
    count = len(images)
    boxes = [golden[f"gt_boxes{i}"] for i in range(count)]
    most = max(len(b) for b in boxes)
    padded = torch.zeros(count, most, 4)
    labels = torch.zeros(count, most, dtype=torch.int64)
    valid = torch.zeros(count, most, dtype=torch.bool)
    for i, found in enumerate(boxes):
        padded[i, : len(found)] = torch.from_numpy(found)
        labels[i, : len(found)] = torch.from_numpy(golden[f"gt_labels{i}"])
        valid[i, : len(found)] = True
    return images, padded, labels, valid, None


@pytest.mark.parametrize("size", ["Ns", "T"])
def test_two_updates_are_those_of_the_published_code(golden_dir: Path, size: str) -> None:
    golden = np.load(golden_dir / f"train_step_{size}.npz")
    model = TrainedModel(_filled(size, golden_dir).train(), DetectionLoss(LossConfig()))
    optimizer = build_optimizer(model, OPTIMIZERS[size])
    part = _golden_part(golden)
    totals = []

    def look() -> None:
        losses = backward(model, [part], teacher=None, distill_weight=0.0, precision=torch.float32)
        totals.append(losses.total.item())

    look()
    average = WeightAverage(model.detector)
    for step in (1000, 1001):  # the numbers that the golden average was updated with
        set_learning_rate(optimizer, float(golden["opt.lr"]))
        optimizer.step()
        optimizer.zero_grad()
        average.update(model.detector, keep=average_decay(step, decay=0.9998, tau=2000))
        look()
    raw = {name: value.double().sum().item() for name, value in model.detector.state_dict().items()}
    mean = {name: value.double().sum().item() for name, value in average.state_dict().items()}

    np.testing.assert_allclose(totals, golden["opt.total_losses"], rtol=LOSS_TOLERANCE[size])
    keys = [str(key) for key in golden["after2.keys"]]
    found = [raw[key] for key in keys]
    np.testing.assert_allclose(found, golden["after2.sum"], rtol=2e-4, atol=2e-3)
    np.testing.assert_allclose(
        [mean[key] for key in keys], golden["after2.ema_sum"], rtol=2e-4, atol=2e-3
    )


def _batch(values: list[int], *, with_mask: bool = True) -> Batch:
    count = len(values)
    images = torch.tensor(values, dtype=torch.uint8).view(count, 1, 1, 1).expand(count, 3, 2, 2)
    return Batch(
        images=images.contiguous(),
        gt_boxes=torch.zeros(count, 1, 4),
        gt_labels=torch.zeros(count, 1, dtype=torch.int64),
        gt_valid=torch.zeros(count, 1, dtype=torch.bool),
        class_mask=torch.ones(count, 2, dtype=torch.bool) if with_mask else None,
        keys=tuple(str(value) for value in values),
        original_sizes=((2, 2),) * count,
    )


def _uneven_batch(num_images: int) -> Batch:
    """Return noise with as many objects in an image as its number, of other sizes each."""
    generator = torch.Generator().manual_seed(0)
    shape = (num_images, num_images)
    corners = torch.rand(*shape, 2, generator=generator) * 30
    sides = 8 + torch.rand(*shape, 2, generator=generator) * 24
    pixels = torch.randint(0, 256, (num_images, 3, 64, 64), generator=generator)
    return Batch(
        images=pixels.to(torch.uint8),
        gt_boxes=torch.cat((corners, corners + sides), dim=-1),
        gt_labels=torch.randint(2, shape, generator=generator),
        gt_valid=torch.arange(num_images).expand(shape) < torch.arange(num_images).unsqueeze(1),
        class_mask=None,
        keys=tuple(str(number) for number in range(num_images)),
        original_sizes=((64, 64),) * num_images,
    )


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_add_up_to_the_whole_where_batch_norm_is_frozen(parts: int) -> None:
    """The parts have 1, 5 or 0, 1, 2, 3 objects: means of parts would weigh them wrongly."""
    torch.manual_seed(0)
    detector = build_detector("damo-yolo-ns", num_classes=2, class_prior=0.1).train()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    model = TrainedModel(detector, DetectionLoss(LossConfig()))
    batch = to_device(_uneven_batch(4), torch.device("cpu"), layout=torch.contiguous_format)

    def run(num_parts: int) -> tuple[StepLosses, dict[str, Tensor]]:
        model.zero_grad()
        losses = backward(
            model,
            split(batch, num_parts),
            teacher=None,
            distill_weight=0.0,
            precision=torch.float32,
        )
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        return losses, grads

    (whole, expected), (summed, found) = run(1), run(parts)

    assert whole.num_foreground > 0
    torch.testing.assert_close(torch.stack(summed), torch.stack(whole), rtol=1e-4, atol=1e-6)
    assert set(found) == set(expected)
    for name, value in found.items():
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4 * scale + 1e-9)


def test_looking_at_the_parts_leaves_running_statistics_alone() -> None:
    detector = build_detector("damo-yolo-ns", num_classes=2).train()
    model = TrainedModel(detector, DetectionLoss(LossConfig()))
    batch = to_device(_uneven_batch(2), torch.device("cpu"), layout=torch.contiguous_format)
    before = {name: value.clone() for name, value in detector.named_buffers()}

    model.count_foreground(split(batch, 1)[0], torch.float32)

    for name, value in detector.named_buffers():
        assert torch.equal(value, before[name]), name


def test_a_batch_without_class_mask_splits_too() -> None:
    parts = split(_batch([1, 2], with_mask=False), 2)

    assert [part[-1] for part in parts] == [None, None]
    assert [len(part[0]) for part in parts if part[0] is not None] == [1, 1]


def test_images_become_floats_and_keep_their_range() -> None:
    batch = to_device(_batch([0, 255]), torch.device("cpu"), layout=torch.channels_last)

    assert batch.images.dtype == torch.float32
    assert batch.images.amax().item() == 255.0
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.keys == ("0", "255")


def test_an_infinite_loss_makes_every_gradient_not_finite() -> None:
    """So that data-parallel ranks learn of each other's failure from the averaged gradient."""

    class Infinite(nn.Module):
        """Its gradient is the mean of the images."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(1.0))

        def forward(self, batch: Any, *_: object) -> StepLosses:
            total = (self.weight * batch[0]).mean()
            losses = StepLosses(total, *[total.detach()] * 5)
            return losses._replace(total=losses.total + float("inf"))

    model = Infinite()
    batch = to_device(_batch([1]), torch.device("cpu"), layout=torch.contiguous_format)

    backward(model, split(batch, 1), teacher=None, distill_weight=0.0, precision=torch.float32)

    assert model.weight.grad is not None
    assert torch.isnan(model.weight.grad)
