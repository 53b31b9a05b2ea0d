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
    image = np.rint(data["sada.image"].transpose(1, 2, 0) * 255).astype(np.uint8)

    changed = change_color(image, name, level)

    expected = data[f"sada.{published}"].transpose(1, 2, 0) * 255
    assert np.abs(changed - expected).max() <= 1
    assert np.abs(changed - expected).mean() < 0.4


def test_solarizing_lifts_the_darker_values_only() -> None:
    image = np.array([[[0, 127, 128]]], np.uint8)

    changed = change_color(image, "solarize_add", 10)

    assert changed.tolist() == [[[110, 237, 128]]]  # 0.4296875 of 255 is 109.6
