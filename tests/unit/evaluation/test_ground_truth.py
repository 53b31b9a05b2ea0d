from pathlib import Path

import numpy as np
import pytest

from damo_yolo.errors import DataError
from damo_yolo.evaluation.ground_truth import ValidationSet, read_validation_set
from tests.detector_builders import NAMES, write_painted_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_painted_shards(tmp_path_factory.mktemp("data"), train=4, val=6)[0]


@pytest.fixture
def validation(shards: str) -> ValidationSet:
    return read_validation_set(shards)


def test_all_validation_images_are_there_with_their_datasets(validation: ValidationSet) -> None:
    assert [truth.key for truth in validation.of_dataset("half")] == [
        "half/v1",
        "half/v3",
        "half/v5",
    ]
    assert validation.datasets == ["full", "half"]
    assert validation.headline == "full"
    assert validation.class_names == NAMES
    assert len(validation.manifest_sha256) == len(validation.label_space_sha256) == 64


def test_boxes_are_in_pixels_of_the_image_as_stored(validation: ValidationSet) -> None:
    boxes = np.concatenate([truth.boxes for truth in validation.truths])

    assert boxes[:, [0, 2]].max() > 64  # images are 96 x 80, the network's input 64
    assert boxes[:, 2].max() <= 96
    assert boxes[:, 3].max() <= 80


def test_an_image_knows_what_its_dataset_knows(validation: ValidationSet) -> None:
    full, half = validation.of_dataset("full")[0], validation.of_dataset("half")[0]

    assert full.known.all()
    assert np.flatnonzero(half.known).tolist() == [0, 1, 2, 3, 4, 5]


def test_present_classes_count_even_where_they_are_not_known(validation: ValidationSet) -> None:
    half = validation.of_dataset("half")
    incomplete = [class_id for truth in half for class_id in truth.present_but_incomplete()]

    assert incomplete
    assert min(incomplete) >= 6
    for truth in half:
        assert truth.counted_classes()[truth.class_ids].all()


def test_a_headline_dataset_without_images_is_named(shards: str, tmp_path: Path) -> None:
    other = tmp_path / "shards"
    other.mkdir()
    for name in ("val", "train", "label_space.csv"):
        (other / name).symlink_to(Path(shards, name))
    facts = Path(shards, "datasets.json").read_text(encoding="utf-8")
    changed = facts.replace('"evaluation": "full"', '"evaluation": "absent"')
    (other / "datasets.json").write_text(changed, encoding="utf-8")

    with pytest.raises(DataError, match="no validation image of 'absent'"):
        read_validation_set(str(other))
