"""CPU latency of our exports against plain ones, of precisions, and of activations: one run.

    python benchmarks/latency.py --threads 2 --out benchmarks/results/latency.json

Weights are random: they take as long. "plain" is what anyone would do: the network in deploy form,
traced to TorchScript, converted by OpenVINO.
"""

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from damo_yolo.evaluation.latency import Call, LatencyConfig, caller, measure_latency, noise
from damo_yolo.inference.openvino_runtime import import_openvino
from damo_yolo.models.reparam import fuse_branches
from damo_yolo.models.zoo import build_detector
from damo_yolo.stages.benchmark import BenchmarkConfig, contenders_of

MODELS = ("damo-yolo-ns", "damo-yolo-nm", "damo-yolo-t")
VARIANTS = ("damo-yolo-nm+hard_swish", "damo-yolo-nm+relu")
RATIOS = (
    ("ns: ours / plain", "damo-yolo-ns openvino-fp32", "damo-yolo-ns plain"),
    ("nm: ours / plain", "damo-yolo-nm openvino-fp32", "damo-yolo-nm plain"),
    ("t: ours / plain", "damo-yolo-t openvino-fp32", "damo-yolo-t plain"),
    ("nm: FP32 / INT8", "damo-yolo-nm openvino-fp32", "damo-yolo-nm openvino-int8"),
    ("ns: FP32 / INT8", "damo-yolo-ns openvino-fp32", "damo-yolo-ns openvino-int8"),
    ("t: FP32 / INT8", "damo-yolo-t openvino-fp32", "damo-yolo-t openvino-int8"),
    *(
        (f"nm: {activation} / SiLU, {form}", f"{variant} {form}", f"damo-yolo-nm {form}")
        for activation, variant in zip(("hard-swish", "ReLU"), VARIANTS, strict=True)
        for form in ("openvino-fp32", "openvino-int8")
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--limit-s", type=float, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    calls: dict[str, Call] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (*MODELS, *VARIANTS):
            config = BenchmarkConfig(forms=("openvino-fp32", "openvino-int8"))
            for contender in contenders_of(name, Path(folder) / name, config):
                backend = contender.open(options.threads)
                calls[f"{name} {contender.form}"] = on(noise(backend.image_size), caller(backend))
            if name in MODELS:
                calls[f"{name} plain"] = plain(name, options.threads)
        latency = LatencyConfig(warmup=5, repeats=options.repeats, limit_s=options.limit_s)
        records = measure_latency(
            calls, np.zeros((1, 3, 1, 1), np.uint8), latency, threads=options.threads
        )
    for name, record in records.items():
        print(f"{name:40} p10 {record.p10_ms:8.2f}  p50 {record.p50_ms:8.2f} ms")
    ratios = {
        label: {
            "p10": round(records[a].p10_ms / records[b].p10_ms, 3),
            "p50": round(records[a].p50_ms / records[b].p50_ms, 3),
        }
        for label, a, b in RATIOS
    }
    print(json.dumps(ratios, indent=2))
    if options.out:
        first = next(iter(records.values()))
        content = {
            "date": datetime.now(UTC).date().isoformat(),
            "threads": options.threads,
            "rounds": first.repeats,
            "environment": first.environment.model_dump(mode="json"),
            "ratios": ratios,
            "ms": {
                name: {"p10": r.p10_ms, "p50": r.p50_ms, "p90": r.p90_ms}
                for name, r in records.items()
            },
        }
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def on(images: np.ndarray, call: Call) -> Call:
    values = images.astype(np.float32)
    return lambda _: call(values)


def plain(name: str, threads: int) -> Call:
    """Return a plain export: traced to TorchScript, converted, compiled."""
    openvino = import_openvino()
    detector = build_detector(name)
    side = detector.config.image_size
    example = torch.zeros(1, 3, side, side)
    with torch.no_grad():
        traced = torch.jit.trace(  # type: ignore[no-untyped-call] # torch's own
            fuse_branches(detector), example
        )
    model = openvino.convert_model(traced, example_input=example, input=[(1, 3, side, side)])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    values = noise(side).astype(np.float32)
    return lambda _: request.infer([values])


if __name__ == "__main__":
    main()
