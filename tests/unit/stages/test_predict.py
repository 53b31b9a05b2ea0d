import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from damo_yolo.cli.main import app
from damo_yolo.cli.predict import Saved
from damo_yolo.errors import ConfigError, DataError, StorageError
from damo_yolo.stages.predict import FORMS, PredictConfig, predict_source
from tests.detector_builders import NAMES, calibrated_detector, textured_images, write_model_folder

LOW = PredictConfig(score_threshold=0.05, threads=1)


@pytest.fixture(scope="module")
def model_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model_folder(calibrated_detector(), tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of 96 x 80 pixels, one in a folder below, and a broken one."""
    root = tmp_path / "pictures"
    (root / "deep").mkdir(parents=True)
    for index, name in enumerate(("a.jpg", "b.png", "deep/c.jpg")):
        image = textured_images(3, side=96)[index].permute(1, 2, 0).numpy()[:80]
        cv2.imwrite(str(root / name), image)
    (root / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    return root


def test_a_folder_is_walked_and_a_broken_file_is_told_not_fatal(
    model_uri: str, folder: Path
) -> None:
    seen: list[str] = []

    result = predict_source(
        source=str(folder),
        model_uri=model_uri,
        config=LOW,
        on_frame=lambda frame, found: seen.append(f"{frame.name} {len(found) > 0}"),
    )

    assert seen == ["a.jpg True", "b.png True", "deep/c.jpg True"]
    assert list(result.unreadable) == ["broken.jpg"]
    assert (result.num_images, result.written) == (3, ())
    assert result.images_per_s > 0


def test_every_form_says_the_same(model_uri: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    result = predict_source(
        source=str(folder),
        model_uri=model_uri,
        out=out,
        save=("pictures", "coco", "yolo", "csv"),
        config=LOW,
    )

    assert {form.value for form in Saved} == set(FORMS)
    coco = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    with (out / "detections.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(coco["annotations"]) == len(rows) == result.num_objects > 3
    first, row = coco["annotations"][0], rows[0]
    assert NAMES[first["category_id"]] == row["name"]
    left, top, width, height = first["bbox"]
    corners = [float(row[key]) for key in ("x1", "y1", "x2", "y2")]
    assert corners == pytest.approx([left, top, left + width, top + height], abs=0.02)
    line = (out / "labels" / "a.txt").read_text(encoding="utf-8").splitlines()[0].split()
    assert int(line[0]) == first["category_id"]
    assert float(line[1]) * 96 == pytest.approx(left + width / 2, abs=0.02)
    assert float(line[4]) * 80 == pytest.approx(height, abs=0.02)
    assert (out / "labels" / "classes.txt").read_text(encoding="utf-8").split("\n")[3] == NAMES[3]
    drawn = cv2.imread(str(out / "deep" / "c.jpg"))
    assert drawn is not None
    assert drawn.shape == (480, 576, 3)  # six times as large, so that names can be read
    assert str(out / "b.png") in result.written


def test_one_picture_goes_into_one_file(model_uri: str, folder: Path, tmp_path: Path) -> None:
    for name in ("boxes.png", "boxes.json", "boxes.csv"):
        result = predict_source(
            source=str(folder / "a.jpg"), model_uri=model_uri, out=tmp_path / name, config=LOW
        )
        assert result.written == (str(tmp_path / name),)
        assert (tmp_path / name).stat().st_size > 20


def test_a_glob_takes_what_fits(model_uri: str, folder: Path) -> None:
    result = predict_source(source=f"{folder}/**/*.jpg", model_uri=model_uri, config=LOW)

    assert result.num_images == 2
    assert list(result.unreadable) == ["broken.jpg"]


def test_a_video_becomes_a_video(model_uri: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 80))
    for index in range(5):
        video.write(np.full((80, 96, 3), index * 40, np.uint8))
    video.release()
    config = LOW.model_copy(update={"max_frames": 4})

    result = predict_source(
        source=str(path), model_uri=model_uri, out=tmp_path / "out", config=config
    )

    assert result.num_images == 4
    assert result.written == (str(tmp_path / "out" / "clip.mp4"),)
    drawn = cv2.VideoCapture(result.written[0])
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)


def test_what_cannot_be_done_ends_in_a_sentence(
    model_uri: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="nothing is at"):
        predict_source(source=str(tmp_path / "absent.jpg"), model_uri=model_uri)
    with pytest.raises(DataError, match=r"no picture of .* can be read, first broken\.jpg"):
        predict_source(source=f"{folder}/brok*.jpg", model_uri=model_uri)
    with pytest.raises(DataError, match="holds no image"):
        predict_source(source=str(Path(model_uri)), model_uri=model_uri)
    with pytest.raises(ConfigError, match="more than one picture"):
        predict_source(source=str(folder), model_uri=model_uri, out=tmp_path / "all.jpg")
    with pytest.raises(ConfigError, match="is one file"):
        predict_source(source=str(folder), model_uri=model_uri, out=tmp_path / "boxes.txt")
    with pytest.raises(ConfigError, match="is no video"):
        predict_source(
            source=str(folder), model_uri=model_uri, out=tmp_path / "out", save=("video",)
        )
    with pytest.raises(ConfigError, match="is no video"):
        predict_source(source=f"{folder}/a.jpg", model_uri=model_uri, out=tmp_path / "a.mp4")
    (tmp_path / "fake.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"fake\.mp4 cannot be opened"):
        predict_source(source=str(tmp_path / "fake.mp4"), model_uri=model_uri)


@pytest.mark.parametrize(
    ("source", "out"), [("", ""), ("/a.jpg", "/a.jpg"), ("/a.jpg", ""), ("/**/*.jpg", "/deep/..")]
)
def test_pictures_are_never_written_over_those_looked_at(
    model_uri: str, folder: Path, source: str, out: str
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}

    with pytest.raises(ConfigError, match="would be written over"):
        predict_source(
            source=f"{folder}{source}", model_uri=model_uri, out=Path(f"{folder}{out}"), config=LOW
        )

    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_a_list_may_lie_beside_the_pictures(model_uri: str, folder: Path) -> None:
    result = predict_source(
        source=str(folder), model_uri=model_uri, out=folder, save=("coco",), config=LOW
    )

    assert result.written == (str(folder / "coco.json"),)


def test_a_glob_keeps_folders_and_stays_inside_the_output(
    model_uri: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deep" / "a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    monkeypatch.chdir(folder / "deep")
    out = tmp_path / "out"
    for pattern in (f"{folder}/**/a.jpg", "../**/a.jpg"):
        result = predict_source(
            source=pattern, model_uri=model_uri, out=out, save=("pictures",), config=LOW
        )
        assert result.written == (str(out / "a.jpg"), str(out / "deep" / "a.jpg"))


def test_pictures_of_one_name_do_not_share_a_file(
    model_uri: str, folder: Path, tmp_path: Path
) -> None:
    image = cv2.imread(str(folder / "b.png"))
    assert image is not None
    cv2.imwrite(str(folder / "a.webp"), image)
    out = tmp_path / "out"

    predict_source(
        source=f"{folder}/a.*", model_uri=model_uri, out=out, save=("pictures", "yolo"), config=LOW
    )

    names = sorted(str(path.relative_to(out)) for path in out.rglob("a.*"))
    assert names == ["a.jpg", "a.webp.jpg", "labels/a.txt", "labels/a.webp.txt"]


@pytest.mark.parametrize("wrong", ["--score=1.5", "--max-frames=0", "--threads=-1"])
def test_a_number_out_of_range_is_told_by_its_option(wrong: str) -> None:
    outcome = CliRunner().invoke(app, ["predict", "photo.jpg", "--model", "none", wrong])

    assert outcome.exit_code == 2
    assert wrong.partition("=")[0] in outcome.output
