"""An embedder from elsewhere with its adapter.json: SFace's file embeds as our release does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from faceops.base.errors import FaceOpsError, UsageError
from faceops.release.bundle import Bundle
from faceops.release.evaluate.measured_model import ForeignEmbedder, MeasuredModel, open_model

SFACE = {"layout": "NCHW", "colour": "RGB", "size": 112}


def write(folder: Path, adapter: dict[str, Any] | str) -> Path:
    folder.mkdir(exist_ok=True)
    text = adapter if isinstance(adapter, str) else json.dumps(adapter)
    (folder / "adapter.json").write_text(text)
    return folder


def mean_colour(folder: Path, shape: list[int | str], outputs: int = 1) -> Path:
    """Write an embedder that returns the mean of each channel, times five."""
    axes = [1, 2] if shape[-1] == 3 else [2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Mul", ["mean", "five"], ["embedding"]),
    ]
    names = ["embedding", "mean"][:outputs]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in names],
        [helper.make_tensor("five", TensorProto.FLOAT, [1], [5.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "embedder.onnx")
    return folder


def test_sface_by_adapter_embeds_and_finds_faces_as_the_release_does(
    sface_bundle, synthetic_set, weights_dir, tmp_path
):
    folder = write(tmp_path / "sface", SFACE | {"source": "OpenCV Zoo"})
    shutil.copy(weights_dir / "face_recognition_sface_2021dec.onnx", folder / "embedder.onnx")
    foreign, ours = open_model(folder), open_model(sface_bundle)
    assert foreign.finder_identity == ours.finder_identity  # faces are searched once for both
    earlier = Bundle.load(sface_bundle)
    alignment = earlier.release.alignment.model_copy(update={"version": 1})
    release = earlier.release.model_copy(update={"alignment": alignment})
    earlier = replace(earlier, release=release)
    assert MeasuredModel.from_bundle(earlier).finder_identity != ours.finder_identity
    crops = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
    crops[:3] = crops[:3].mean((1, 2), keepdims=True)
    theirs = foreign.embed(crops).embeddings
    assert np.abs(theirs - Bundle.load(sface_bundle).embed(crops).embeddings).max() < 1e-5
    assert foreign.thresholds is None
    distance = ((theirs[0] - theirs[4]) ** 2).sum()
    assert foreign.verifier.logit(theirs[:1], theirs[4:])[0] == pytest.approx(-distance, abs=1e-5)
    wrong = write(folder, SFACE | {"colour": "BGR"})
    assert np.abs(ForeignEmbedder.load(wrong).embed(crops) - theirs).max() > 0.01


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_pixels_are_preprocessed_as_the_adapter_says(tmp_path, layout):
    shape: list[int | str] = ["n", 3, 56, 56] if layout == "NCHW" else [2, 56, 56, 3]
    folder = mean_colour(tmp_path / "net", shape)
    write(folder, {
        "layout": layout, "colour": "BGR", "size": 56, "mean": [10, 20, 30], "scale": 0.5,
    })  # fmt: skip
    crops = np.zeros((3, 112, 112, 3), np.uint8)
    crops[:] = (130, 100, 70)
    crops[2] = (31, 21, 10)
    embedder = ForeignEmbedder.load(folder)
    assert embedder.embedding_size == 3
    seen = np.array([[60, 80, 100], [60, 80, 100], [0, 1, 1]])  # BGR minus the mean
    wanted = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    assert embedder.embed(crops) == pytest.approx(wanted, abs=1e-5)
    assert embedder.embed(crops[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        ("{", "is not readable JSON"),
        ({"layout": "NCHW"}, "colour is wrong: Field required"),
        (SFACE | {"size": "112"}, "size is wrong"),
        (SFACE | {"colors": 3}, "colors is wrong: Extra inputs"),
        (SFACE | {"alignment": "none"}, "alignment is wrong"),
        (SFACE | {"mean": [1, 2]}, "mean"),
        (SFACE | {"layout": "NHWC"}, "correct layout or size"),
        (SFACE | {"size": 64}, "correct layout or size"),
        (SFACE | {"output": "wrong"}, "has no output 'wrong', only embedding; name one with"),
        (SFACE | {"normalise": False}, "set normalise to true"),
    ],
)
def test_a_wrong_adapter_is_refused_in_one_sentence(tmp_path, adapter, sentence):
    folder = write(mean_colour(tmp_path / "net", ["n", 3, 112, 112]), adapter)
    with pytest.raises(FaceOpsError, match=sentence) as caught:
        ForeignEmbedder.load(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        open_model(tmp_path / "none")
    with pytest.raises(UsageError, match=r"neither a release \(release.json\) nor"):
        open_model(tmp_path)
    with pytest.raises(FaceOpsError, match=r"embedder\.onnx cannot be read"):
        open_model(write(tmp_path, SFACE))
    (tmp_path / "embedder.onnx").write_bytes(b"no model")
    with pytest.raises(FaceOpsError, match="cannot be run by ONNX Runtime"):
        open_model(tmp_path)
    folder = mean_colour(tmp_path / "two", ["n", 3, 112, 112], outputs=2)
    with pytest.raises(FaceOpsError, match="only embedding, mean; name one with `output`"):
        open_model(write(folder, SFACE))
    assert ForeignEmbedder.load(write(folder, SFACE | {"output": "mean"})).embedding_size == 3
