"""The file MLflow stores with a version and runs when somebody loads it (models from code).

It is read by MLflow only; nothing in this project imports it, which is why the last line may act.
"""

from pathlib import Path

import mlflow
from mlflow.pyfunc.model import PythonModel

SHOWN_SCORE = 0.3


class DetectorModel(PythonModel):
    """Images in, named boxes out: a path, bytes, an RGB array, or a list or table of them."""

    # MLflow would read type hints as a strict schema of the input, so there are none here.

    def load_context(self, context) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Open the artifact that the version ships."""
        from damo_yolo.inference.predictor import Predictor

        served = Path(context.artifacts["export"]) / context.model_config["serves"]
        self.predictor = Predictor.open(str(served), score_threshold=0.05)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG002
        """Detect objects.

        Args:
            context: given by MLflow.
            model_input: one image (path, bytes, (H, W, 3) uint8 RGB array), a list of images, or a
                table with a column `image`.
            params: `score_threshold` in 0..1, default 0.3.

        Returns:
            A list of {name, class_id, score, box} with the box as x1, y1, x2, y2 in pixels of the
            image; a list of such lists for several images.
        """
        threshold = float((params or {}).get("score_threshold", SHOWN_SCORE))
        many = model_input["image"].tolist() if hasattr(model_input, "columns") else model_input
        images = many if isinstance(many, list) else [many]
        found = [
            [item.to_json() for item in objects if item.score >= threshold]
            for objects in self.predictor.predict(images)
        ]
        return found if isinstance(many, list) else found[0]


mlflow.models.set_model(DetectorModel())
