"""The main job: the pipeline file, run here on the embedded sample by the shortest recipe."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from damo_yolo.stages.sample import render_sample
from tests.pipeline_runs import ROOT, Run, run_pipeline


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    workspace = tmp_path_factory.mktemp("general_class")
    # AP50 of six training steps is 0: the floor is what this test may lower, and nothing else.
    return run_pipeline(workspace, "recipe=smoke", "min_ap50=0")


def test_the_main_job_ends_with_a_champion_and_a_report(first_run: Run) -> None:
    assert first_run.code == 0, first_run.stderr + first_run.stdout[-2000:]
    summary = first_run.summary

    assert (summary["num_classes"], summary["space_size"]) == (25, 701)
    assert [row["name"] for row in summary["datasets"]] == ["coco", "objects365", "openimages"]
    assert sum(row["share_after"] for row in summary["datasets"]) == pytest.approx(1)
    assert (summary["version"], summary["alias"]) == (1, "champion")
    names = [row["name"] for row in summary["models"]]
    assert names[:3] == ["teacher damo-yolo-nm", "student damo-yolo-ns", "twin damo-yolo-ns"]
    assert {"onnx fp32", "openvino fp16", "openvino int8"} <= set(names)
    page = Path(summary["report_uri"]).read_text()
    assert page.count("<svg") == 9
    assert page.count("data:image/jpeg") == 13
    for word in ("general-class v1 as champion", "25 classes in the 701-class space"):
        assert word in first_run.stdout


def test_a_second_run_reuses_what_did_not_change(first_run: Run) -> None:
    again = run_pipeline(first_run.workspace, "recipe=smoke", "min_ap50=0")

    assert again.code == 0, again.stderr
    for step in (
        "merge-datasets",
        "write-shards",
        "train teacher",
        "train student",
        "export-detector",
    ):
        assert f"{step} reused" in again.stdout
    assert again.summary["version"] == 1
    assert len(list(first_run.workspace.glob("student-*"))) == 1


def test_the_champion_leads_back_to_its_run_data_and_artifacts(first_run: Run) -> None:
    from mlflow import MlflowClient

    uri = first_run.tracking_uri
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    version = client.get_model_version_by_alias("general-class", "champion")

    manifests = list(first_run.workspace.glob("shards-*/train/manifest.json"))
    assert version.tags["manifest_sha256"] == json.loads(manifests[0].read_text())["sha256"]
    assert {"artifact.onnx.fp32", "artifact.openvino.fp16", "artifact.openvino.int8"} <= set(
        version.tags
    )
    assert version.run_id
    run = client.get_run(version.run_id)
    assert run.inputs
    assert run.data.params["model"] == "damo-yolo-ns"
    digest = run.inputs.dataset_inputs[0].dataset.digest  # MLflow keeps 36 characters
    assert version.tags["manifest_sha256"].startswith(digest)
    assert len(digest) == 36
    assert client.get_metric_history(version.run_id, "total")


def test_the_registered_champion_predicts_on_an_image(first_run: Run) -> None:
    import mlflow

    mlflow.set_tracking_uri(first_run.tracking_uri)
    mlflow.set_registry_uri(first_run.tracking_uri)
    image = next(first_run.workspace.glob("sample-0/full/val/*.jpg"))

    model = mlflow.pyfunc.load_model("models:/general-class@champion")
    found = model.predict(str(image), params={"score_threshold": 0.0})

    assert isinstance(found, list)
    assert all(set(item) == {"name", "class_id", "score", "box"} for item in found)


@pytest.fixture
def sample_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    render_sample(str(folder), scale=0.1, num_val_images=4)
    return folder


def remove_an_image(folder: Path) -> None:
    next((folder / "coco" / "train").glob("*.jpg")).unlink()


def cut_the_annotations(folder: Path) -> None:
    path = folder / "objects365" / "annotations" / "zhiyuan_objv2_train.json"
    path.write_bytes(path.read_bytes()[:5000])


def unmap_a_class(folder: Path) -> None:
    catalog = yaml.safe_load((folder / "catalog.yaml").read_text())
    table = ROOT / "damo_yolo" / "labels" / "mappings" / "coco.csv"
    lines = [line for line in table.read_text().splitlines() if not line.startswith("52,")]
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")
    catalog["datasets"][0]["mapping"] = "mine.csv"
    (folder / "catalog.yaml").write_text(yaml.safe_dump(catalog))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_an_image, ["dataset 'coco'", "missing"]),
        (cut_the_annotations, ["zhiyuan_objv2_train.json"]),
        (unmap_a_class, ["dataset 'coco'", "banana"]),
    ],
)
def test_broken_data_ends_in_one_sentence_with_a_fix_before_training(
    sample_dir: Path, tmp_path: Path, damage: Any, words: list[str]
) -> None:
    damage(sample_dir)

    run = run_pipeline(tmp_path / "runs", f"catalog={sample_dir}/catalog.yaml", ray=False)

    assert run.code == 2
    problem, fix = run.stderr.strip().splitlines()[-2:]
    assert problem.startswith("error: ")
    assert fix.startswith("  fix: ")
    for word in words:
        assert word in problem
    assert "Traceback" not in run.stdout + run.stderr
    assert not list((tmp_path / "runs").glob("shards-*"))
