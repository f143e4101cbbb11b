"""From a torch embedder to its ONNX graph, with preprocessing inside and reproducible bytes."""

import logging
import warnings

import onnx
import torch

from faceops.base.errors import FaceOpsError
from faceops.release.without_prelu import without_prelu
from faceops.release.without_traces import without_traces


class CropsToEmbeddings(torch.nn.Module):
    """uint8 (B, 112, 112, 3) RGB crops -> float32 (B, D) embeddings by `embedder`."""

    def __init__(self, embedder: torch.nn.Module) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.embedder(crops.to(torch.float32).permute(0, 3, 1, 2))
        return embeddings


def export_embedder(embedder: torch.nn.Module, opset: int) -> onnx.ModelProto:
    """Return the ONNX model "crops" uint8 (batch, 112, 112, 3) -> "embeddings" (batch, D).

    `embedder` takes float32 (B, 3, 112, 112) RGB 0-255 and is on the CPU. Two exports of one
    model give the same bytes.

    Raises:
        FaceOpsError: the exporter wrote another opset than `opset`.
    """
    module = CropsToEmbeddings(embedder).eval()
    example = torch.zeros(2, 112, 112, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own deprecations and unused type promotions
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["crops"],
            output_names=["embeddings"],
            opset_version=opset,
            dynamic_shapes={"crops": {0: torch.export.Dim("batch", min=1)}},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise FaceOpsError("torch.onnx.export gave no model; use the pinned torch version.")
    model = without_traces(without_prelu(program.model_proto))
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("", opset) != opset:
        raise FaceOpsError(
            f"the exporter wrote ONNX opset {written['']}, not {opset}; set export.opset to it."
        )
    onnx.checker.check_model(model, full_check=True)
    return model
