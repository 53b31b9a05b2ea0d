"""What a training does. Where it reads, writes and runs is not part of it."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from damo_yolo.augment.policy import AugmentConfig
from damo_yolo.config import Config
from damo_yolo.losses.detection import LossConfig
from damo_yolo.models.config import Activation


class OptimizerConfig(Config):
    """How gradients become updates."""

    kind: Literal["sgd", "adamw"] = "sgd"
    """`sgd` has Nesterov momentum."""
    lr_per_image: float = Field(default=0.01 / 64, gt=0)
    """The highest rate is this times the global batch."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Applies to weights; biases and normalisation never decay."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd`; `adamw` keeps its usual averages, 0.9 and 0.999."""
    class_rate_factor: float = Field(default=1.0, gt=0)
    """Rate of the class branch over that of the rest. Its logits start at the prior, far below
    where they must go: in a run of a few hundred steps it arrives only with more than 1."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Longest gradient of the detector, L2; None never clips."""


class ScheduleConfig(Config):
    """How long a run is, and how its rate moves."""

    epochs: int = Field(default=300, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    """Exactly this many steps in place of `epochs`; the schedule spans them. Box-level changes
    still grow over `epochs`."""
    warmup_fraction: float = Field(default=5 / 300, ge=0, lt=1)
    """Share of all steps in which the rate rises from 0."""
    min_lr_ratio: float = Field(default=0.05, ge=0, le=1)
    """The rate at the end as a share of the highest: 1 keeps it flat."""
    plain_epochs: int = Field(default=16, ge=0)
    """Last epochs, without mosaic, at the lowest rate and without teacher: 0 has none."""
    mosaic: bool = True
    """False: the plain policy from the start, for runs too short to gain from mosaic."""


class EmaConfig(Config):
    """How the averaged weights follow the trained ones."""

    decay: float = Field(default=0.9998, ge=0, lt=1)
    """Kept at every step in the long run: 0 copies, values near 1 average over 1 / (1 - decay)."""
    tau: float = Field(default=2000.0, gt=0)
    """Steps until the average has slowed down to its final pace, by 63 %."""


class DistillConfig(Config):
    """How a teacher's neck guides the student's."""

    weight: float = Field(default=0.5, ge=0)
    """Of the channel-wise loss at the start; it falls along a cosine."""
    end_ratio: float = Field(default=0.1, ge=0, le=1)
    """Weight at the end of the cosine as a share of the start: 1 keeps it flat."""
    align_fraction: float = Field(default=0.0, ge=0, le=1)
    """Share of all steps, at the start, in which the align modules learn and the student does not
    feel them. Fresh ones push it ten times harder than its objects do, and elsewhere, which a run
    of some hundred steps never makes up for (docs/training.md); 0 as the paper."""
    untaught_fraction: float = Field(default=0.0, ge=0, le=1)
    """Share of all steps, at the end, in which the student learns alone, at whatever rate the
    schedule has there: for runs without a plain phase."""
    until_plain_phase: bool = True
    """Stop in the plain phase, as the paper; False never stops, as the published code."""
    allow_other_classes: bool = False
    """Accept a teacher trained on another label space; only its neck is used."""


class ValidateConfig(Config):
    """Evaluation of the averaged weights on the way, on the validation shards."""

    every_epochs: int = Field(default=1, ge=1)
    """Epochs between two evaluations; the last epoch always has one."""
    patience: int | None = Field(default=None, ge=1)
    """Evaluations in a row without a better AP before the run stops; None never stops early."""
    min_gain: float = Field(default=0.0, ge=0)
    """AP beyond the best so far that counts as better."""
    deploy: Literal["best", "last"] = "best"
    """Which weights become `model.pt`; the others stay in `checkpoint/`."""
    batch_size: int = Field(default=8, ge=1)
    """Images of one forward pass."""


class TrainConfig(Config):
    """A complete training of one detector."""

    model: str
    """Name of the size: `damo-yolo-ns`."""
    activation: Activation | None = None
    """Of backbone and neck; None: the size's own. On CPUs `hard_swish` and `relu` take about three
    quarters of the time of the nano sizes' `silu`."""
    image_size: int = Field(default=640, ge=32, multiple_of=32)
    """Side of the square input, pixels."""
    global_batch: int = Field(default=256, ge=1)
    """Images of one step over all workers; they never change its content."""
    accumulation: PositiveInt | Literal["auto"] = 1
    """Parts in which a worker computes its images of a step, to save memory; but for batch norm the
    result is that of the whole. `auto`: as few as a GPU's memory allows, 1 on a CPU."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: EmaConfig = EmaConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    distill: DistillConfig | None = None
    """None trains without a teacher."""
    validation: ValidateConfig | None = None
    """None evaluates nothing before the end."""
    num_lanes: int | None = Field(default=None, ge=1)
    """Streams that samples are read in; divides `global_batch`. None: the largest up to 64."""
    window: int = Field(default=32, ge=3)
    """Earlier samples of a lane that mosaics take partners from."""
    class_mask: bool = True
    """Absence of a class counts only where its absence was checked; False: everywhere."""
    class_prior: float = Field(default=0.01, gt=0, lt=1)
    """Score of every class at the start: higher is nearer to the goal, with more to unlearn."""
    bn_momentum: float = Field(default=0.03, gt=0, le=1)
    """Share of the newest batch in the running statistics: short runs need more."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of convolutions; boxes, assignment and losses stay fp32. `auto`: bf16 on GPUs that are built
    for it, fp32 elsewhere: on most CPUs bf16 is slower."""
    compile: bool = False
    """Let `torch.compile` fuse the detector: minutes at the start, then faster steps on GPUs."""
    channels_last: bool = True
    """Memory layout of images and weights; faster on CPU and on GPU tensor cores."""
    num_threads: int = Field(default=1, ge=1)
    """CPU threads of one worker."""
    max_broken_share: float = Field(default=0.001, ge=0, le=1)
    """Of the training images that may turn out unreadable, each replaced by an empty grey one: 0
    stops at the first."""
    seed: int = Field(default=0, ge=0)
    log_every: int = Field(default=20, ge=1)
    """Steps between two lines of metrics."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; None: one at the end of every epoch."""

    @model_validator(mode="after")
    def _parts_are_whole(self) -> Self:
        if self.accumulation != "auto" and self.global_batch % self.accumulation:
            raise ValueError(
                f"global_batch {self.global_batch} is not a multiple of accumulation "
                f"{self.accumulation}"
            )
        return self
