"""Shards -> decode -> augment -> batches, for training and for validation.

The batches of a training run are a pure function of (shards, plan, config, seed, epoch, step).
World size and loader processes only say who makes which part of them; (epoch, step) is all that a
resume needs.

Shapes: B global batch, L lanes, K window, S side of the network image, C classes.
"""

from collections.abc import Collection, Iterator
from functools import cached_property
from itertools import islice

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from damo_yolo import storage
from damo_yolo.augment.policy import AugmentConfig, Phase, plain, strong
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.collate import collate
from damo_yolo.loading.decode import SampleDecoder
from damo_yolo.loading.lanes import InLane, walk_lane
from damo_yolo.loading.processes import LoaderProcesses
from damo_yolo.loading.seeding import generator
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.samples import Batch, Sample
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.order import EpochOrder, default_num_lanes, lanes_of
from damo_yolo.shards.read import ShardReader

LABEL_SPACE_FILE = "label_space.csv"
MAX_STORED_AHEAD = 512
"""Undecoded samples that one process reads ahead over all its lanes."""


class LoaderConfig(Config):
    """How batches are made."""

    image_size: int = Field(default=640, ge=32, multiple_of=32)
    """Side S of the square network image, pixels."""
    global_batch: int = Field(default=256, ge=1)
    """Samples B of one step over all training workers."""
    num_lanes: int | None = Field(default=None, ge=1)
    """L: divides B, and is shared by all processes; fixed for a run. None: the largest up to 64."""
    window: int = Field(default=32, ge=3)
    """K earlier samples of a lane that mosaics take partners from. Each lane holds K + 1 pictures
    of 3 S^2 bytes; a larger window mixes more distant images."""
    num_workers: int = Field(default=0, ge=0)
    """Loader processes beside each training worker; 0 loads in the training worker itself."""
    class_mask: bool = True
    """Batches say which classes are known; False takes all as known, as the paper does."""
    ramp_epochs: int = Field(default=300, ge=1)
    """Epochs in which box-level changes grow from never to their full probabilities."""
    augment: AugmentConfig = AugmentConfig()


