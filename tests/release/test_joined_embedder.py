"""Two networks in one embedder: their cosines are averaged, from the published bytes."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from faceops.base.errors import FaceOpsError
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.inference_session import open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.photos.open_photo import open_photo
from faceops.release.contract import raw_output
from faceops.release.embedder_graph import adapt_embedder
from faceops.release.export import serialise
from faceops.release.int8_graph import fold_constants, quantise_embedder
from faceops.release.joined_embedder import (
    centre_embeddings,
    centre_of,
    dlib_graph,
    mirror_embedder,
    raw_embedding,
    with_dlib,
    without_mirror,
)
from faceops.release.onnx_graph import embedding_size
from faceops.weights import read_catalogue
from tests.release.test_int8_graph import small_net

CROPS = np.random.default_rng(3).integers(0, 256, (4, 112, 112, 3), np.uint8)


def embed(model: onnx.ModelProto, crops: np.ndarray) -> np.ndarray:
    return np.asarray(open_session(serialise(model), 1).run(None, {"crops": crops})[0])


@pytest.fixture(scope="module")
def files(weights_dir: Path) -> list[bytes]:
    catalogue = read_catalogue()
    return [(weights_dir / catalogue[n].file).read_bytes() for n in ("dlib", "dlib_manifest")]


@pytest.fixture(scope="module")
def sface(weights_dir: Path) -> onnx.ModelProto:
    return adapt_embedder(onnx.load(weights_dir / read_catalogue()["sface"].file))


def test_cosines_are_averaged_by_the_shares(sface, files):
    share = 0.25
    joined = with_dlib(sface, share)
    found = embed(joined, CROPS)
    one, other = embed(sface, CROPS), embed(dlib_graph(*files, opset=11), CROPS)
    assert found.shape == (4, embedding_size(joined)) == (4, 256)
    expected = (1 - share) * one @ one.T + share * other @ other.T
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-5)
    assert serialise(joined) == serialise(with_dlib(sface, share))
    assert with_dlib(sface, 0) is sface
    raw = raw_embedding(joined)
    assert raw == raw_embedding(sface) is not None
    session = open_session(serialise(joined) + raw_output(raw), 1)
    together, first = session.run(None, {"crops": CROPS})
    assert np.array_equal(together, found)
    np.testing.assert_allclose(first / np.linalg.norm(first, axis=1)[:, None], one, atol=1e-6)


def test_the_mean_embedding_is_subtracted(sface):
    plain = embed(sface, CROPS)
    mean = plain.mean(axis=0)
    centred = centre_embeddings(sface, mean)
    expected = (plain - mean) / np.linalg.norm(plain - mean, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(centred, CROPS), expected, atol=1e-5)
    assert centre_of(sface) is None
    np.testing.assert_array_equal(centre_of(with_dlib(centred, 0.3)), mean)
    assert raw_embedding(with_dlib(centred, 0.3)) == raw_embedding(sface)


def test_a_crop_and_its_mirror_image_are_averaged(sface):
    mirrored = mirror_embedder(sface)
    raw = raw_embedding(mirrored)
    assert raw == raw_embedding(sface) is not None

    def outputs(model: onnx.ModelProto, crops: np.ndarray) -> list[np.ndarray]:
        return open_session(serialise(model) + raw_output(raw), 1).run(None, {"crops": crops})

    plain, flipped = (outputs(sface, crops)[1] for crops in (CROPS, CROPS[:, :, ::-1].copy()))
    embeddings, lengths = outputs(mirrored, CROPS)
    mean = (plain + flipped) / 2
    np.testing.assert_allclose(lengths, mean, atol=1e-4 * np.abs(mean).max())
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    np.testing.assert_allclose(embed(mirrored, CROPS[:1]), expected[:1], atol=1e-5)


def test_the_graph_holds_the_published_bytes_which_fold_to_floats(files):
    graph = dlib_graph(*files, opset=18)
    held = [t.raw_data for t in graph.graph.initializer if t.raw_data and t.raw_data in files[0]]
    assert sum(map(len, held)) > 0.99 * len(files[0])
    folded = fold_constants(graph)
    kinds = [node.op_type for node in folded.graph.node]
    assert kinds.count("Cast") == 1 and kinds.count("Conv") == 29
    np.testing.assert_allclose(embed(folded, CROPS), embed(graph, CROPS), atol=1e-5)


def test_without_mirror_undoes_it_in_a_joined_graph():
    mean = np.full(embedding_size(small_net()), 0.1)
    plain, mirrored = (
        with_dlib(centre_embeddings(one, mean), 0.5)
        for one in (small_net(), mirror_embedder(small_net()))
    )
    assert np.abs(embed(mirrored, CROPS) - embed(plain, CROPS)).max() > 1e-3
    once = without_mirror(mirrored)
    assert len(once.graph.node) == len(plain.graph.node)
    np.testing.assert_array_equal(embed(once, CROPS), embed(plain, CROPS))
    assert serialise(without_mirror(plain)) == serialise(plain)


def test_int8_keeps_the_first_layers_of_both_networks_in_float32():
    joined = with_dlib(mirror_embedder(small_net()), 0.5)
    quantised = quantise_embedder(joined, CROPS, float_layers=1)
    made_by = {name: node.op_type for node in quantised.graph.node for name in node.output}
    floats = [
        node.op_type
        for node in quantised.graph.node
        if node.op_type in ("Conv", "MatMul")
        and "DequantizeLinear" not in [made_by.get(name) for name in node.input]
    ]
    assert sorted(floats)[:2] == ["Conv", "Conv"]  # of each network one
    assert floats.count("MatMul") == 2  # dlib's alignment
    assert (embed(joined, CROPS) * embed(quantised, CROPS)).sum(axis=1).min() > 0.98
    lengths = []
    for model in (joined, quantised):
        session = open_session(serialise(model) + raw_output(raw_embedding(model)), 1)
        raw = session.run(None, {"crops": CROPS})[1]
        lengths.append(np.linalg.norm(raw, axis=1))
    np.testing.assert_allclose(*lengths, rtol=0.1)


def test_dlibs_network_knows_people(files, weights_dir, lfw_root):
    # Its accuracy on LFW is that of the original weights only with the right alignment, colours,
    # padding and order of layers.
    catalogue = read_catalogue()
    detector = Detector(with_symbolic_size((weights_dir / catalogue["yunet"].file).read_bytes()))
    finder = FaceFinder(detector, LandmarkRefiner(weights_dir / catalogue["onet"].file))
    people = ("Pete_Sampras", "Tiger_Woods", "Winona_Ryder", "Vicente_Fox", "Naomi_Watts")
    crops = []
    for person in people:
        for number in (1, 2, 3, 4):
            path = lfw_root / "lfw-deepfunneled" / person / f"{person}_{number:04}.jpg"
            faces = finder.find(open_photo(path).pixels)
            crops.append(max(faces, key=lambda face: face.detection.size).crop)
    embeddings = embed(dlib_graph(*files, opset=18), np.stack(crops))
    distances = np.linalg.norm(embeddings[:, None] - embeddings, axis=2)
    same = np.repeat(np.arange(5), 4)[:, None] == np.repeat(np.arange(5), 4)
    # dlib's tolerance of .6 for its own length of about 1.4 is .43 of unit vectors.
    assert distances[same].max() < 0.45 < np.quantile(distances[~same], 0.1)


def test_a_manifest_of_other_weights_is_one_sentence(files):
    with pytest.raises(FaceOpsError, match="dlib and dlib_manifest do not fit together"):
        dlib_graph(files[0][:-1], files[1], opset=18)
    with pytest.raises(FaceOpsError, match="dlib and dlib_manifest do not fit together"):
        dlib_graph(files[0], b"{}", opset=18)
