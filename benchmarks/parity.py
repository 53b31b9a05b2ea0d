"""Exports of all seven sizes held against torch, with weights that make outputs vary.

    python benchmarks/parity.py --out benchmarks/results/parity.json

Default weights give nearly constant outputs, so anything agrees. Here convolutions keep the size of
what passes through, and each batch norm expects about what it gets: variances of half to one and a
half times the mean square of its input, and means that are not quite right, as after a training.
"""

import argparse
import json
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from damo_yolo.evaluation.latency import describe_environment
from damo_yolo.export.onnx import GraphConfig, export_onnx
from damo_yolo.export.openvino import export_openvino
from damo_yolo.inference.backend import Backend
from damo_yolo.inference.backends import TorchBackend, open_backend
from damo_yolo.inference.detect import DetectConfig, detect
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.models.detector import Detector
from damo_yolo.models.reparam import fuse
from damo_yolo.models.zoo import MODEL_NAMES, build_detector, detector_config
from damo_yolo.samples import Detections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", default=MODEL_NAMES)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = {}
    for name in options.sizes:
        rows[name] = compare(name)
        print(name, json.dumps(rows[name]), flush=True)
    if options.out:
        content = {
            "date": datetime.now(UTC).date().isoformat(),
            "environment": describe_environment().model_dump(mode="json"),
            "sizes": rows,
        }
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def compare(name: str) -> dict[str, float]:
    """Return the differences of one size's exports from torch on one picture."""
    config = detector_config(name)
    images = picture(config.image_size)
    detector = calibrated(name, images)
    info = DetectorInfo(
        model=name,
        image_size=config.image_size,
        class_names=tuple(f"class {i}" for i in range(config.num_classes)),
        score_threshold=config.score_threshold,
        iou_threshold=config.iou_threshold,
    )
    reference = TorchBackend(detector, info, threads=1)
    expected = reference(images)
    with tempfile.TemporaryDirectory() as folder:
        onnx, nms, ir = (Path(folder) / file for file in ("m.onnx", "nms.onnx", "m.xml"))
        fused = fuse(detector)
        export_onnx(fused, info, onnx)
        export_onnx(fused, info, nms, GraphConfig(nms=True))
        export_openvino(onnx, info, ir, "fp32")
        row = {"score_spread": float(expected[0].max(axis=-1).std())}
        for runtime, path in (("onnx", onnx), ("openvino", ir)):
            scores, boxes = open_backend(str(path), threads=1)(images)
            row[f"{runtime}_score"] = float(np.abs(scores - expected[0]).max())
            row[f"{runtime}_box_px"] = float(np.abs(boxes - expected[1]).max())
        graph = found_in(open_backend(str(nms), threads=1), images)
        outside = found_in(open_backend(str(onnx), threads=1), images)
        row |= {
            "objects": len(graph.labels),
            "as_outside": same_objects(outside, graph),
            "as_torch": same_objects(found_in(reference, images), graph),
        }
    return row


def found_in(backend: Backend, images: NDArray[np.uint8]) -> Detections:
    """Return the objects of an image, suppression done by the graph or by us."""
    size = (backend.image_size, backend.image_size)
    config = DetectConfig.of(backend)
    return detect(backend, images, config, keys=("",), original_sizes=(size,))[0]


def same_objects(first: Detections, second: Detections) -> float:
    """Return the share of the first's objects that the second has within 0.05 px."""
    gaps = [
        (np.abs(second.boxes - box).max(axis=1) + 1e6 * (second.labels != label)).min(initial=1e6)
        for box, label in zip(first.boxes, first.labels, strict=True)
    ]
    return float(np.mean(np.array(gaps) < 0.05))


def picture(side: int) -> NDArray[np.uint8]:
    """Return (1, 3, side, side): soft blobs with some grain."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 13, 13)))
    soft = nn.functional.interpolate(coarse, (side, side), mode="bicubic").numpy()
    grain = rng.normal(0, 4, soft.shape)
    values: NDArray[np.uint8] = np.clip(soft + grain, 0, 255).astype(np.uint8)
    return values


def calibrated(name: str, images: NDArray[np.uint8]) -> Detector:
    """Return a detector in eval mode whose every layer matters."""
    generator = torch.Generator().manual_seed(0)
    detector = build_detector(name).eval()
    with torch.no_grad():
        for key, value in detector.named_parameters():
            _fill(key, value, generator)
        handles = [
            module.register_forward_pre_hook(partial(_calibrate, generator=generator))
            for module in detector.modules()
            if isinstance(module, nn.BatchNorm2d)
        ]
        detector(torch.from_numpy(images).float())
    for handle in handles:
        handle.remove()
    return detector


def _fill(key: str, value: Tensor, generator: torch.Generator) -> None:
    if value.ndim > 1:
        gain = 2 if "gfl_" in key else 1
        value.normal_(std=gain / value[0].numel() ** 0.5, generator=generator)
    elif key.endswith("weight"):
        value.uniform_(0.7, 1.3, generator=generator)
    elif key.endswith("bias"):
        value.normal_(std=0.2, generator=generator)
        value -= 2.5 if "gfl_cls" in key else 0


def _calibrate(norm: nn.Module, given: tuple[Tensor], *, generator: torch.Generator) -> None:
    """Set the statistics of a norm from what reaches it."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = float(given[0].square().mean())
    norm.running_var.uniform_(0.5 * scale, 1.5 * scale, generator=generator)
    norm.running_mean.normal_(std=0.2 * scale**0.5, generator=generator)


if __name__ == "__main__":
    main()
