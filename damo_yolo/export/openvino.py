"""ONNX -> OpenVINO IR, in FP16 and quantised to INT8.

An IR is two files: the graph `.xml` and the weights `.bin` beside it. FP16 halves the weights on
disk; INT8 also computes in integers. The IR carries its `DetectorInfo` in rt_info.
"""

import contextlib
import io
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.inference.backend import INPUT_NAME
from damo_yolo.inference.info import METADATA_KEY, DetectorInfo
from damo_yolo.inference.openvino_runtime import import_openvino


class QuantizeConfig(Config):
    """How a detector becomes INT8 after its training."""

    num_images: int = Field(default=300, ge=1)
    """Training images that the ranges of activations are measured on."""
    preset: Literal["performance", "mixed"] = "mixed"
    """`mixed` gives activations a zero point: SiLU's are not symmetric. `performance` does not."""
    activation_range: Literal["mean", "extreme"] = "mean"
    """`mean`: up to the mean of the images' extremes; what lies beyond is clipped, which short
    trainings gain from. `extreme`: up to the largest value seen; closest to the model."""
    exact_bias_correction: bool = False
    """True: correct biases layer by layer on images; better, and many times slower."""
    keep: Literal["decoding", "head"] = "decoding"
    """What stays in floating point: the decoding of boxes, or with it the head's projections."""
    keep_first: bool = True
    """Leave the first convolution, which sees the pixels, in floating point too."""


def export_openvino(
    onnx_path: Path,
    info: DetectorInfo,
    path: Path,
    precision: Literal["fp32", "fp16"] = "fp16",
) -> DetectorInfo:
    """Write an ONNX file of this project as IR.

    Args:
        onnx_path: from `export_onnx`.
        info: of that file.
        path: the `.xml` to write; the `.bin` comes beside it.
        precision: of the weights in the file.

    Returns:
        `info` with the precision of the IR.
    """
    return save(convert(onnx_path), info.with_precision(precision), path)


def export_openvino_int8(
    onnx_path: Path,
    info: DetectorInfo,
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    config: QuantizeConfig | None = None,
) -> DetectorInfo:
    """Write an ONNX file of this project as IR quantised to INT8.

    Args:
        onnx_path: from `export_onnx`.
        info: of that file.
        path: the `.xml` to write; the `.bin` comes beside it.
        images: (3, S, S) RGB 0..255 each, as in training: the ranges are measured on them.
        config: how to quantise.

    Returns:
        `info` with the precision of the IR.
    """
    config = config or QuantizeConfig()
    with quietly():
        import_openvino()  # before NNCF: switches the messages home off for both
        import nncf

        nncf.set_log_level(logging.ERROR)
        model = convert(onnx_path)
        quantised = nncf.quantize(
            model,
            nncf.Dataset(list(images), partial(graph_input, info=info)),
            preset=nncf.QuantizationPreset(config.preset),
            subset_size=len(images),
            fast_bias_correction=not config.exact_bias_correction,
            ignored_scope=nncf.IgnoredScope(names=kept_names(model, config)),
            advanced_parameters=advanced(config),
        )
    return save(quantised, info.with_precision("int8"), path)


def advanced(config: QuantizeConfig) -> Any:
    """Return NNCF's finer settings."""
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    if config.activation_range == "mean":
        return AdvancedQuantizationParameters()
    return AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
    )


def graph_input(image: NDArray[np.uint8], info: DetectorInfo) -> dict[str, NDArray[Any]]:
    """Return a (3, S, S) RGB image as a graph of `info` takes it."""
    if info.preprocess:
        stored = image[np.newaxis, ::-1].transpose(0, 2, 3, 1)
        return {INPUT_NAME: np.ascontiguousarray(stored)}
    return {INPUT_NAME: image[np.newaxis].astype(np.float32)}


def kept_names(model: Any, config: QuantizeConfig) -> list[str]:
    """Return the names of the operations that stay in floating point."""
    kept: set[str] = set()
    if config.keep_first:
        kept |= _names_to_first_convolution(model)
    for output in model.outputs:
        kept |= _names_back_to_head(output.get_node(), with_head=config.keep == "head")
    return sorted(kept)


def _names_to_first_convolution(model: Any) -> set[str]:
    """Return the operations that the input goes through, up to the first convolution."""
    names: set[str] = set()
    waiting = [model.input(0)]
    while waiting:
        for reader in waiting.pop().get_target_inputs():
            node = reader.get_node()
            names.add(node.get_friendly_name())
            if node.get_type_name() not in {"Convolution", "Result", "ShapeOf"}:
                waiting += node.outputs()
    return names


def _names_back_to_head(result: Any, *, with_head: bool) -> set[str]:
    """Return the operations between the head's convolutions and a result, or with them.

    Going back from a result, the first convolution met is the head's; the one that takes the
    expectation of a softmax belongs to the decoding and is passed.
    """
    names: set[str] = set()
    waiting = [result]
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name in names or node.get_type_name() in {"Constant", "Parameter"}:
            continue
        if not _is_head_projection(node):
            names.add(name)
            waiting += [node.input_value(i).get_node() for i in range(node.get_input_size())]
        elif with_head:
            names.add(name)
    return names


def _is_head_projection(node: Any) -> bool:
    if node.get_type_name() != "Convolution":
        return False
    source = node.input_value(0).get_node()
    while source.get_type_name() in {"Transpose", "Reshape"}:
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() != "Softmax")


def convert(onnx_path: Path) -> Any:
    """Return OpenVINO's model of an ONNX file."""
    return import_openvino().convert_model(onnx_path)


def save(model: Any, info: DetectorInfo, path: Path) -> DetectorInfo:
    """Write an IR that says what it is and nothing of this run; return `info`."""
    openvino = import_openvino()
    for name in ("conversion_parameters", "framework", "nncf"):  # they speak of this run
        if model.has_rt_info(name):
            model.set_rt_info("", name)
    _rename_numbered(model)
    model.set_rt_info(info.model_dump_json(), METADATA_KEY)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.xml"
        openvino.save_model(model, draft, compress_to_fp16=info.precision != "fp32")
        for part in (".bin", ".xml"):  # the graph last: with it the IR is whole
            with storage.atomic_path(path.with_suffix(part)) as target:
                shutil.copyfile(draft.with_suffix(part), target)
    return info


def _rename_numbered(model: Any) -> None:
    """Number nameless operations by their place: the number OpenVINO gives counts the process."""
    for place, node in enumerate(model.get_ordered_ops()):
        kind, _, number = node.get_friendly_name().rpartition("_")
        if kind[:1].isupper() and number.isdigit():  # the exporter's own names are lower case
            node.set_friendly_name(f"{kind}_{place}")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hold back progress bars, which NNCF draws on standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
