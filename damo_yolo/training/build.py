"""What a run starts from and ends with: fresh state, teacher, model file."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from damo_yolo import __version__, storage
from damo_yolo.distillation.channel_wise import ChannelWiseDistillation
from damo_yolo.errors import TrainingError
from damo_yolo.inference.model_folder import MODEL_FILE, load_model
from damo_yolo.labels.space import LabelSpace
from damo_yolo.losses.detection import DetectionLoss
from damo_yolo.models.detector import Detector
from damo_yolo.models.weights import LoadReport, load_weights
from damo_yolo.models.zoo import build_detector, short_name
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.ema import WeightAverage
from damo_yolo.training.optim import build_optimizer
from damo_yolo.training.ranks import DEFAULT_TIMEOUT_S, is_parallel
from damo_yolo.training.state import TrainState, seed_everything, write_tensors
from damo_yolo.training.step import TrainedModel
from damo_yolo.training.sync_norm import share_statistics

logger = logging.getLogger(__name__)


def build_state(
    config: TrainConfig,
    *,
    num_classes: int,
    device: torch.device,
    teacher: Detector | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> TrainState:
    """Build the state of step 0; equal on every rank, as weights are drawn from the seed.

    Args:
        config: of the run.
        num_classes: of the label space.
        device: where the state lives.
        teacher: whose neck widths the align modules meet.
        timeout_s: how long ranks wait for each other within a step.
    """
    seed_everything(config.seed)
    own = {} if config.activation is None else {"activation": config.activation}
    detector = build_detector(
        config.model,
        num_classes=num_classes,
        **own,
        class_prior=config.class_prior,
        bn_momentum=config.bn_momentum,
        image_size=config.image_size,
    )
    distillation = None
    if teacher is not None:
        distillation = ChannelWiseDistillation(detector.neck_channels, teacher.neck_channels)
    model = TrainedModel(detector, DetectionLoss(config.loss), distillation)
    if is_parallel():
        share_statistics(model.detector, device, timeout_s=timeout_s)
    _place(model, device, config)
    return TrainState(
        config=config,
        model=model,
        optimizer=build_optimizer(model, config.optimizer),
        average=WeightAverage(detector),
    )


def load_teacher(
    uri: str, config: TrainConfig, *, label_space_sha256: str, device: torch.device
) -> Detector:
    """Load a trained model, frozen and in evaluation mode.

    Args:
        uri: model folder.
        config: of the student.
        label_space_sha256: of the student's data.
        device: where it goes.

    Raises:
        TrainingError: its label space is another one.
    """
    assert config.distill is not None
    model = load_model(uri)
    is_same = model.info.label_space_sha256 == label_space_sha256
    if not is_same and not config.distill.allow_other_classes:
        raise TrainingError(
            f"the teacher at {uri} was trained on another label space than the shards",
            fix="train the teacher on these shards, or set distill.allow_other_classes: true",
        )
    model.detector.eval().requires_grad_(requires_grad=False)
    _place(model.detector, device, config)
    return model.detector


def start_from(state: TrainState, uri: str, space: LabelSpace) -> LoadReport:
    """Load trained weights into a fresh state; rows of the class branch go by class name.

    Args:
        state: of step 0.
        uri: model folder, its `model.pt`, or a published checkpoint with COCO's classes.
        space: the classes to train; those the weights do not know start anew.

    Raises:
        DamoYoloError: the weights are of another size of detector, or unreadable.
    """
    detector = state.model.detector
    is_file = uri.endswith((".pt", ".pth"))
    report = load_weights(
        detector,
        uri if is_file else storage.join(uri, MODEL_FILE),
        space.names,
        generator=torch.Generator().manual_seed(state.config.seed),
    )
    state.average.load_state_dict(detector.state_dict())
    known, new = len(report.kept_classes), len(report.new_classes)
    logger.info("started from %s: %d classes known, %d new", uri, known, new)
    return report


def write_model(
    state: TrainState,
    weights: Mapping[str, Tensor],
    uri: str,
    *,
    space: LabelSpace,
    manifest_sha256: str,
) -> None:
    """Write weights as one file, with all that is needed to use them.

    Args:
        state: at the end of its run.
        weights: averaged ones, of the detector.
        uri: location of the file.
        space: the classes.
        manifest_sha256: of the training data.
    """
    detector = state.model.detector
    plain = {
        name: value.to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, value in weights.items()
    }
    payload = {
        "model": plain,
        "config": detector.config.model_dump(mode="json"),
        "name": short_name(state.config.model),
        "class_names": list(space.names),
        "image_size": state.config.image_size,
        "label_space_sha256": space.sha256,
        "manifest_sha256": manifest_sha256,
        "code_version": __version__,
    }
    write_tensors(payload, uri)


def _place(model: nn.Module, device: torch.device, config: TrainConfig) -> None:
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    model.to(device)
    model.to(memory_format=layout)  # type: ignore[call-overload]  # missing in torch's stubs
