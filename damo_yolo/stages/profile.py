"""A latency model of a target, from networks measured on it."""

import logging
from itertools import chain

import numpy as np
from pydantic import Field

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.evaluation.latency import describe_environment
from damo_yolo.models.config import Activation, DetectorConfig, Family
from damo_yolo.models.zoo import detector_config
from damo_yolo.search.detector_network import detector_convs, head_convs, neck_convs
from damo_yolo.search.evolve import random_genes
from damo_yolo.search.fitted_latency import FittedLatency, NetworkTimes, fit_latency
from damo_yolo.search.network import ONE, Conv
from damo_yolo.search.space import SearchSpace, search_space
from damo_yolo.search.structures import backbone_config, network_of

logger = logging.getLogger(__name__)


class ProfileConfig(Config):
    """How thoroughly a target is measured."""

    networks: int = Field(default=40, ge=8)
    """Random networks of the space that the model is fitted to."""
    held_out: int = Field(default=20, ge=4)
    """Further ones that only measure its error."""
    rounds: int = Field(default=60, ge=5)
    """Runs of each network, all in turn; a busy machine needs more."""
    threads: int = Field(default=1, ge=1)
    """Processor threads of a network."""
    seed: int = 0


class ProfileJob(Config):
    """What is measured."""

    target: str
    """`openvino-cpu`, `onnx` or `tensorrt`."""
    family: Family = "mob"
    like: str = "damo-yolo-ns"
    """Detector whose neck, head and input size stand around the backbones: a named size or a
    detector file."""
    image_size: int | None = None
    """Side of the square input, pixels; None keeps that of `like`."""
    activations: tuple[Activation, ...] = ()
    """Of backbone and neck; none takes that of `like`."""


def profile_target(
    job: ProfileJob, *, out_uri: str, config: ProfileConfig | None = None
) -> FittedLatency:
    """Measure random networks of a family on a target, fit a latency model, and write it.

    Args:
        job: what to measure.
        out_uri: YAML to write.
        config: how thoroughly.

    Raises:
        ConfigError: no target or detector has this name.
        MissingExtraError: the runtime of the target is not installed.
    """
    from damo_yolo.stages.profile_targets import TARGETS, place, time_in_turn

    config = config or ProfileConfig()
    if job.target not in TARGETS:
        names = ", ".join(TARGETS)
        raise ConfigError(f"no target is called {job.target!r}", fix=f"use one of: {names}")
    target = job.target
    like = detector_config(job.like)
    if job.image_size:
        like = DetectorConfig.from_mapping(
            like.model_dump() | {"image_size": job.image_size}, source="the input size"
        )
    space = search_space(job.family, like, activations=job.activations or (like.activation,))
    detectors = _draw(space, config.networks + config.held_out, seed=config.seed)
    placed = []
    for index, detector in enumerate(detectors):
        placed.append(place(target, detector, threads=config.threads))
        logger.info("network %d of %d is on the target", index + 1, len(detectors))
    ends = time_in_turn([network.run for network in placed], rounds=config.rounds)
    times = [
        NetworkTimes(activation=detector.activation, ms=ms, ops=network.ops)
        for detector, network, ms in zip(detectors, placed, ends, strict=True)
    ]
    networks = [list_convs(detector) for detector in detectors]
    shares, base, error = fit_latency(networks, times, held_out=config.held_out)
    environment = describe_environment()
    model = FittedLatency(
        target=target,
        base=base,
        shares=shares,
        error=error,
        image_size=like.image_size,
        neck_channels=like.neck_channels,
        activations=space.activations,
        environment={
            "cpu": environment.cpu,
            "system": environment.system,
            "threads": str(config.threads),
            **environment.versions,
        },
    )
    storage.write_text(out_uri, model.to_yaml())
    return model


def list_convs(detector: DetectorConfig) -> list[Conv]:
    """Return all convolutions of a detector, (1,) each."""
    side = detector.image_size
    in8, in16, in32 = (width * ONE for width in detector.backbone.out_channels)
    backbone = detector_convs(network_of(detector.backbone, image_size=side))
    around = chain(
        neck_convs((in8, in16, in32), detector, image_size=side),
        head_convs(detector, image_size=side),
    )
    return [conv for _, conv in backbone] + list(around)


def _draw(space: SearchSpace, count: int, *, seed: int) -> list[DetectorConfig]:
    """Return random detectors of a space, the activations in turn."""
    rng = np.random.default_rng(seed)
    detectors: list[DetectorConfig] = []
    while len(detectors) < count:
        genes = random_genes(space, 1, rng)
        network = space.networks(genes)
        if not all(space.allows(row)[0] for row in network.rows):
            continue
        activation = space.activations[len(detectors) % len(space.activations)]
        changes = {"backbone": backbone_config(network), "activation": activation}
        detectors.append(space.detector.model_copy(update=changes))
    return detectors
