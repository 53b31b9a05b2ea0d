from pathlib import Path

import pytest

from damo_yolo.evaluation.coco_ap import ClassAp
from damo_yolo.evaluation.frequency import FrequencyConfig, group_by_frequency, training_images


def class_ap(class_id: int, ap: float) -> ClassAp:
    figures = dict.fromkeys(("ap75", "ap_small", "ap_medium", "ap_large", "recall"), 0.0)
    return ClassAp(
        class_id=class_id,
        name=str(class_id),
        ap=ap,
        ap50=2 * ap,
        num_objects=10,
        num_images=5,
        **figures,
    )


@pytest.mark.parametrize(
    ("images", "group"),
    [(0, "rare"), (10, "rare"), (11, "common"), (100, "common"), (101, "frequent")],
)
def test_the_bounds_are_those_of_lvis(images: int, group: str) -> None:
    assert FrequencyConfig().group_of(images) == group


def test_groups_are_means_over_their_classes() -> None:
    classes = [class_ap(0, 0.4), class_ap(1, 0.2), class_ap(2, 0.1), class_ap(3, 0.3)]
    images = {0: 5000, 1: 200, 2: 3}  # class 3 was never seen

    groups = group_by_frequency(classes, images, FrequencyConfig())

    assert list(groups) == ["rare", "frequent"]
    assert (groups["frequent"].ap, groups["frequent"].ap50) == pytest.approx((0.3, 0.6))
    assert (groups["rare"].num_classes, groups["rare"].num_objects) == (2, 20)
    assert groups["rare"].ap == pytest.approx(0.2)


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="below rare_max"):
        FrequencyConfig(rare_max=10, common_max=5)


def test_training_images_add_up_over_datasets(tmp_path: Path) -> None:
    (tmp_path / "datasets.json").write_text(
        """{"datasets": {
            "coco": {"train": {"classes": {"3": {"images": 5}, "4": {"images": 1}}}},
            "voc": {"train": {"classes": {"3": {"images": 2}}}},
            "full": {"val": {"classes": {"3": {"images": 9}}}}}}"""
    )

    assert training_images(str(tmp_path)) == {3: 7, 4: 1}
