"""The published release: its files follow from the code and weights.toml, and assemble anywhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.registry import FILES, published_folder
from faceops.registry.published import COPIED, calibration_people, join, load_published, people_mark
from faceops.registry.published.write import MADE_OF, parts_of, write_published
from faceops.release.contract import (
    DETECTOR,
    EMBEDDER,
    LANDMARKS,
    SCHEMA_VERSION,
    VERIFIER,
    Release,
    read_release,
    write_release,
)
from faceops.release.release_file import is_synthetic
from faceops.weights import read_catalogue
from tests.architecture.test_packages import HEAVY

LOAD = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY!r}))  # importing one fails
from faceops.registry.published import load_published
print(load_published().release.contract_id)
"""


@pytest.fixture
def cache(weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the weights are at hand."""
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACEOPS_WEIGHTS", str(weights_dir))
    return tmp_path / "cache"


def stated() -> Release:
    return Release.model_validate(json.loads((FILES / "release.json").read_text("utf-8")))


def test_the_committed_statement_follows_the_schema_and_the_weights():
    release, catalogue = stated(), read_catalogue()
    assert release.schema_version == SCHEMA_VERSION
    assert release.contract_id == release.expected_contract_id()
    assert release.weights[LANDMARKS].sha256 == catalogue["onet"].sha256
    assert release.weights[VERIFIER].sha256 == sha256_file(FILES / VERIFIER)
    for file, names in MADE_OF.items():
        weight = release.weights[file]
        assert all(f"{name}: {catalogue[name].what}" in weight.source for name in names)
        assert weight.licence == " and ".join(catalogue[name].licence for name in names)
        card = (FILES / "model_card.md").read_text("utf-8")
        assert all(catalogue[name].terms in card for name in names)
    assert not is_synthetic(release.data)
    assert release.thresholds.data == "3,199 validation people of lfw"
    assert release.contract_id in (FILES / "model_card.md").read_text("utf-8")


def test_it_assembles_at_once_in_two_processes_that_have_the_core_packages_only(cache, weights_dir):
    both = [
        subprocess.Popen([sys.executable, "-c", LOAD], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [one.communicate()[0].strip() for one in both] == [stated().contract_id] * 2
    folder = published_folder()
    assert {path.name for path in folder.iterdir()} == {*COPIED, *MADE_OF}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert not list((cache / "weights").iterdir())

    # The code makes the graphs of parts.json from the weights of weights.toml.
    from faceops.embedding.backbones.mobilefacenet import sface_centre
    from faceops.faces.detector import with_symbolic_size
    from faceops.release.embedder_graph import adapt_embedder
    from faceops.release.export import serialise
    from faceops.release.joined_embedder import centre_embeddings, mirror_embedder, with_dlib

    catalogue = read_catalogue()
    sface = adapt_embedder(onnx.load(weights_dir / catalogue["sface"].file))
    centred = centre_embeddings(mirror_embedder(sface), sface_centre())
    embedder = serialise(with_dlib(centred, stated().params["export"]["dlib_share"]))
    assert (folder / EMBEDDER).read_bytes().startswith(embedder)
    yunet = (weights_dir / catalogue["yunet"].file).read_bytes()
    assert (folder / DETECTOR).read_bytes() == with_symbolic_size(yunet)

    # A damaged file is noticed, and made again.
    (folder / EMBEDDER).write_bytes(embedder[:-1])
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    lengths = np.linalg.norm(load_published().embed(crops).embeddings, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_a_cache_that_cannot_be_written_is_one_sentence(cache):
    cache.write_text("a file")
    with pytest.raises(FaceOpsError, match=r"cannot be kept in .*; set FACEOPS_CACHE to a folder"):
        load_published()


def test_parts_and_their_joining_are_inverse():
    draw = np.random.default_rng(0)
    first, second = draw.bytes(40_000), draw.bytes(10_000)
    weights = {"one": first, "two": second, "three": first}  # of equal ones the first is taken
    short = first[25_000:25_250]
    target = (
        b"begin" + first[1:20_001] + b"between" + second[301:812] + short + first[30_000:] + b"end"
    )
    parts = parts_of(target, weights)
    assert parts["pieces"] == [
        (5, "one", 1, 20_000), (7, "two", 301, 511), (250, "one", 30_000, 10_000),
    ]  # fmt: skip
    assert join(parts, weights) == join(json.loads(json.dumps(parts)), weights) == target
    assert parts_of(first[:700], weights)["pieces"] == [(0, "one", 0, 700)]
    assert join(parts_of(b"", weights), weights) == b""


def test_a_finished_build_writes_the_same_release(cache, bundle_of_lfw, tmp_path):
    release = write_published(bundle_of_lfw, tmp_path / "files")
    assert release.contract_id == stated().contract_id
    written = {path.name for path in (tmp_path / "files").iterdir()}
    assert written == {*COPIED, "parts.json", "people.txt"}
    assert (tmp_path / "files/people.txt").read_text("ascii").split() == [people_mark("Ann Lee")]
    sure = read_release(bundle_of_lfw / "build/export")
    write_release(
        sure.model_copy(update={"data": {"sources": {"synthetic": {}}}}),
        bundle_of_lfw / "build/export",
    )
    with pytest.raises(FaceOpsError, match="is not SFace as published, calibrated on real photos"):
        write_published(bundle_of_lfw, tmp_path / "files")


@pytest.fixture
def bundle_of_lfw(sface_bundle: Path, weights_dir: Path, tmp_path: Path) -> Path:
    """A repository with a build that states SFace and dlib as published, of photos from lfw."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from faceops.embedding.backbones.mobilefacenet import sface_centre
    from faceops.faces.inference_session import open_session
    from faceops.release.export import serialise
    from faceops.release.joined_embedder import centre_embeddings, dlib_graph, mirror_embedder

    catalogue, share = read_catalogue(), stated().params["export"]["dlib_share"]
    files = [(weights_dir / catalogue[n].file).read_bytes() for n in ("dlib", "dlib_manifest")]
    build = tmp_path / "root/build"
    shutil.copytree(sface_bundle, build / "export")
    release = read_release(build / "export")
    source = f"sface: {read_catalogue()['sface'].what}, as published, not trained further"
    embedder = release.weights[EMBEDDER].model_copy(update={"source": source})
    update = {
        "weights": release.weights | {EMBEDDER: embedder},
        "embedding_size": 256,
        "data": {"sources": {"lfw": {}}},
        "params": {"export": stated().params["export"] | {"parity_crops": 4}},
    }
    write_release(release.model_copy(update=update), build / "export")
    crops = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), np.uint8)
    for folder in ("crop", "embed", "evaluate", "split"):
        (build / folder).mkdir()
    np.save(build / "crop/crops.npy", crops)
    dlib = open_session(serialise(dlib_graph(*files, opset=18)), 1).run(None, {"crops": crops})[0]
    centre = sface_centre()
    network = onnx.load(sface_bundle / EMBEDDER)
    del network.graph.output[1:]
    centred = centre_embeddings(mirror_embedder(network), centre)
    onnx.save(centred, build / "export" / EMBEDDER)
    sface = open_session(serialise(centred), 1).run(None, {"crops": crops})[0]
    both = np.concatenate([(1 - share) ** 0.5 * sface, share**0.5 * dlib], axis=1)
    np.save(build / "embed/embeddings.npy", both)
    shutil.copy(FILES / "evaluation.json", build / "evaluate")
    table = pa.table({"person": ["Ann_Lee", "Bo", "Ann Lee"], "split": ["val", "test", "train"]})
    pq.write_table(table, build / "split/faces.parquet")
    return build.parent


def test_the_people_that_calibrated_it_are_known_by_name():
    people = ["George W. Bush", "nobody of this name", "Zydrunas_Ilgauskas"]
    assert calibration_people(people)
    assert "nobody of this name" not in calibration_people(people)
