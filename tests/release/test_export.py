"""An export is reproducible and compared with its source models; so is the verifier's graph."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from faceops.base.errors import FaceOpsError
from faceops.release.bundle import Bundle
from faceops.release.contract import EMBEDDER, MODEL_FILES
from faceops.release.embedder_graph import measure_parity, require_parity
from faceops.release.export import pair_verifier, verifier_graph
from faceops.stages.export import verifier_difference
from faceops.verification.verifier import Calibration, Verifier
from tests.release.tiny_release import VERIFIER, write_tiny
from tests.releases import without_raw_embedding


def test_two_exports_have_the_same_bytes(tiny_folder, weights_dir, tmp_path):
    again = write_tiny(tmp_path / "again", weights_dir)
    for name in (*MODEL_FILES, "release.json"):
        assert (again / name).read_bytes() == (tiny_folder / name).read_bytes()


def test_the_raw_embedding_is_an_output_that_changes_no_embedding_and_no_contract(
    tiny_bundle, tmp_path
):
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
    assert old.embed(crops).embeddings.tobytes() == new.embed(crops).embeddings.tobytes()
    assert np.isnan(old.embed(crops).lengths).all()
    raw = crops.reshape(5, 8, 14, 8, 14, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(5, -1)
    projection = numpy_helper.to_array(onnx.load_from_string(graph).graph.initializer[0])
    lengths = np.linalg.norm(raw @ projection, axis=1)
    np.testing.assert_allclose(new.embed(crops).lengths, lengths, rtol=1e-5)


def test_a_difference_from_torch_or_nan_stops_the_export():
    a = np.eye(4, dtype=np.float32)
    b = a.copy()
    b[0, 1] = 0.01
    with pytest.raises(FaceOpsError, match=r"differ by 0\.01"):
        require_parity(measure_parity(a, b), 1e-3)
    b[0, 1] = np.nan
    with pytest.raises(FaceOpsError, match="differ by nan"):
        require_parity(measure_parity(a, b), 1e-3)


def test_another_verifier_than_the_exported_one_stops_the_export(tiny_bundle):
    crops = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), np.uint8)
    rows = tiny_bundle.embed(crops).embeddings
    assert verifier_difference(VERIFIER, tiny_bundle.verify, rows, 1e-4) <= 1e-4
    other = Verifier(VERIFIER.weight, VERIFIER.bias - 1, "linear")
    with pytest.raises(FaceOpsError, match=r"verifier\.onnx differ by .* export\.max_difference"):
        verifier_difference(other, tiny_bundle.verify, rows, 1e-4)


SIZE = 32
MAX_DIFFERENCE = 1e-5  # of a probability
KNOTS = np.array([-6, -2.5, -1, -0.8, 1.5, 3], np.float32)
VALUES = np.array([-9, -7, -2, -1.2, 0.5, 7], np.float32)
CALIBRATIONS = [
    Calibration("platt"),
    Calibration("temperature"),
    Calibration("isotonic", KNOTS, VALUES),
    Calibration("isotonic", KNOTS[:2], VALUES[:2]),
]


def verifier(calibration: Calibration) -> Verifier:
    draw = np.random.default_rng(3)
    return Verifier(-draw.uniform(2, 14, SIZE).astype(np.float32), 9.5, "linear", calibration)


def pairs(count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of unit vectors float32 (count, SIZE), from identical to unrelated."""
    draw = np.random.default_rng(0)
    a, noise = draw.normal(size=(2, count, SIZE))
    b = a + np.linspace(0, 3, count)[:, None] * noise
    a, b = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (a, b))
    return a.astype(np.float32), b.astype(np.float32)


@dataclass
class OnDisk:
    """The parts of a bundle that hold its verifier, run by ONNX Runtime."""

    folder: Path
    session: onnxruntime.InferenceSession
    release: Any

    def verify(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.session.run(None, {"a": a, "b": b})[0]
        return result


def on_disk(folder: Path, content: bytes, size: int = SIZE) -> Any:
    (folder / "verifier.onnx").write_bytes(content)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    thresholds = SimpleNamespace(normalisation=None)
    release = SimpleNamespace(verifier_kind="linear", embedding_size=size, thresholds=thresholds)
    return OnDisk(folder, session, release)


@pytest.mark.parametrize("calibration", CALIBRATIONS)
@pytest.mark.parametrize("opset", [17, 18, 21])
def test_graph_equals_the_verifier_and_can_be_read_back(tmp_path, calibration, opset):
    wanted = verifier(calibration)
    bundle = on_disk(tmp_path, verifier_graph(wanted, opset).SerializeToString())
    a, b = pairs()
    np.testing.assert_allclose(bundle.verify(a, b), wanted.probability(a, b), atol=MAX_DIFFERENCE)
    found = pair_verifier(bundle)
    np.testing.assert_array_equal(found.weight, wanted.weight)
    assert (found.bias, found.kind) == (wanted.bias, wanted.kind)
    assert found.calibration.method == calibration.method
    np.testing.assert_array_equal(found.calibration.knots, calibration.knots)
    np.testing.assert_allclose(found.calibration.log_odds, calibration.log_odds, atol=1e-5)


def test_graph_is_the_calibration_at_its_knots_between_and_beyond(tmp_path):
    calibration = CALIBRATIONS[2]
    one = Verifier(np.array([-1], np.float32), 0.0, "distance", calibration)
    bundle = on_disk(tmp_path, verifier_graph(one, 18).SerializeToString(), 1)
    # Below -9 ONNX Runtime's sigmoid is too coarse to be turned back into log odds.
    below = np.append(KNOTS[KNOTS < 0], np.linspace(-6, -0.01, 57)).astype(np.float32)
    a = np.sqrt(-below)[:, None]
    raw = -(a * a)[:, 0]
    seen = bundle.verify(a, np.zeros_like(a)).astype(np.float64)
    np.testing.assert_allclose(np.log(seen / (1 - seen)), calibration(raw), atol=2e-3)
    shifted = Verifier(np.array([-1], np.float32), 20.0, "distance", calibration)
    bundle = on_disk(tmp_path, verifier_graph(shifted, 18).SerializeToString(), 1)
    a = np.sqrt(20 - np.append(KNOTS, [3.5, 5.0]))[:, None].astype(np.float32)
    wanted = shifted.probability(a, np.zeros_like(a))
    np.testing.assert_allclose(bundle.verify(a, np.zeros_like(a)), wanted, atol=MAX_DIFFERENCE)


def test_file_that_holds_no_verifier_is_refused(tmp_path):
    bundle = on_disk(tmp_path, verifier_graph(verifier(CALIBRATIONS[0]), 18).SerializeToString())
    bundle.release.embedding_size = 8
    with pytest.raises(FaceOpsError, match="embeddings of 32 numbers"):
        pair_verifier(bundle)
    (tmp_path / "verifier.onnx").write_bytes(b"not a model at all")
    with pytest.raises(FaceOpsError, match="not a pair verifier"):
        pair_verifier(bundle)
