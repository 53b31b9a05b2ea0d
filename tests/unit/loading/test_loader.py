import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damo_yolo.augment import policy
from damo_yolo.augment.geometry import Affine
from damo_yolo.augment.mixup import Overlay, mixup
from damo_yolo.augment.mosaic import mosaic
from damo_yolo.augment.policy import AugmentConfig, Phase
from damo_yolo.errors import ConfigError, TrainingError
from damo_yolo.loading.loader import LoaderConfig, TrainLoader, val_batches
from damo_yolo.samples import Batch, Sample
from damo_yolo.shards.manifest import Manifest
from tests.picture_builders import COLORS
from tests.unit.loading.conftest import Shards, painted_record, write_set

CONFIG = LoaderConfig(
    image_size=64,
    global_batch=8,
    num_lanes=4,
    window=5,
    ramp_epochs=2,
    augment=AugmentConfig(mixup_prob=0.5),
)


def loader(shards: Shards, *, rank: int = 0, world_size: int = 1, **changes: object) -> TrainLoader:
    config = CONFIG.model_copy(update=changes)
    return TrainLoader(
        shards.shards_uri, shards.plan_uri, config, seed=3, rank=rank, world_size=world_size
    )


def prints(batches: Iterator[Batch]) -> list[list[tuple[object, ...]]]:
    """Return everything there is to know of each sample of each batch, padding aside."""
    return [
        [
            (
                batch.keys[row],
                batch.original_sizes[row],
                batch.images[row].contiguous().numpy().tobytes(),
                batch.gt_boxes[row][batch.gt_valid[row]].numpy().tobytes(),
                tuple(batch.gt_labels[row][batch.gt_valid[row]].tolist()),
                None if batch.class_mask is None else tuple(batch.class_mask[row].tolist()),
            )
            for row in range(len(batch.keys))
        ]
        for batch in batches
    ]


@pytest.fixture(scope="module")
def whole(shards: Shards) -> dict[Phase, list[list[tuple[object, ...]]]]:
    """Epoch 1 of each phase, from one process."""
    one = loader(shards)
    return {
        "mosaic": prints(one.epoch(1, phase="mosaic")),
        "plain": prints(one.epoch(1, phase="plain")),
    }


PHASES: tuple[Phase, ...] = ("mosaic", "plain")


def test_an_epoch_has_its_steps_and_its_batches_their_size(
    shards: Shards, whole: dict[Phase, list[list[tuple[object, ...]]]]
) -> None:
    assert loader(shards).steps_per_epoch == 12  # 90 draws, rounded up to 96, of 8 each
    assert [len(batch) for batch in whole["mosaic"]] == [8] * 12


def test_epochs_seeds_and_phases_differ_and_a_repetition_does_not(
    shards: Shards, whole: dict[Phase, list[list[tuple[object, ...]]]]
) -> None:
    one = loader(shards)

    assert prints(one.epoch(1, phase="mosaic")) == whole["mosaic"]
    assert prints(one.epoch(2, phase="mosaic")) != whole["mosaic"]
    assert whole["plain"] != whole["mosaic"]
    other = TrainLoader(shards.shards_uri, shards.plan_uri, CONFIG, seed=4)
    assert prints(other.epoch(1, phase="mosaic")) != whole["mosaic"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_make_the_same_batches(
    shards: Shards,
    whole: dict[Phase, list[list[tuple[object, ...]]]],
    world_size: int,
    phase: Phase,
) -> None:
    ranks = [
        prints(loader(shards, rank=rank, world_size=world_size).epoch(1, phase=phase))
        for rank in range(world_size)
    ]

    for step, batch in enumerate(whole[phase]):
        assert [sample for rank in ranks for sample in rank[step]] == batch


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_every_split_into_workers_and_loader_processes_makes_the_same_batches(
    shards: Shards, world_size: int, num_workers: int
) -> None:
    changes = {"global_batch": 16, "num_lanes": 16, "window": 3}
    expected = prints(loader(shards, **changes).epoch(7, phase="mosaic"))
    parts = []
    for rank in range(world_size):
        one = loader(shards, rank=rank, world_size=world_size, num_workers=num_workers, **changes)
        parts += [
            prints(one._maker.part(worker, 7, phase="mosaic", start_step=0))
            for worker in range(max(num_workers, 1))
        ]

    assert len(parts) == world_size * max(num_workers, 1)
    for step, batch in enumerate(expected):
        assert [sample for part in parts for sample in part[step]] == batch


@pytest.mark.parametrize("num_workers", [1, 2])
def test_loader_processes_make_the_same_batches_and_can_be_left_early(
    shards: Shards, whole: dict[Phase, list[list[tuple[object, ...]]]], num_workers: int
) -> None:
    helped = loader(shards, num_workers=num_workers)

    left = helped.epoch(0, phase="mosaic")
    next(left)
    del left
    assert prints(helped.epoch(1, phase="mosaic")) == whole["mosaic"]
    assert prints(helped.epoch(1, phase="plain", start_step=9)) == whole["plain"][9:]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 12])
