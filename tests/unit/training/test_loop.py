"""The loop on random batches in place of a loader, with a reporter that can break off."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from damo_yolo.boxes import paired_iou
from damo_yolo.errors import TrainingError
from damo_yolo.losses.detection import DetectionLoss, LossParts
from damo_yolo.models.zoo import build_detector
from damo_yolo.samples import Batch
from damo_yolo.training.build import build_state
from damo_yolo.training.config import (
    DistillConfig,
    EmaConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from damo_yolo.training.failure import reproduce_step
from damo_yolo.training.loop import train
from damo_yolo.training.reporter import FINISH, GO_ON, PAUSE, PausedError, Record
from damo_yolo.training.state import TrainState, load_state, save_state, write_tensors
from damo_yolo.training.validation import Validator

CPU = torch.device("cpu")
NUM_CLASSES = 3


class BrokenOffError(Exception):
    """Stands for a killed process."""


@dataclass
class RandomLoader:
    """Batches of noise with one object each; every batch follows from its epoch and step."""

    steps_per_epoch: int = 3
    batch_size: int = 2
    image_size: int = 64
    num_objects: int = 1
    phases: list[str] = field(default_factory=list)

    def epoch(self, epoch: int, *, phase: str, start_step: int = 0) -> Iterator[Batch]:
        self.phases.append(phase)
        for step in range(start_step, self.steps_per_epoch):
            yield self.batch(epoch, step)

    def batch(self, epoch: int, step: int) -> Batch:
        rng = np.random.default_rng([epoch, step])
        shape = (self.batch_size, 3, self.image_size, self.image_size)
        boxes = np.zeros((self.batch_size, self.num_objects, 4), np.float32)
        boxes[..., :2] = rng.uniform(2, 20, boxes[..., :2].shape)
        boxes[..., 2:] = boxes[..., :2] + rng.uniform(16, 40, boxes[..., :2].shape)
        labels = rng.integers(0, NUM_CLASSES, boxes.shape[:2])
        return Batch(
            images=torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)),
            gt_boxes=torch.from_numpy(boxes),
            gt_labels=torch.from_numpy(labels),
            gt_valid=torch.ones(boxes.shape[:2], dtype=torch.bool),
            class_mask=torch.ones(self.batch_size, NUM_CLASSES, dtype=torch.bool),
            keys=tuple(f"noise/{epoch}-{step}-{i}" for i in range(self.batch_size)),
            original_sizes=((self.image_size, self.image_size),) * self.batch_size,
        )


@dataclass
class FolderReporter:
    """Keeps records in memory and checkpoints in a folder; breaks off after a step if told so."""

    folder: str
    break_after: int | None = None
    records: list[Record] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    wishes: dict[int, int] = field(default_factory=dict)
    """By how often the loop asked before."""
    asked: int = 0

    def wish(self) -> int:
        self.asked += 1
        return self.wishes.get(self.asked - 1, GO_ON)

    def log(self, record: Record) -> None:
        self.records.append(record)
        if record["step"] == self.break_after:
            raise BrokenOffError

    def checkpoint(self, state: TrainState) -> None:
        save_state(state, self.folder, run_key="key", is_writer=True)

    def end_epoch(self, record: Record) -> None:
        self.records.append(record)

    def save_failure(self, payload: dict[str, Any], *, step: int) -> str:
        self.failures.append(payload)
        uri = f"{self.folder}/failures/{step}.pt"
        write_tensors(payload, uri)
        return uri


@pytest.fixture
def tiny_config() -> TrainConfig:
    return TrainConfig(
        model="damo-yolo-ns",
        image_size=64,
        global_batch=2,
        optimizer=OptimizerConfig(kind="adamw", lr_per_image=1e-3, weight_decay=1e-2),
        schedule=ScheduleConfig(epochs=3, warmup_fraction=0.2, plain_epochs=1),
        ema=EmaConfig(decay=0.9, tau=2),
        bn_momentum=0.1,
        log_every=1,
    )


def _state(config: TrainConfig, **settings: Any) -> TrainState:
    return build_state(config, num_classes=NUM_CLASSES, device=CPU, **settings)


def _weights(state: TrainState) -> dict[str, torch.Tensor]:
    raw = {f"raw.{name}": value for name, value in state.model.state_dict().items()}
    return raw | {f"average.{name}": value for name, value in state.average.state_dict().items()}


def test_a_run_logs_every_step_and_switches_to_plain(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    reporter, loader = FolderReporter(str(tmp_path)), RandomLoader()

    train(_state(tiny_config), loader, reporter)

    steps = [record["step"] for record in reporter.records if record["kind"] == "step"]
    epochs = [record["step"] for record in reporter.records if record["kind"] == "epoch"]
    assert steps == list(range(1, 10))
    assert epochs == [3, 6, 9]
    assert loader.phases == ["mosaic", "mosaic", "plain"]
    assert all(math.isfinite(record["total"]) for record in reporter.records)
    assert reporter.records[0]["lr"] == 0.0
    assert reporter.records[3]["kind"] == "epoch"


def test_training_on_one_batch_learns_its_boxes(tmp_path: Path, tiny_config: TrainConfig) -> None:
    config = tiny_config.with_overrides(["schedule.epochs=16", "schedule.plain_epochs=0"])

    class OneBatch(RandomLoader):
        def batch(self, epoch: int, step: int) -> Batch:
            return super().batch(epoch * 0, step * 0)

    state = _state(config)
    train(state, OneBatch(), FolderReporter(str(tmp_path)))

    batch = OneBatch().batch(0, 0)
    state.model.eval()
    scores, boxes = state.model.detector(batch.images.float())
    for row in range(2):
        best = scores[row].amax(dim=-1).argmax()
        assert scores[row, best].argmax() == batch.gt_labels[row, 0]
        assert paired_iou(boxes[row, best], batch.gt_boxes[row, 0]) > 0.3


@pytest.mark.parametrize("step", [1, 4, 6])
def test_breaking_off_and_continuing_equals_going_through(
    tmp_path: Path, tiny_config: TrainConfig, step: int
) -> None:
    config = tiny_config.with_overrides(["checkpoint_every=2"])
    through = _state(config)
    train(through, RandomLoader(), FolderReporter(str(tmp_path / "through")))

    folder = str(tmp_path / "broken")
    with pytest.raises(BrokenOffError):
        train(_state(config), RandomLoader(), FolderReporter(folder, break_after=step))
    torch.manual_seed(99)  # whatever the new process drew before
    continued = _state(config)
    found = load_state(continued, folder, run_key="key", rank=0)
    train(continued, RandomLoader(), FolderReporter(folder))

    assert found == (step > 2)
    assert continued.position == through.position
    expected = _weights(through)
    for name, value in _weights(continued).items():
        assert torch.equal(value, expected[name]), name


def test_a_taught_run_continues_exactly_with_its_align_modules(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    config = tiny_config.model_copy(update={"distill": DistillConfig(), "checkpoint_every": 2})
    torch.manual_seed(1)
    teacher = build_detector("damo-yolo-nm", num_classes=NUM_CLASSES).eval()
    teacher.requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    through = _state(config, teacher=teacher)
    reporter = FolderReporter(str(tmp_path / "through"))
    train(through, RandomLoader(), reporter, teacher=teacher)

    folder = str(tmp_path / "broken")
    with pytest.raises(BrokenOffError):
        train(
            _state(config, teacher=teacher),
            RandomLoader(),
            FolderReporter(folder, break_after=5),
            teacher=teacher,
        )
    continued = _state(config, teacher=teacher)
    load_state(continued, folder, run_key="key", rank=0)
    train(continued, RandomLoader(), FolderReporter(folder), teacher=teacher)

    expected = _weights(through)
    assert any("distillation" in name for name in expected)
    for name, value in _weights(continued).items():
        assert torch.equal(value, expected[name]), name
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), f"the teacher changed: {name}"
    by_step = {r["step"]: r["distill"] for r in reporter.records if r["kind"] == "step"}
    assert all(by_step[step] > 0 for step in range(1, 7))
    assert all(by_step[step] == 0 for step in range(7, 10)), "no teacher in the plain phase"


def test_while_align_modules_learn_alone_the_student_does_not_feel_the_teacher(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    """Three of nine steps; the rate of the very first one is 0."""
    torch.manual_seed(1)
    teacher = build_detector("damo-yolo-nm", num_classes=NUM_CLASSES).eval()
    align_first = DistillConfig(align_fraction=1 / 3)
    weights = []
    for distill in (align_first, None):
        config = tiny_config.model_copy(update={"distill": distill})
        state = _state(config, teacher=teacher)
        reporter = FolderReporter(str(tmp_path), wishes={3: FINISH})
        train(state, RandomLoader(), reporter, teacher=teacher if distill else None)
        weights.append(state.model.detector.state_dict())
        if distill:
            assert state.model.distillation is not None
            fresh = _state(config, teacher=teacher).model.distillation
            assert fresh is not None
            moved = zip(state.model.distillation.parameters(), fresh.parameters(), strict=True)
            assert all(not torch.equal(ours, theirs) for ours, theirs in moved)

    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_a_loss_that_is_not_finite_names_step_and_images(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    class PoisonedLoss(DetectionLoss):
        calls = 0

        def forward(self, *args: Any, **kwargs: Any) -> LossParts:
            parts: LossParts = super().forward(*args, **kwargs)
            self.calls += 1
            return parts._replace(total=parts.total * (math.nan if self.calls == 5 else 1.0))

    reporter = FolderReporter(str(tmp_path))
    state = _state(tiny_config)
    state.model.loss = PoisonedLoss(tiny_config.loss)
    with pytest.raises(TrainingError, match=r"step 4 .*noise/1-1-0") as caught:
        train(state, RandomLoader(), reporter)

    assert caught.value.fix.endswith("--reproduce " + str(tmp_path / "failures/4.pt"))
    assert state.position.step == 4, "the failed step is not counted"
    again = reproduce_step(caught.value.fix.rpartition(" ")[2])
    assert again.keys == ("noise/1-1-0", "noise/1-1-1")
    assert math.isnan(again.losses_then["total"])
    assert math.isfinite(again.losses["total"]), "the poison was not in weights or images"
    kept = reporter.failures[0]
    assert kept["keys"] == ["noise/1-1-0", "noise/1-1-1"]
    assert all(torch.isfinite(value).all() for value in kept["model"].values()), "before the step"


def test_images_without_objects_train_too(tmp_path: Path, tiny_config: TrainConfig) -> None:
    reporter = FolderReporter(str(tmp_path))

    train(_state(tiny_config), RandomLoader(num_objects=0), reporter)

    assert all(record["num_foreground"] == 0 for record in reporter.records)
    assert all(math.isfinite(record["total"]) for record in reporter.records)


def test_a_layer_and_an_image_that_break_a_step_are_found_again(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    reporter, state = FolderReporter(str(tmp_path)), _state(tiny_config)
    broken = "head.gfl_cls.1"
    state.model.detector.get_submodule(broken).bias.data.fill_(math.nan)  # type: ignore[operator]
    with pytest.raises(TrainingError, match="step 0 "):
        train(state, RandomLoader(), reporter)

    again = reproduce_step(str(tmp_path / "failures/0.pt"))

    assert again.first_bad_module == broken
    assert again.suspects == again.keys
    assert not math.isfinite(again.losses["total"])
    assert again.bad_gradients


def test_a_file_without_a_failed_step_is_named(tmp_path: Path) -> None:
    write_tensors({"model": {}}, str(tmp_path / "model.pt"))

    with pytest.raises(TrainingError, match="holds no failed step"):
        reproduce_step(str(tmp_path / "model.pt"))


def test_a_run_that_is_asked_to_pause_continues_exactly(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    """It is asked before its fifth step, in the middle of an epoch of three."""
    through = _state(tiny_config)
    train(through, RandomLoader(), FolderReporter(str(tmp_path / "through")))
    folder = str(tmp_path / "paused")

    with pytest.raises(PausedError, match="after step 4"):
        train(_state(tiny_config), RandomLoader(), FolderReporter(folder, wishes={4: PAUSE}))
    continued = _state(tiny_config)
    load_state(continued, folder, run_key="key", rank=0)
    assert continued.position == (1, 1, 4)
    train(continued, RandomLoader(), FolderReporter(folder))

    expected = _weights(through)
    for name, value in _weights(continued).items():
        assert torch.equal(value, expected[name]), name
    assert continued.samples.text == through.samples.text


def test_a_run_that_is_asked_to_finish_is_over_for_good(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    reporter, state = FolderReporter(str(tmp_path), wishes={4: FINISH}), _state(tiny_config)
    train(state, RandomLoader(), reporter)

    assert reporter.records[-1]["kind"] == "epoch"
    assert state.position.step == 4
    again = _state(tiny_config)
    load_state(again, str(tmp_path), run_key="key", rank=0)
    train(again, RandomLoader(), FolderReporter(str(tmp_path)))
    assert again.position.step == 4


def test_a_run_stops_when_evaluations_bring_nothing_more(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    """AP falls from the second evaluation on; with a patience of one, epochs end at the second."""

    class Falling(Validator):
        def __init__(self) -> None:
            self.aps = iter([0.5, 0.4, 0.3])

        def evaluate(self, weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
            assert weights
            return {"ap": next(self.aps), "ap50": 0.6}

    config = tiny_config.with_overrides(["validation.patience=1"])
    state, reporter = _state(config), FolderReporter(str(tmp_path))
    train(state, RandomLoader(), reporter, validator=Falling())

    epochs = [record for record in reporter.records if record["kind"] == "epoch"]
    assert [record["ap"] for record in epochs] == [0.5, 0.4]
    assert state.best.best_step == 3
    again = _state(config)
    load_state(again, str(tmp_path), run_key="key", rank=0)
    assert again.is_over
    assert again.best.best_ap == 0.5


def test_broken_images_are_counted_and_too_many_stop_the_run(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    class Broken(RandomLoader):
        def batch(self, epoch: int, step: int) -> Batch:
            return replace(super().batch(epoch, step), broken=(f"coco/{epoch}",))

    config = tiny_config.with_overrides(["max_broken_share=0.1"])
    state, reporter = _state(config), FolderReporter(str(tmp_path))
    state.quarantine.num_images = 20
    with pytest.raises(TrainingError, match=r"3 of 20 .* coco/0, coco/1, coco/2"):
        train(state, Broken(), reporter)

    epochs = [r for r in reporter.records if r["kind"] == "epoch"]
    assert [r["broken"] for r in epochs] == [1, 2]
    assert [r["broken_images"] for r in epochs] == [["coco/0"], ["coco/0", "coco/1"]]


def test_a_compiled_detector_keeps_its_names(tmp_path: Path, tiny_config: TrainConfig) -> None:
    state = _state(tiny_config)
    names = list(state.model.state_dict())
    state.model.detector.compile(backend="eager")

    train(state, RandomLoader(), FolderReporter(str(tmp_path)))

    assert list(state.model.state_dict()) == names
