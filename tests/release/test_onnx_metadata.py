"""Contract id, licence and lineage are in the ONNX files, and do not change the contract id."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from faceops.base.errors import FaceOpsError
from faceops.cli import main
from faceops.release.bundle import Bundle
from faceops.release.contract import (
    DETECTOR,
    EMBEDDER,
    EMBEDDER_INT8,
    LANDMARKS,
    VERIFIER,
    read_release,
    write_release,
)
from faceops.release.onnx_metadata import add_metadata, read_metadata
from faceops.weights import read_catalogue
from tests.releases import add_int8, noisy_embedder


@pytest.fixture
def labelled(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny release with int8 and metadata."""
    folder = add_int8(tiny_folder, tmp_path / "labelled")
    release = read_release(folder).model_copy(
        update={"git_commit": "abc-dirty", "dvc_lock_sha256": "def"}
    )
    write_release(add_metadata(folder, release), folder)
    return folder


def test_models_carry_their_origin_and_run_as_before(
    labelled: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release, before = read_release(labelled), Bundle.load(tiny_folder)
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    after = Bundle.load(labelled)
    assert after.release.contract_id == before.release.contract_id
    assert np.array_equal(after.embed(crops), before.embed(crops))
    int8 = Bundle.load(labelled, precision="int8").release
    for name, contract_id in (
        (EMBEDDER, release.contract_id),
        (VERIFIER, release.contract_id),
        (EMBEDDER_INT8, int8.contract_id),
    ):
        path = labelled / name
        onnx.checker.check_model(str(path))
        seen = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
        found = read_metadata(path)
        assert {f"faceops.{key}": value for key, value in found.items()}.items() <= seen.items()
        weight = int8.weights[EMBEDDER] if name == EMBEDDER_INT8 else release.weights[name]
        expected = {"contract_id": contract_id, "git_commit": "abc-dirty", "source": weight.source}
        assert expected.items() <= found.items()
        assert found["licence"] == weight.licence
        # What everybody can check by sha256sum.
        assert weight.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for name in (DETECTOR, LANDMARKS):
        assert (labelled / name).read_bytes() == (tiny_folder / name).read_bytes()
    assert release.weights[LANDMARKS].sha256 == read_catalogue()["onet"].sha256

    assert main(["release", "show", str(labelled)]) == 0
    shown = capsys.readouterr().out
    assert f"metadata contract_id: {int8.contract_id}" in shown and "not signed" in shown
    assert main(["release", "show", str(labelled), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert files[EMBEDDER]["metadata"]["git_commit"] == "abc-dirty"
    assert files[DETECTOR]["metadata"] == {}


def test_another_graph_before_or_after_the_metadata_is_refused(
    labelled: Path, tiny_folder: Path
) -> None:
    """Though release.json states the sha256 of the file, and the contract id that galleries pin."""
    content = (labelled / EMBEDDER).read_bytes()
    metadata = content[(tiny_folder / EMBEDDER).stat().st_size :]
    other = onnx.ModelProto(graph=onnx.GraphProto(name="another")).SerializeToString()
    for changed in (noisy_embedder(tiny_folder)[0] + metadata, content + other):
        (labelled / EMBEDDER).write_bytes(changed)
        release = read_release(labelled)
        sha256 = hashlib.sha256(changed).hexdigest()
        weight = release.weights[EMBEDDER].model_copy(update={"sha256": sha256})
        weights = release.weights | {EMBEDDER: weight}
        write_release(release.model_copy(update={"weights": weights}), labelled)
        with pytest.raises(FaceOpsError, match=r"embedder\.onnx .* was changed"):
            Bundle.load(labelled)