def test_a_resume_gives_the_same_pixels(
    shards: Shards,
    whole: dict[Phase, list[list[tuple[object, ...]]]],
    phase: Phase,
    step: int,
) -> None:
    assert prints(loader(shards).epoch(1, phase=phase, start_step=step)) == whole[phase][step:]


@settings(max_examples=12, deadline=None)
@given(epoch=st.integers(0, 400), step=st.integers(0, 12), rank=st.integers(0, 1))
def test_a_resume_at_any_epoch_and_step_sees_what_it_would_have_seen(
    shards: Shards, epoch: int, step: int, rank: int
) -> None:
    unbroken = prints(loader(shards, rank=rank, world_size=2).epoch(epoch, phase="mosaic"))

    resumed = loader(shards, rank=rank, world_size=2).epoch(
        epoch, phase="mosaic", start_step=min(step, len(unbroken))
    )

    assert prints(resumed) == unbroken[step:]


def test_no_mosaic_and_no_mixup_holds_an_image_twice(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    mosaics: list[list[str]] = []
    num_mixed = 0

    def noted(tiles: Sequence[Sample], centre: tuple[int, int], view: Affine) -> Sample:
        mosaics.append([tile.key for tile in tiles])
        return mosaic(tiles, centre, view)

    def mixed(sample: Sample, partner: Sample, overlay: Overlay) -> Sample:
        nonlocal num_mixed
        num_mixed += 1
        assert partner.key not in mosaics[-1]
        return mixup(sample, partner, overlay)

    monkeypatch.setattr(policy, "mosaic", noted)
    monkeypatch.setattr(policy, "mixup", mixed)
    one = loader(shards, window=8)  # images are drawn up to three times an epoch
    drawn = [
        key
        for epoch in range(6)
        for batch in one.epoch(epoch, phase="mosaic")
        for key in batch.keys
    ]

    assert len(mosaics) == len(drawn) > 500
    assert len(set(drawn)) <= 60
    assert all(len(set(keys)) == 4 for keys in mosaics)
    assert num_mixed > 100


def test_plain_batches_are_the_drawn_images_with_their_objects(shards: Shards) -> None:
    num_flipped = 0
    for batch in loader(shards).epoch(0, phase="plain"):
        for row, key in enumerate(batch.keys):
            record = shards.records[key]
            assert batch.original_sizes[row] == (record.width, record.height)
            kept = ~record.is_crowd
            boxes = record.boxes[kept] * (
                np.array([64 / record.width, 64 / record.height] * 2, np.float32)
            )
            valid = batch.gt_valid[row]
            found = batch.gt_boxes[row][valid].numpy()
            if not np.allclose(found, boxes, atol=1e-3):
                boxes[:, [0, 2]] = 64 - boxes[:, [2, 0]]
                num_flipped += 1
            np.testing.assert_allclose(found, boxes, atol=1e-3)
            assert batch.gt_labels[row][valid].tolist() == record.class_ids[kept].tolist()
            for box, label in zip(found, batch.gt_labels[row].tolist(), strict=False):
                x, y = int(box[0::2].mean()), int(box[1::2].mean())
                shown = batch.images[row, :, y, x].int().numpy()
                assert np.abs(shown - COLORS[label]).max() <= 6
    assert 15 <= num_flipped <= 50  # about half of the 72 that have objects


def test_masks_say_what_a_picture_knows(shards: Shards) -> None:
    seen = {}
    for batch in loader(shards).epoch(0, phase="plain"):
        assert batch.class_mask is not None
        for key, mask in zip(batch.keys, batch.class_mask.tolist(), strict=True):
            seen[key] = [i for i, known in enumerate(mask) if known]

    assert seen["toy/20"] == [0, 1, 2, 3]
    assert seen["toy/59"] == [1, 2, 3]  # its crowd region hides class 0
    if "toy/5" in seen:
        assert seen["toy/5"] == [1, 2]
    batch = next(loader(shards, class_mask=False).epoch(0, phase="mosaic"))
    assert batch.class_mask is None


def test_a_mosaic_knows_only_what_all_its_parts_know(shards: Shards) -> None:
    narrowed = 0
    for batch in loader(shards).epoch(0, phase="mosaic"):
        assert batch.class_mask is not None
        assert not batch.class_mask[:, 4:].any()  # no image of the training knows them
        narrowed += int((~batch.class_mask[:, 0]).sum())

    # Six images of 60 do not know class 0; a mosaic has four parts, some a fifth from mixup.
    assert narrowed > 96 * 6 / 60 * 1.5


def test_processes_that_cannot_share_the_lanes_are_refused_at_once(shards: Shards) -> None:
    with pytest.raises(ConfigError, match="cannot share 4 lanes"):
        loader(shards, world_size=3)
    with pytest.raises(ConfigError, match="cannot share 4 lanes"):
        loader(shards, num_workers=3)
    with pytest.raises(ConfigError, match="3 lanes do not divide the global batch of 8"):
        loader(shards, num_lanes=3)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_image_is_an_empty_one_and_named_in_its_batch(
    tmp_path: Path, num_workers: int
) -> None:
    records = [painted_record(tmp_path, number) for number in range(16)]
    broken = write_set(tmp_path, records, records[:1], draws=np.ones(16))
    manifest = Manifest.load(f"{broken.shards_uri}/train")
    tar = Path(manifest.shard_uris[0])
    row = manifest.keys.to_pylist().index("toy/7")
    middle = int(manifest.image_offset[row]) + int(manifest.image_size[row]) // 2
    data = bytearray(tar.read_bytes())
    data[middle : middle + 80] = bytes(80)
    tar.write_bytes(data)

    batches = list(loader(broken, num_workers=num_workers).epoch(0, phase="plain"))

    (batch,) = [batch for batch in batches if "toy/7" in batch.keys]
    assert [key for batch in batches for key in batch.broken] == ["toy/7"]
    row = batch.keys.index("toy/7")
    assert (batch.images[row] == 114).all()
    assert not batch.gt_valid[row].any()
    assert batch.class_mask is not None
    assert not batch.class_mask[row].any(), "it is no evidence that a class is absent"
    mosaics = loader(broken, num_workers=num_workers).epoch(0, phase="mosaic")
    assert [key for batch in mosaics for key in batch.broken] == ["toy/7"], "once, where it is due"


def test_the_death_of_a_loader_process_is_an_error_with_advice(shards: Shards) -> None:
    others = multiprocessing.active_children()
    batches = loader(shards, num_workers=1).epoch(0, phase="mosaic")
    next(batches)

    (process,) = [p for p in multiprocessing.active_children() if p not in others]
    process.kill()

    with pytest.raises(TrainingError, match="a loader process died") as caught:
        list(batches)
    assert "memory" in caught.value.fix


def test_a_set_smaller_than_a_mosaic_still_trains(tmp_path: Path) -> None:
    records = [painted_record(tmp_path, number) for number in (3, 7)]
    records = [replace(r, key=f"toy/{i}") for i, r in enumerate(records)]
    tiny = write_set(tmp_path, records, records[:1], draws=np.ones(2))

    batches = list(loader(tiny).epoch(0, phase="mosaic"))

    assert [len(batch.keys) for batch in batches] == [8]


def test_validation_keeps_order_sizes_and_pixels(shards: Shards) -> None:
    batches = list(val_batches(shards.shards_uri, image_size=64, batch_size=4))

    assert [len(batch.keys) for batch in batches] == [4, 4, 2]
    keys = [key for batch in batches for key in batch.keys]
    assert keys == [f"{name}/{i}" for i in range(100, 105) for name in ("toy", "other")]
    for batch in batches:
        assert batch.class_mask is not None
        for row, key in enumerate(batch.keys):
            record = shards.records[key]
            kept = ~record.is_crowd
            valid = batch.gt_valid[row]
            factors = np.array([64 / record.width, 64 / record.height] * 2, np.float32)
            np.testing.assert_allclose(
                batch.gt_boxes[row][valid], record.boxes[kept] * factors, atol=1e-4
            )
            assert batch.gt_labels[row][valid].tolist() == record.class_ids[kept].tolist()
            assert batch.original_sizes[row] == (record.width, record.height)


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_validation_ranks_take_turns(shards: Shards, world_size: int) -> None:
    whole = prints(val_batches(shards.shards_uri, image_size=64, batch_size=3))

    for rank in range(world_size):
        mine = val_batches(
            shards.shards_uri, image_size=64, batch_size=3, rank=rank, world_size=world_size
        )
        assert prints(mine) == whole[rank::world_size]


def test_validation_can_be_of_one_dataset(shards: Shards) -> None:
    batches = val_batches(shards.shards_uri, image_size=32, batch_size=8, datasets=["other"])

    assert [batch.keys for batch in batches] == [tuple(f"other/{i}" for i in range(100, 105))]
    assert list(val_batches(shards.shards_uri, image_size=32, batch_size=8, datasets=[])) == []


def test_plain_affine_moves_pictures(
    shards: Shards, whole: dict[Phase, list[list[tuple[object, ...]]]]
) -> None:
    moved = loader(shards, augment=AugmentConfig(plain_affine=True))

    assert prints(moved.epoch(1, phase="plain")) != whole["plain"]
