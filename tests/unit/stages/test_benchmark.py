import json
from pathlib import Path

import pytest

from damo_yolo.errors import ConfigError, StorageError
from damo_yolo.evaluation.latency import LatencyConfig
from damo_yolo.stages.benchmark import BenchmarkConfig, BenchmarkResult, benchmark_models
from tests.detector_builders import calibrated_detector, write_model_folder

QUICK = LatencyConfig(warmup=1, repeats=5, limit_s=5)


def test_models_forms_batches_and_threads_are_timed_in_one_run(tmp_path: Path) -> None:
    model = write_model_folder(calibrated_detector(), tmp_path / "mine")
    config = BenchmarkConfig(forms=("torch", "onnx"), batches=(1, 3), threads=(1, 2), latency=QUICK)

    result = benchmark_models(models=[model], out_uri=str(tmp_path / "out"), config=config)

    rows = [(row.model, row.form, row.batch_size, row.threads) for row in result.rows]
    assert rows == [
        ("mine", form, batch, threads)
        for threads in (1, 2)
        for batch in (1, 3)
        for form in ("torch", "onnx")
    ]
    first = result.rows[0]
    assert first.latency.interleaved_with == ("mine onnx",)
    assert (first.latency.image_size, first.latency.repeats) == (64, 5)
    assert first.images_per_s == pytest.approx(1000 / first.latency.p50_ms, rel=1e-3)
    assert result.environment.versions["onnxruntime"]
    stored = (tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8")
    assert BenchmarkResult.model_validate(json.loads(stored)) == result
    plot = (tmp_path / "out" / "benchmark.svg").read_text(encoding="utf-8")
    assert "milliseconds a call" in plot
    assert "mine onnx, batch 3, 2 threads" in plot


def test_the_network_alone_is_timed_without_post_processing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **settings: object) -> None:
        raise AssertionError((args, settings))

    monkeypatch.setattr("damo_yolo.stages.benchmark.detect", refuse)
    model = write_model_folder(calibrated_detector(), tmp_path / "mine")
    config = BenchmarkConfig(forms=("torch",), postprocess=False, latency=QUICK)

    result = benchmark_models(models=[model], config=config)

    assert not result.postprocess
    assert result.rows[0].latency.p50_ms > 0
    with_it = config.model_copy(update={"postprocess": True})
    with pytest.raises(AssertionError):
        benchmark_models(models=[model], config=with_it)


def test_a_size_with_another_activation_runs_without_a_training() -> None:
    config = BenchmarkConfig(forms=("torch",), latency=LatencyConfig(warmup=0, repeats=1))
    names = ["damo-yolo-ns", "damo-yolo-ns+hard_swish"]

    result = benchmark_models(models=names, config=config)

    assert [row.model for row in result.rows] == names


def test_what_cannot_be_timed_ends_in_a_sentence(tmp_path: Path) -> None:
    model = write_model_folder(calibrated_detector(), tmp_path / "mine")

    with pytest.raises(ConfigError, match="no form is called 'coreml'"):
        benchmark_models(models=[model], config=BenchmarkConfig(forms=("coreml",)))
    with pytest.raises(ConfigError, match="activation"):
        benchmark_models(models=["damo-yolo-ns+gelu"])
    with pytest.raises(ConfigError, match="named twice"):
        benchmark_models(models=[model, model], config=BenchmarkConfig(forms=("torch",)))
    with pytest.raises(StorageError, match="nothing is at"):
        benchmark_models(models=[str(tmp_path / "absent")])
