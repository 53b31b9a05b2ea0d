from dataclasses import replace

import numpy as np
import pytest
import simplejpeg

from damo_yolo.errors import DataError
from damo_yolo.loading.decode import SampleDecoder
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import RawSample
from tests.picture_builders import COLORS
from tests.record_builders import make_manifest

KNOWN: dict[str, tuple[int, ...]] = {"toy": (0, 1, 2)}


def decoder(manifest: Manifest | None = None) -> SampleDecoder:
    return SampleDecoder(manifest or make_manifest(60), 64, 6, KNOWN)


def stored(**changes: object) -> RawSample:
    image = np.zeros((24, 32, 3), np.uint8)
    image[4:20, 6:26] = COLORS[2]
    raw = RawSample(
        row=55,
        key="toy/55",
        dataset="toy",
        image=simplejpeg.encode_jpeg(image, quality=95, colorsubsampling="444"),
        width=32,
        height=24,
        boxes=np.array([[6, 4, 26, 20]], np.float32),
        class_ids=np.array([2]),
        is_crowd=np.array([False]),
        known_ids=None,
        unknown_ids=np.zeros(0, np.int64),
    )
    return replace(raw, **changes)  # type: ignore[arg-type]  # names come from the tests


def test_a_sample_is_stretched_with_its_boxes() -> None:
    for decode in (decoder().fast, decoder().exact):
        sample = decode(stored())

        assert sample.image.shape == (64, 64, 3)
        np.testing.assert_allclose(sample.boxes, [[12, 4 * 64 / 24, 52, 20 * 64 / 24]], rtol=1e-6)
        assert sample.labels.tolist() == [2]
        assert sample.original_size == (32, 24)
        assert np.abs(sample.image[32, 32].astype(int) - COLORS[2]).max() <= 4


def test_crowd_regions_and_what_lies_outside_are_left_out() -> None:
    raw = stored(
        boxes=np.array([[0, 0, 9, 9], [-8, 2, 16, 12], [32, 2, 40, 12]], np.float32),
        class_ids=np.array([0, 1, 2]),
        is_crowd=np.array([True, False, False]),
    )

    sample = decoder().fast(raw)

    assert sample.labels.tolist() == [1]
    np.testing.assert_allclose(sample.boxes, [[0, 2 * 64 / 24, 32, 32]], rtol=1e-6)


@pytest.mark.parametrize(
    ("known_ids", "unknown_ids", "expected"),
    [
        (None, [], [0, 1, 2]),
        (None, [1], [0, 2]),
        ([3, 4], [], [3, 4]),
        ([3, 4], [4, 0], [3]),
    ],
)
def test_an_image_knows_its_own_classes_or_those_of_its_dataset(
    known_ids: list[int] | None, unknown_ids: list[int], expected: list[int]
) -> None:
    raw = stored(
        known_ids=None if known_ids is None else np.array(known_ids),
        unknown_ids=np.array(unknown_ids, np.int64),
    )

    assert np.flatnonzero(decoder().fast(raw).known).tolist() == expected


def test_a_broken_image_is_named_with_its_shard() -> None:
    raw = stored()

    for image in (raw.image[: len(raw.image) // 2], b"", b"no picture at all"):
        with pytest.raises(DataError, match=r"toy/55.*shard-000001\.tar") as caught:
            decoder().fast(replace(raw, image=image))
        assert "damo-yolo shard" in caught.value.fix


def test_an_image_of_another_size_than_recorded_is_an_error() -> None:
    with pytest.raises(DataError, match="it is 32x24, its record says 24x32"):
        decoder().fast(stored(width=24, height=32))


def test_an_image_of_an_unlisted_dataset_is_an_error() -> None:
    with pytest.raises(DataError, match=r"'elsewhere' .* not in datasets\.json"):
        decoder().fast(stored(dataset="elsewhere"))


def test_grey_pictures_become_rgb() -> None:
    grey = np.full((24, 32, 1), 90, np.uint8)

    sample = decoder().fast(stored(image=simplejpeg.encode_jpeg(grey, colorspace="GRAY")))

    assert sample.image.shape == (64, 64, 3)
    assert (np.abs(sample.image.astype(int) - 90) <= 1).all()
