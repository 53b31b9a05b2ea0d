"""What SiLU, hard-swish and ReLU are worth in the nano models: AP, AP of what ships, latency.

    python benchmarks/activations.py run W         # every training and export that is not there yet
    python benchmarks/activations.py latency W     # both cores, nothing else on the machine
    python benchmarks/activations.py table W       # benchmarks/results/activations.json

The sample's own recipe on the embedded sample of seed 0, one seed: damo-yolo-nm with SiLU is the
teacher, damo-yolo-nm and damo-yolo-ns are distilled from it with each activation, damo-yolo-t is
trained alone. Every model is exported by the export stage and held against torch on the full
validation copy. Latency is that of the trained weights at the published input size, FP32 and INT8
of all models in turn. One core a run: several `run` commands on the same folder share the work.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from proof_bccd import RESULTS, surroundings
from proof_distillation import claim, prepare, train

from damo_yolo.evaluation.latency import Call, LatencyConfig, caller, measure_latency, noise
from damo_yolo.export.calibration import calibration_images
from damo_yolo.export.forms import FormConfig, build_forms
from damo_yolo.inference.backends import open_backend
from damo_yolo.inference.model_folder import load_model
from damo_yolo.models.zoo import detector_config
from damo_yolo.stages.export import export_detector

RESULT = RESULTS / "activations.json"
TEACHER = "teacher"
FORMS = ("onnx", "openvino-fp16", "openvino-int8")
TIMED = ("openvino-fp32", "openvino-int8")
STUDENTS = tuple(f"{size}-{act}" for act in ("silu", "hard_swish", "relu") for size in ("nm", "ns"))
ALONE = "t-relu"
MODELS = (TEACHER, *STUDENTS, ALONE)
NUM_CALIBRATION = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("run", "latency", "table"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    work = options.work.resolve()
    if options.action == "run":
        run(work, options.steps, options.only)
    elif options.action == "latency":
        content = latency(work, options.threads)
        (work / "latency.json").write_text(json.dumps(content, indent=1) + "\n")
    else:
        write_table(work)


def run(work: Path, steps: int, names: Sequence[str]) -> None:
    """Train and export what is not there yet, the teacher first."""
    prepare(work)
    changes = (f"schedule.max_steps={steps}",)
    teacher = train(work, TEACHER, changes, "sample/teacher")
    if not (work / TEACHER / "evaluation" / "metrics.json").exists():
        raise SystemExit("another run is training the teacher; come back when it is done")
    for name in names:
        if name == ALONE:
            train(work, name, (*changes, "model=damo-yolo-t"), "sample/twin")
        elif name != TEACHER:
            size, activation = name.split("-")
            own = (*changes, f"model=damo-yolo-{size}", f"activation={activation}")
            train(work, name, own, "sample/student", teacher_uri=teacher)
        export(work, name)


def export(work: Path, name: str) -> None:
    """Export a trained model and compare each form with it, unless that is done or under way."""
    out = work / name / "export"
    trained = (work / name / "evaluation" / "metrics.json").exists()
    if not trained or (out / "result.json").exists() or not claim(work / name):
        return
    result = export_detector(
        model_uri=str(work / name),
        shards_uri=str(work / "shards"),
        plan_uri=str(work / "plan"),
        out_uri=str(out),
        formats=FORMS,
    )
    for form, found in result.attestations.items():
        print(f"{name} {form}: AP {found.ap.ap:.4f}, drop {found.ap_drop:+.4f}", flush=True)


def exported(work: Path) -> list[str]:
    """Return the models that are trained and exported."""
    return [name for name in MODELS if (work / name / "export" / "result.json").exists()]


def latency(work: Path, threads: int) -> dict[str, object]:
    """Time FP32 and INT8 of every trained model in turn, each at its published input size."""
    calls: dict[str, Call] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in exported(work):
            model = load_model(str(work / name))
            side = detector_config(model.info.model).image_size
            model = replace(model, info=model.info.model_copy(update={"image_size": side}))
            place = Path(folder) / name
            place.mkdir()
            images = partial(_images, work, side)
            for form in build_forms(
                model.detector, model.info, TIMED, place, load_images=images, config=FormConfig()
            ):
                run_once = caller(open_backend(str(form.path), threads=threads))
                calls[f"{name} {form.precision}"] = partial(_on, run_once, noise(side))
        config = LatencyConfig(warmup=5, repeats=60, limit_s=400)
        given = np.zeros((1, 3, 1, 1), np.uint8)  # each call holds images of its own size
        records = measure_latency(calls, given, config, threads=threads)
    first = next(iter(records.values()))
    return {
        "threads": threads,
        "rounds": first.repeats,
        "environment": first.environment.model_dump(mode="json"),
        "ms": {name: {"p10": r.p10_ms, "p50": r.p50_ms} for name, r in records.items()},
    }


def _images(work: Path, side: int, count: int) -> list[np.ndarray]:
    return calibration_images(
        str(work / "shards"),
        str(work / "plan"),
        num_images=min(count, NUM_CALIBRATION),
        image_size=side,
    )


def _on(call: Call, images: np.ndarray, _: np.ndarray) -> object:
    return call(images.astype(np.float32))


def write_table(work: Path) -> None:
    """Gather what was measured."""
    timed = json.loads((work / "latency.json").read_text())
    rows = {}
    for name in exported(work):
        result = json.loads((work / name / "export" / "result.json").read_text())
        found = result["attestations"]
        plain = result["plain_int8"]
        fp32, int8 = (timed["ms"][f"{name} {precision}"]["p50"] for precision in ("fp32", "int8"))
        rows[name] = {
            "ap": found["torch"]["ap"]["ap"],
            "ap50": found["torch"]["ap"]["ap50"],
            "ap_fp16": found["openvino-fp16"]["ap"]["ap"],
            "ap_drop_fp16": found["openvino-fp16"]["ap_drop"],
            "ap_int8": found["openvino-int8"]["ap"]["ap"],
            "ap_drop_int8": found["openvino-int8"]["ap_drop"],
            "ap_drop_plain_int8": plain["ap_drop"] if plain else None,
            "fp32_ms": fp32,
            "int8_ms": int8,
            "fp32_of_silu": _ratio(timed["ms"], name, "fp32"),
            "int8_of_silu": _ratio(timed["ms"], name, "int8"),
            "fp32_of_int8": round(fp32 / int8, 3),
        }
        print(name, json.dumps(rows[name]))
    report = {
        "command": "python benchmarks/activations.py run W; ... latency W; ... table W",
        "models": rows,
        "latency": timed,
        **surroundings(),
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")


def _ratio(ms: dict[str, dict[str, float]], name: str, precision: str) -> float | None:
    silu = ms.get(f"{name.partition('-')[0]}-silu {precision}")
    return round(ms[f"{name} {precision}"]["p50"] / silu["p50"], 3) if silu else None


if __name__ == "__main__":
    main()
