from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from damo_yolo.errors import DamoYoloError, StorageError
from damo_yolo.models.class_rows import is_class_row
from damo_yolo.models.detector import Detector
from damo_yolo.models.published import PUBLISHED_CLASSES
from damo_yolo.models.reparam import fuse
from damo_yolo.models.weights import load_weights, read_checkpoint
from damo_yolo.models.zoo import build_detector


def make(num_classes: int, seed: int) -> Detector:
    torch.manual_seed(seed)
    detector = build_detector("damo-yolo-ns", num_classes)
    with torch.no_grad():  # so that rows of different classes differ in their bias too
        for key, value in detector.named_parameters():
            if is_class_row(key):
                value.copy_(torch.randn_like(value))
    return detector


def states_are_equal(one: Detector, other: Detector) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


def plain(state: dict[str, Tensor]) -> dict[str, Any]:
    return state


def under_model(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"epoch": 3, "model": state}


def with_prefix(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"model": {f"module.{key}": value for key, value in state.items()}}


@pytest.mark.parametrize("form", [plain, under_model, with_prefix])
@pytest.mark.parametrize("saved", [False, True])
def test_every_form_of_checkpoint_loads(form: Any, saved: bool, tmp_path: Path) -> None:  # noqa: FBT001 - pytest passes it by name
    teacher, student = make(4, seed=1), make(4, seed=2)
    source = form(teacher.state_dict())
    if saved:
        torch.save(source, tmp_path / "weights.pth")

    report = load_weights(student, tmp_path / "weights.pth" if saved else source)

    assert states_are_equal(student, teacher)
    assert report.num_tensors == len(teacher.state_dict()) == 526
    assert report.new_classes == ()


def test_a_checkpoint_with_its_optimiser_loads_without_running_code(tmp_path: Path) -> None:
    teacher, student = make(4, seed=1), make(4, seed=2)
    optimiser = torch.optim.SGD(teacher.parameters(), lr=0.1, momentum=0.9)
    for parameter in teacher.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    checkpoint = {
        "epoch": np.int64(300),
        "model": teacher.state_dict(),
        "optimizer": optimiser.state_dict(),
        "feature_loss": None,
        "lr": np.float64(0.04),
    }
    torch.save(checkpoint, tmp_path / "latest_ckpt.pth")

    load_weights(student, str(tmp_path / "latest_ckpt.pth"))

    assert states_are_equal(student, teacher)


def test_half_precision_weights_load_into_a_float_detector() -> None:
    teacher, student = make(4, seed=1), make(4, seed=2)

    load_weights(student, {key: value.half() for key, value in teacher.state_dict().items()})

    weight = student.state_dict()["head.gfl_cls.0.bias"]
    assert weight.dtype is torch.float32
    torch.testing.assert_close(
        weight, teacher.state_dict()["head.gfl_cls.0.bias"], atol=1e-2, rtol=0
    )


def test_all_that_does_not_fit_is_listed_in_one_error_and_nothing_is_loaded() -> None:
    detector = make(4, seed=2)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    state: dict[str, Tensor] = dict(make(4, seed=1).state_dict())
    del state["neck.merge_3.conv1.conv.weight"]
    del state["head.scales.1.scale"]
    state["extra.weight"] = torch.zeros(1)
    state["head.gfl_reg.0.bias"] = torch.zeros(68)

    with pytest.raises(DamoYoloError) as caught:
        load_weights(detector, state)

    for part in (
        "2 missing: neck.merge_3.conv1.conv.weight, head.scales.1.scale",
        "1 unexpected: extra.weight",
        "1 of another shape: head.gfl_reg.0.bias (68,) instead of (32,)",
    ):
        assert part in caught.value.problem
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())


def test_fused_weights_are_told_apart() -> None:
    torch.manual_seed(0)
    detector = build_detector("damo-yolo-t", 2)

    with pytest.raises(DamoYoloError) as caught:
        load_weights(detector, fuse(detector).state_dict())

    assert "training form" in caught.value.fix


def test_another_number_of_classes_needs_names() -> None:
    with pytest.raises(DamoYoloError, match="has 80 classes, the detector 5") as caught:
        load_weights(make(5, seed=1), make(80, seed=2).state_dict())

    assert "class_names" in caught.value.fix


def test_coco_weights_keep_the_rows_of_classes_with_the_same_name() -> None:
    coco, student = make(80, seed=1), make(3, seed=2)

    report = load_weights(student, coco.state_dict(), class_names=["zebra", "gnu", "person"])

    assert report.kept_classes == ("zebra", "person")
    assert report.new_classes == ("gnu",)
    assert len(report.dropped_classes) == 78
    for key, rows in student.state_dict().items():
        source = coco.state_dict()[key]
        if not is_class_row(key):
            assert torch.equal(rows, source)
            continue
        assert torch.equal(rows[0], source[22])
        assert torch.equal(rows[2], source[0])
        fresh = rows[1]
        if key.endswith("bias"):
            assert fresh.item() == pytest.approx(-4.59512)
        else:
            assert 0 < fresh.abs().max() < 0.06  # six deviations of 0.01


def test_names_in_the_checkpoint_count_before_any_guess() -> None:
    teacher, student = make(2, seed=1), make(2, seed=2)

    load_weights(
        student,
        {"model": teacher.state_dict(), "class_names": ["cat", "dog"]},
        class_names=["dog", "cat"],
    )

    theirs = teacher.state_dict()["head.gfl_cls.1.weight"]
    assert torch.equal(student.state_dict()["head.gfl_cls.1.weight"], theirs[[1, 0]])


def test_weights_of_unknown_classes_ask_for_names() -> None:
    with pytest.raises(DamoYoloError, match="have 2 classes and do not say which"):
        load_weights(make(2, seed=1), make(2, seed=2).state_dict(), class_names=["a", "b"])


def test_class_names_must_fit_the_detector() -> None:
    with pytest.raises(DamoYoloError, match=r"head\.gfl_cls\.0\.weight \(2,") as caught:
        load_weights(make(3, seed=1), make(80, seed=2).state_dict(), class_names=["cat", "dog"])

    assert "class_names" in caught.value.fix


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off", b"\x80\x02}q."]
)
def test_a_file_that_is_no_checkpoint_is_a_clear_error(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.pth"
    file.write_bytes(content)

    with pytest.raises(DamoYoloError, match=r"broken\.pth"):
        load_weights(make(2, seed=1), file)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


def test_a_file_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Payload()}, "evil.pth")

    with pytest.raises(DamoYoloError, match="read safely"):
        read_checkpoint("evil.pth")

    assert not Path("touched").exists()


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing is at"):
        load_weights(make(2, seed=1), tmp_path / "absent.pth")


@pytest.mark.parametrize("source", [{}, {"model": {}}, {"model": None}, {"epoch": 3}])
def test_a_mapping_without_weights_is_a_clear_error(source: dict[str, Any]) -> None:
    with pytest.raises(DamoYoloError, match="the mapping holds"):
        load_weights(make(2, seed=1), source)


def test_published_classes_are_the_80_of_coco_in_order() -> None:
    assert len(set(PUBLISHED_CLASSES)) == 80
    assert PUBLISHED_CLASSES[0] == "person"
    assert PUBLISHED_CLASSES[9] == "traffic light"
    assert PUBLISHED_CLASSES[62] == "tv"
    assert PUBLISHED_CLASSES[79] == "toothbrush"
