"""The file MLflow stores with a version and runs when somebody loads it (models from code).

It is read by MLflow only; nothing in this project imports it, which is why the last line may act.
"""

from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext


class DetectorModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """Images in, named boxes out: a path, bytes, an RGB array, or a list or table of them."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the artifact that the version ships."""
        from damo_yolo.inference.predictor import Predictor

        served = Path(context.artifacts["export"]) / context.model_config["serves"]
        self.predictor = Predictor.open(str(served))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow calls by keyword
        model_input: Any,
        params: dict[str, Any] | None = None,
    ) -> Any:
        """Detect objects.

        Args:
            context: given by MLflow.
            model_input: one image (path, bytes, (H, W, 3) uint8 RGB array), a list of images, or a
                table with a column `image`.
            params: `score_threshold` in 0..1, default 0.3.

        Returns:
            A list of {label, score, x1, y1, x2, y2} in pixels of the image; a list of such lists
            for several images.
        """
        threshold = float((params or {}).get("score_threshold", 0.3))
        images = model_input["image"].tolist() if hasattr(model_input, "columns") else model_input
        if isinstance(images, list):
            return [self._one(image, threshold) for image in images]
        return self._one(images, threshold)

    def _one(self, image: Any, threshold: float) -> list[dict[str, Any]]:
        found = self.predictor.predict(image, score_threshold=threshold)
        return [item.as_dict() for item in found]


mlflow.models.set_model(DetectorModel())
