from pathlib import Path

import numpy as np
import pytest

from damo_yolo.augment.color import ColorName, change_color


@pytest.mark.parametrize(
    ("name", "level", "published"),
    [
        ("color", 2, "color_l2"),
        ("color", 8, "color_l8"),
        ("contrast", 4, "contrast_l4"),
        ("brightness", 4, "brightness_l4"),
        ("sharpness", 2, "sharpness_l2"),
        ("solarize_add", 2, "solarize_add_l2"),
    ],
)
def test_colour_changes_are_the_published_ones(
    golden_dir: Path, name: ColorName, level: float, published: str
) -> None:
    data = np.load(golden_dir / "preprocess_augment.npz")
    image = np.ascontiguousarray(data["sada.image"].transpose(1, 2, 0))

    changed = change_color(image, name, level)

    np.testing.assert_allclose(changed.transpose(2, 0, 1), data[f"sada.{published}"], atol=1e-6)


def test_solarizing_lifts_the_darker_values_only() -> None:
    image = np.array([[[0.0, 0.5, 0.75]]], np.float32)

    changed = change_color(image, "solarize_add", 10)

    np.testing.assert_allclose(changed, [[[0.4296875, 0.9296875, 0.75]]])
