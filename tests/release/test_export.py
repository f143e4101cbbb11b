"""An export is reproducible, and is compared with its source models."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from faceops.base.errors import FaceOpsError
from faceops.release.bundle import Bundle
from faceops.release.contract import EMBEDDER, MODEL_FILES
from faceops.release.export import measure_parity, require_parity, verifier_difference
from faceops.verification.verifier import Verifier
from tests.release.tiny_release import VERIFIER, write_tiny
from tests.releases import without_raw_embedding


def test_two_exports_have_the_same_bytes(
    tiny_folder: Path, weights_dir: Path, tmp_path: Path
) -> None:
    again = write_tiny(tmp_path / "again", weights_dir)
    for name in (*MODEL_FILES, "release.json"):
        assert (again / name).read_bytes() == (tiny_folder / name).read_bytes()


def test_the_raw_embedding_is_an_output_that_changes_no_embedding_and_no_contract(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """So galleries of a release without it stay valid."""
    folder = without_raw_embedding(tiny_bundle.folder, tmp_path / "before")
    content, graph = ((one / EMBEDDER).read_bytes() for one in (tiny_bundle.folder, folder))
    assert content.startswith(graph)
    appended = onnx.load_from_string(content[len(graph) :])
    made = helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["batch", "raw_size"])
    assert appended == onnx.ModelProto(graph=onnx.GraphProto(output=[made]))
    crops = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), np.uint8)
    old, new = Bundle.load(folder), tiny_bundle
    assert old.release.contract_id == new.release.contract_id
    assert old.embed(crops).tobytes() == new.embed(crops).tobytes()
    assert np.isnan(old.embed_with_lengths(crops).lengths).all()
    raw = crops.reshape(5, 8, 14, 8, 14, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(5, -1)
    projection = numpy_helper.to_array(onnx.load_from_string(graph).graph.initializer[0])
    lengths = np.linalg.norm(raw @ projection, axis=1)
    np.testing.assert_allclose(new.embed_with_lengths(crops).lengths, lengths, rtol=1e-5)


def test_a_difference_from_torch_or_nan_stops_the_export() -> None:
    a = np.eye(4, dtype=np.float32)
    b = a.copy()
    b[0, 1] = 0.01
    with pytest.raises(FaceOpsError, match=r"differ by 0\.01"):
        require_parity(measure_parity(a, b), 1e-3)
    b[0, 1] = np.nan
    with pytest.raises(FaceOpsError, match="differ by nan"):
        require_parity(measure_parity(a, b), 1e-3)


def test_another_verifier_than_the_exported_one_stops_the_export(tiny_bundle: Bundle) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), np.uint8)
    rows = tiny_bundle.embed(crops)
    assert verifier_difference(VERIFIER, tiny_bundle.verify, rows, 1e-4) <= 1e-4
    other = Verifier(VERIFIER.weight, VERIFIER.bias - 1, "linear")
    with pytest.raises(FaceOpsError, match=r"verifier\.onnx differ by .* export\.max_difference"):
        verifier_difference(other, tiny_bundle.verify, rows, 1e-4)
