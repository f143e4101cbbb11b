"""Static quantisation of an embedder: eight-bit weights and activations, float32 in and out."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from faceops.base.errors import FaceOpsError
from faceops.release.int8.equalise import equalise, multiplies_channels
from faceops.release.int8.prelu_as_convolution import prelu_as_convolution
from faceops.release.without_traces import without_traces

_QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "Relu")
# Says that the graph is ready for the quantiser, which otherwise warns that it is not.
_READY = {"onnx.quant.pre_process": "onnxruntime.quant"}


class CannotQuantise(FaceOpsError):
    """The quantiser does not take this graph; the release can go out without int8."""


def quantise_embedder(
    embedder: onnx.ModelProto, crops: np.ndarray, float_layers: int
) -> onnx.ModelProto:
    """Return `embedder` in QDQ form: int8 weights a channel, uint8 activations a tensor.

    Args:
        embedder: "crops" uint8 (batch, 112, 112, 3) in, L2-normalised "embeddings" out.
        crops: uint8 (N, 112, 112, 3), whose smallest and largest activations set the scales.
        float_layers: so many convolutions at the start stay in float32: they see the pixels,
            cost little, and lose the most.

    The same arguments give the same bytes. Scaling of pixels and the normalisation stay float32.

    Raises:
        CannotQuantise: the quantiser fails, or writes what ONNX or this project does not take.
    """
    try:
        ready = equalise(prelu_as_convolution(embedder), crops)
        named = _named(ready)
        model = without_traces(_quantised(named, crops, _leading(named.graph, float_layers)))
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (OSError, MemoryError):  # of this machine now, not of this graph
        raise
    except Exception as error:  # the quantiser's errors share no base class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CannotQuantise(
            f"this embedder cannot be quantised ({reason}); the release offers float32 only."
        ) from error
    written = {entry.domain: entry.version for entry in model.opset_import}
    asked = {entry.domain: entry.version for entry in embedder.opset_import}
    if {domain: version for domain, version in written.items() if version} != asked:
        raise CannotQuantise(
            f"the quantiser wrote ONNX opsets {written}, not {asked}; the release offers float32 "
            "only."
        )
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise CannotQuantise("nothing in this embedder can be quantised; it stays in float32.")
    return model


class _Crops(CalibrationDataReader):
    """Crops one by one, in their order."""

    def __init__(self, crops: np.ndarray) -> None:
        self._left = iter(crops)

    def get_next(self) -> dict[str, np.ndarray] | None:
        crop = next(self._left, None)
        return None if crop is None else {"crops": crop[None]}


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with a name for each node: the quantiser knows nodes by their names."""
    for node in model.graph.node:
        node.name = node.output[0]
    helper.set_model_props(model, _READY)
    return model


def _leading(graph: onnx.GraphProto, convolutions: int) -> list[str]:
    """Return the names of the nodes before convolution number `convolutions` (from 0)."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = [node.name for node in graph.node]
    layers = [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and not multiplies_channels(node, constants)
    ]
    if convolutions >= len(layers):
        return names
    return names[: names.index(layers[convolutions])]


def _quantised(model: onnx.ModelProto, crops: np.ndarray, excluded: list[str]) -> onnx.ModelProto:
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of choices that are made here on purpose
    try:
        with tempfile.TemporaryDirectory(prefix="faceops-int8-") as folder:
            source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
            onnx.save_model(model, source)
            quantize_static(
                source,
                target,
                _Crops(crops),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTISED),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
                calibrate_method=CalibrationMethod.MinMax,
            )
            return onnx.load(target)
    finally:
        logger.setLevel(level)
