"""An exported embedder is the torch model, byte for byte the same each time."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.embedding.backbones.layers import Branches, L2Pool, conv_unit
from faceops.embedding.backbones.mobilefacenet import Bottleneck
from faceops.embedding.embedder import Embedder, InputStage, embed_crops
from faceops.release.embedder_graph import export_embedder
from faceops.release.export import measure_parity, require_parity, serialise


@pytest.fixture(scope="module")
def exported() -> tuple[torch.nn.Module, bytes]:
    """A small network of every kind of layer that the backbones have: a whole one takes long.

    The stage tests export a resnet18.
    """
    torch.manual_seed(0)
    trunk = nn.Sequential(
        InputStage(40, "grey"),
        conv_unit(1, 8, 3, stride=2, padding=1, prelu=True),
        Branches(L2Pool(), nn.MaxPool2d(3, 1, 1), conv_unit(8, 8, (1, 7), padding=(0, 3))),
        Bottleneck(24, 24, 48, stride=1),
    )
    head = nn.Sequential(
        Branches(nn.Conv2d(24, 24, 20, groups=24), nn.AdaptiveAvgPool2d(1)),
        nn.BatchNorm2d(48),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(48, 16, bias=False),
        nn.BatchNorm1d(16),
    )
    model = Embedder("", 16, trunk, head, 40, "grey")
    for _ in range(3):  # so that the running statistics do something
        model(torch.rand(4, 3, 112, 112) * 255)
    return model.eval(), serialise(export_embedder(model, 18))


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
