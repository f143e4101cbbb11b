"""An export is reproducible, and is compared with its source models."""

from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.release.bundle import Bundle
from faceops.release.contract import MODEL_FILES
from faceops.release.export import measure_parity, require_parity, verifier_difference
from faceops.verification.verifier import Verifier
from tests.release.tiny_release import VERIFIER, write_tiny


def test_two_exports_have_the_same_bytes(
    tiny_folder: Path, weights_dir: Path, tmp_path: Path
) -> None:
    again = write_tiny(tmp_path / "again", weights_dir)
    for name in (*MODEL_FILES, "release.json"):
        assert (again / name).read_bytes() == (tiny_folder / name).read_bytes()


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