class TrainLoader:
    """Batches of one training worker.

    Args:
        shards_uri: output of the shard stage.
        plan_uri: output of the balance stage.
        config: how batches are made.
        seed: of the run.
        rank: of this training worker.
        world_size: number of training workers.

    Raises:
        ConfigError: lanes, batch and processes do not fit together.
        DataError: shards or plan are missing, or do not belong together.
    """

    def __init__(
        self,
        shards_uri: str,
        plan_uri: str,
        config: LoaderConfig,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._maker = _BatchMaker(
            shards_uri, plan_uri, config, seed=seed, rank=rank, world_size=world_size
        )
        self._num_workers = config.num_workers
        self.steps_per_epoch = self._maker.steps_per_epoch
        """Steps of every epoch."""
        self.num_images = self._maker.num_images
        """Of the training set, drawn or not."""

    def epoch(self, epoch: int, *, phase: Phase, start_step: int = 0) -> Iterator[Batch]:
        """Yield this worker's part of every global batch from `start_step` on.

        With loader processes one epoch at a time can be walked; leaving it early is fine.

        Args:
            epoch: counted from 0.
            phase: "mosaic" for the strong policy, "plain" for the plain one.
            start_step: where to go on in the epoch.
        """
        if self._num_workers:
            return self._processes.epoch(epoch, phase=phase, start_step=start_step)
        return self._maker.part(0, epoch, phase=phase, start_step=start_step)

    @cached_property
    def _processes(self) -> LoaderProcesses:
        return LoaderProcesses(self._maker, num_workers=self._num_workers)


class _BatchMaker:
    """Makes the part of each batch that a loader process contributes; can be sent to one."""

    def __init__(
        self,
        shards_uri: str,
        plan_uri: str,
        config: LoaderConfig,
        *,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self._config, self._seed = config, seed
        batch = config.global_batch
        self._num_lanes = config.num_lanes or default_num_lanes(batch)
        if batch % self._num_lanes:
            fitting = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
            raise ConfigError(
                f"{self._num_lanes} lanes do not divide the global batch of {batch}",
                fix=f"set num_lanes to one of {fitting}",
            )
        self._lanes = [
            lanes_of(rank, world_size, worker, config.num_workers, self._num_lanes)
            for worker in range(max(config.num_workers, 1))
        ]
        self._manifest = Manifest.load(storage.join(shards_uri, "train"))
        self._plan = SamplePlan.read(plan_uri)
        self._decoder = _decoder(shards_uri, self._manifest, image_size=config.image_size)
        drawn, _ = self._manifest.rows_of_plan(self._plan)
        self.steps_per_epoch = drawn.for_global_batch(batch).num_draws // batch
        self.num_images = len(self._manifest)

    def part(self, worker: int, epoch: int, *, phase: Phase, start_step: int) -> Iterator[Batch]:
        """Yield what one loader process contributes to every step from `start_step` on."""
        cv2.setNumThreads(0)  # one process, one core
        config, lanes = self._config, self._lanes[worker]
        order = EpochOrder(
            self._manifest, self._plan, self._seed, epoch, config.global_batch, self._num_lanes
        )
        with ShardReader(self._manifest) as reader:
            walks = [
                walk_lane(
                    reader,
                    order.lane(lane),
                    self._decoder.whatever_comes,
                    start=start_step * order.samples_per_lane,
                    window=config.window if phase == "mosaic" else 0,
                    read_ahead=min(max(MAX_STORED_AHEAD // len(lanes), 4), 32),
                )
                for lane in lanes
            ]
            for step in range(start_step, order.num_steps):
                ramp = min((epoch + step / order.num_steps) / config.ramp_epochs, 1.0)
                samples, broken = [], []
                for lane, walk in zip(lanes, walks, strict=True):
                    for place in islice(walk, order.samples_per_lane):
                        samples.append(self._augmented(epoch, lane, place, phase=phase, ramp=ramp))
                        broken += [place.sample.key] if place.sample.is_broken else []
                yield collate(samples, class_mask=config.class_mask, broken=broken)

    def _augmented(
        self, epoch: int, lane: int, place: InLane, *, phase: Phase, ramp: float
    ) -> Sample:
        rng = generator(self._seed, epoch, lane, place.index)
        if phase == "plain":
            return plain(place.sample, rng, self._config.augment)
        return strong(place.sample, place.window, rng, self._config.augment, ramp=ramp)


def val_batches(
    shards_uri: str,
    *,
    image_size: int,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    datasets: Collection[str] | None = None,
) -> Iterator[Batch]:
    """Yield the validation images in the order of the manifest, stretched, nothing random.

    Crowd regions are left out. The last batch may be smaller.

    Args:
        shards_uri: output of the shard stage.
        image_size: side of the square network image, pixels.
        batch_size: images of a batch.
        rank: of this worker, which takes every `world_size`-th batch.
        world_size: number of workers that share the images.
        datasets: only images of these; None takes all.
    """
    cv2.setNumThreads(0)
    manifest = Manifest.load(storage.join(shards_uri, "val"))
    decoder = _decoder(shards_uri, manifest, image_size=image_size)
    rows = np.arange(len(manifest))
    if datasets is not None:
        wanted = pa.array(list(datasets), pa.string())
        rows = rows[pc.is_in(manifest.datasets, value_set=wanted).to_numpy(zero_copy_only=False)]
    starts = range(rank * batch_size, len(rows), world_size * batch_size)
    mine = [rows[start : start + batch_size] for start in starts]
    if not mine:
        return
    with ShardReader(manifest) as reader:
        raw_samples = reader.stream(np.concatenate(mine))
        for part in mine:
            yield collate([decoder.exact(raw) for raw in islice(raw_samples, len(part))])


def _decoder(shards_uri: str, manifest: Manifest, *, image_size: int) -> SampleDecoder:
    space = LabelSpace.load(storage.join(shards_uri, LABEL_SPACE_FILE))
    return SampleDecoder.load(shards_uri, manifest, image_size=image_size, num_classes=len(space))
