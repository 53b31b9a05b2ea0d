"""INT8 that keeps its AP: layers go back to floating point until the drop is within the budget."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.export.openvino import (
    QuantizeConfig,
    advanced,
    convert,
    graph_input,
    kept_names,
    quietly,
    save,
)
from damo_yolo.inference.backend import Backend, GraphBackend
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.inference.openvino_runtime import import_openvino

MeasureAp = Callable[[Backend], float]
"""A detector to its AP on the images that decide."""


class AccuracyConfig(Config):
    """When plain INT8 is not good enough, and what is done then."""

    max_ap_drop: float = Field(default=0.015, ge=0)
    """AP that INT8 may lose. Beyond it, layers go back to floating point one by one, most harmful
    first: AP is measured after each."""
    max_layers: int = Field(default=40, ge=1)
    """So many layers at most go back; with all of them back nothing would be gained."""
    num_images: int = Field(default=16, ge=1)
    """Images of the table of sensitive layers, and of the ranking."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be lost, and how it is measured."""

    measure_ap: MeasureAp
    """Called once per layer that goes back."""
    config: AccuracyConfig


def export_with_accuracy_control(
    onnx_path: Path,
    info: DetectorInfo,
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    budget: Budget,
    quantize: QuantizeConfig,
) -> DetectorInfo:
    """Write an ONNX file of this project as INT8 IR whose AP drop is within the budget.

    Args:
        onnx_path: from `export_onnx`.
        info: of that file.
        path: the `.xml` to write; the `.bin` comes beside it.
        images: (3, S, S) RGB 0..255 each: the ranges are measured on them.
        budget: how much may be lost, of what.
        quantize: how to quantise.

    Returns:
        `info` with the precision of the IR.
    """
    info, accuracy = info.with_precision("int8"), budget.config
    with quietly():
        import_openvino()  # before NNCF: switches the messages home off for both
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedAccuracyRestorerParameters

        nncf.set_log_level(logging.ERROR)
        as_input = partial(graph_input, info=info)
        model = convert(onnx_path)

        def measure(compiled: Any, _: Any) -> tuple[float, None]:
            return budget.measure_ap(_CompiledBackend(info, compiled)), None

        quantised = nncf.quantize_with_accuracy_control(
            model,
            calibration_dataset=nncf.Dataset(list(images), as_input),
            validation_dataset=nncf.Dataset(list(images)[: accuracy.num_images], as_input),
            validation_fn=measure,
            max_drop=accuracy.max_ap_drop,
            drop_type=nncf.DropType.ABSOLUTE,
            preset=nncf.QuantizationPreset(quantize.preset),
            subset_size=len(images),
            fast_bias_correction=not quantize.exact_bias_correction,
            ignored_scope=nncf.IgnoredScope(names=kept_names(model, quantize)),
            advanced_quantization_parameters=advanced(quantize),
            advanced_accuracy_restorer_parameters=AdvancedAccuracyRestorerParameters(
                max_num_iterations=accuracy.max_layers,
                ranking_subset_size=accuracy.num_images,
            ),
        )
    return save(quantised, info, path)


class _CompiledBackend(GraphBackend):
    """A model that NNCF compiled."""

    def __init__(self, info: DetectorInfo, compiled: Any) -> None:
        super().__init__(info, max_batch=1)
        self._compiled = compiled

    def _values(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        found = self._compiled(images)
        return {port.get_any_name(): np.array(value) for port, value in found.items()}
