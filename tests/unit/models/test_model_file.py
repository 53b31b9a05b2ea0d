import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from damo_yolo.errors import DamoYoloError
from damo_yolo.models.detector import Detector
from damo_yolo.models.model_file import (
    ModelFile,
    convert_from_published,
    convert_to_published,
    from_published,
    load_model_file,
    save_model_file,
)
from damo_yolo.models.published import PUBLISHED_CLASSES
from damo_yolo.models.zoo import build_detector


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    return build_detector("damo-yolo-ns", 3, bn_momentum=0.1)


@pytest.fixture
def model(detector: Detector) -> ModelFile:
    return ModelFile.of(
        detector,
        name="damo-yolo-ns",
        class_names=["a", "b", "c"],
        image_size=128,
        manifest_sha256="f00",
    )


def test_a_model_file_gives_back_all_of_it(model: ModelFile, tmp_path: Path) -> None:
    file = str(tmp_path / "model.pt")
    save_model_file(model, file)

    loaded = load_model_file(file)

    for name in ("config", "name", "class_names", "image_size", "manifest_sha256"):
        assert getattr(loaded, name) == getattr(model, name)
    assert list(loaded.state) == list(model.state)
    assert all(torch.equal(loaded.state[key], model.state[key]) for key in model.state)


def test_a_built_model_is_in_eval_mode_and_gives_the_same_outputs(
    detector: Detector, model: ModelFile
) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255

    built = model.build()

    assert not built.training
    assert built.config == detector.config
    with torch.no_grad():
        expected, found = detector.eval()(images), built(images)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_built_model_has_weights_of_its_own(model: ModelFile) -> None:
    before = model.state["head.gfl_reg.0.weight"].clone()

    with torch.no_grad():
        for parameter in model.build().parameters():
            parameter.zero_()

    assert torch.equal(model.state["head.gfl_reg.0.weight"], before)


def test_the_same_content_gives_the_same_bytes(
    detector: Detector, model: ModelFile, tmp_path: Path
) -> None:
    anything: Any = detector
    anything.to(memory_format=torch.channels_last)  # another layout in memory, the same values
    other = ModelFile.of(
        detector, name=model.name, class_names="abc", image_size=128, manifest_sha256="f00"
    )
    save_model_file(model, str(tmp_path / "one.pt"))
    save_model_file(other, str(tmp_path / "another-name.pt"))

    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another-name.pt").read_bytes()


def test_further_values_survive(model: ModelFile, tmp_path: Path) -> None:
    file = str(tmp_path / "model.pt")
    save_model_file(dataclasses.replace(model, extra={"epoch": 7}), file)

    assert load_model_file(file).extra == {"epoch": 7}


def test_a_checkpoint_of_another_kind_is_named(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "other.pt")

    with pytest.raises(DamoYoloError, match=r"other\.pt is no model file: it has no config, name"):
        load_model_file(str(tmp_path / "other.pt"))


def test_as_many_names_as_classes(detector: Detector, tmp_path: Path) -> None:
    model = ModelFile.of(detector, name="damo-yolo-ns", class_names=["a"])

    with pytest.raises(DamoYoloError, match="3 classes and 1 names"):
        save_model_file(model, str(tmp_path / "model.pt"))


def test_a_published_checkpoint_goes_there_and_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = build_detector("damo-yolo-ns").state_dict()
    torch.save({"epoch": 300, "model": state, "optimizer": {}}, tmp_path / "published.pth")

    model = convert_from_published(
        str(tmp_path / "published.pth"), str(tmp_path / "model.pt"), name="damo-yolo-ns"
    )
    convert_to_published(str(tmp_path / "model.pt"), str(tmp_path / "again.pth"))

    assert model.class_names == PUBLISHED_CLASSES
    assert model.image_size == 416
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert list(again) == ["model"]
    assert list(again["model"]) == list(state)
    assert all(torch.equal(again["model"][key], state[key]) for key in state)


def test_coco_classes_leave_in_the_published_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = build_detector("damo-yolo-ns")
    model = ModelFile.of(detector, name="damo-yolo-ns", class_names=PUBLISHED_CLASSES[::-1])
    save_model_file(model, str(tmp_path / "model.pt"))

    convert_to_published(str(tmp_path / "model.pt"), str(tmp_path / "published.pth"))

    published = torch.load(tmp_path / "published.pth", weights_only=True)["model"]
    ours = detector.state_dict()["head.gfl_cls.2.weight"]
    assert torch.equal(published["head.gfl_cls.2.weight"], ours.flip(0))


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    torch.save({"model": build_detector("damo-yolo-ns").state_dict()}, tmp_path / "ns.pth")

    with pytest.raises(DamoYoloError, match="of another shape"):
        from_published(str(tmp_path / "ns.pth"), name="damo-yolo-nm")
