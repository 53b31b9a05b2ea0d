"""Detectors whose outputs vary, painted pictures in shards, and model folders: no downloads."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch
from torch import nn

from damo_yolo.datasets.records import write_records
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.loader import val_batches
from damo_yolo.losses.detection import DetectionLoss
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.models.detector import Detector, DetectorOutput
from damo_yolo.models.model_file import ModelFile, save_model_file
from damo_yolo.models.zoo import build_detector
from damo_yolo.samples import ImageRecord
from damo_yolo.search.fitted_latency import FEATURES, FittedLatency, LatencyError
from damo_yolo.stages.shard import shard
from tests.picture_builders import NUM_CLASSES, painted

NAMES = tuple(f"colour {i}" for i in range(NUM_CLASSES))
SIDE = 64


def calibrated_detector(
    name: str = "damo-yolo-ns", *, num_classes: int = NUM_CLASSES, side: int = SIDE, seed: int = 0
) -> Detector:
    """Return a detector in eval mode whose scores and boxes vary from point to point.

    With default weights all outputs are nearly equal, so any two detectors seem to agree.
    """
    torch.manual_seed(seed)
    detector = build_detector(name, num_classes=num_classes, bn_momentum=1.0)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
    for conv in (*detector.head.gfl_cls, *detector.head.gfl_reg):
        assert isinstance(conv, nn.Conv2d)
        nn.init.normal_(conv.weight, std=2 / conv.weight[0].numel() ** 0.5)
    with torch.no_grad():  # momentum 1: the running statistics become those of this batch
        detector.train()(textured_images(16, side=side).float())
    return detector.eval()


def textured_images(count: int, *, side: int = SIDE) -> torch.Tensor:
    """Return (count, 3, side, side) uint8 images with something everywhere: patches and noise."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 200, (count, 3, side // 8, side // 8)).repeat(8, 2).repeat(8, 3)
    return torch.from_numpy((patches + rng.integers(0, 56, patches.shape)).astype(np.uint8))


def write_model_folder(
    detector: Detector, folder: Path, *, names: tuple[str, ...] = NAMES, side: int = SIDE
) -> str:
    """Write a model folder as training does and return its location."""
    model = ModelFile.of(
        detector,
        name="damo-yolo-ns",
        class_names=names,
        image_size=side,
        label_space_sha256=LabelSpace.of_names(names).sha256,
    )
    save_model_file(model, str(folder / "model.pt"))
    return str(folder)


def write_painted_shards(folder: Path, *, train: int = 24, val: int = 16) -> tuple[str, str]:
    """Write shards and plan of painted pictures; return their locations.

    The validation images are of the datasets `full`, the headline, and `half`, which knows the
    first six classes only.
    """
    records, plan, shards = (str(folder / name) for name in ("records", "plan", "shards"))
    splits = {
        "train": [_record(folder, f"half/{i}", seed=i) for i in range(train)],
        "val": [
            _record(folder, f"{('full', 'half')[i % 2]}/v{i}", seed=900 + i) for i in range(val)
        ],
    }
    for split, rows in splits.items():
        write_records(rows, f"{records}/{split}.parquet")
    knows = {"full": list(range(NUM_CLASSES)), "half": list(range(6))}
    facts = {"evaluation": "full", "datasets": {n: {"known_ids": ids} for n, ids in knows.items()}}
    Path(records, "datasets.json").write_text(json.dumps(facts), encoding="utf-8")
    csv = LabelSpace.of_names(NAMES).to_csv()
    Path(records, "label_space.csv").write_text(csv, encoding="utf-8")
    keys = pa.array([row.key for row in splits["train"]], pa.string())
    names = pa.array(["half"] * train, pa.string())
    SamplePlan(keys, names, np.linspace(0.5, 1.5, train)).write(plan)
    shard(records, plan, shards, global_batch=4)
    return shards, plan


def _record(folder: Path, key: str, *, seed: int) -> ImageRecord:
    """Paint a picture of 96 x 80 pixels into a file."""
    sample = painted(4, side=96, seed=seed, key=key)
    path = folder / "images" / f"{key.replace('/', '-')}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sample.image[:80, :, ::-1])
    inside = sample.boxes[:, 3] <= 80
    labels = sample.labels[inside].astype(np.int32)
    return ImageRecord(
        key=key,
        dataset=key.partition("/")[0],
        image_uri=str(path),
        width=96,
        height=80,
        boxes=sample.boxes[inside],
        class_ids=labels,
        source_ids=tuple(str(label) for label in labels),
        is_crowd=np.zeros(len(labels), np.bool_),
    )


def trained_detector(shards_uri: str, *, steps: int = 45) -> Detector:
    """Return a detector that knows the validation images by heart: AP of some tenths in seconds."""
    detector, loss = calibrated_detector(), DetectionLoss()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.2
    detector.train()
    batches = list(val_batches(shards_uri, image_size=SIDE, batch_size=8))
    for step in range(steps):
        batch = batches[step % len(batches)]
        output = detector(batch.images.float())
        assert isinstance(output, DetectorOutput)
        parts = loss(output, batch.gt_boxes, batch.gt_labels, batch.gt_valid, batch.class_mask)
        optimizer.zero_grad()
        parts.total.backward()
        optimizer.step()
    return detector.eval()


def flat_latency(target: str, *, base: float, share: float) -> FittedLatency:
    """Return a latency model of the nano sizes at 64 pixels whose features all cost the same."""
    return FittedLatency(
        target=target,
        base=base,
        shares=dict.fromkeys(FEATURES, share),
        error=LatencyError(num_networks=8, rank_correlation=1, median=0.1, worst=0.2),
        image_size=64,
        neck_channels=(40, 80, 160),
        activations=("silu",),
    )
