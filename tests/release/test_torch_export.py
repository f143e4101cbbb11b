"""An exported embedder is the torch model, byte for byte the same each time."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.embed_crops import embed_crops
from faceops.errors import FaceOpsError
from faceops.release.export import serialise
from faceops.release.parity import measure_parity, require_parity
from faceops.release.torch_export import export_embedder


@pytest.fixture(scope="module")
def exported() -> tuple[torch.nn.Module, bytes]:
    torch.manual_seed(0)
    model = build_backbone("resnet18", 32).eval()
    return model, serialise(export_embedder(model, 18))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5])
def test_onnx_agrees_with_torch_on_any_batch(
    exported: tuple[torch.nn.Module, bytes], count: int
) -> None:
    model, content = exported
    crops = np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), np.uint8)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(None, {"crops": crops})[0]
    parity = measure_parity(embed_crops(model, crops), found)
    require_parity(parity, 1e-5)
    assert parity.min_cosine > 0.99999
    assert parity.crops == count


@pytest.mark.slow
def test_a_second_export_has_the_same_bytes_and_no_traces(
    exported: tuple[torch.nn.Module, bytes], repository: Path
) -> None:
    model, content = exported
    assert serialise(export_embedder(model, 18)) == content
    for trace in (str(repository).encode(), b"torch_export.py", b"stack_trace", b"0x7f"):
        assert trace not in content


def test_disparity_and_nan_stop_the_export() -> None:
    a = np.eye(4, dtype=np.float32)
    b = a.copy()
    b[0, 1] = 0.01
    with pytest.raises(FaceOpsError, match=r"differ by 0\.01"):
        require_parity(measure_parity(a, b), 1e-3)
    b[0, 1] = np.nan
    with pytest.raises(FaceOpsError, match="differ by nan"):
        require_parity(measure_parity(a, b), 1e-3)
