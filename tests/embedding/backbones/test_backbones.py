"""The pretrained start is SFace, and a model on disk is the model or is refused."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from faceops.base.errors import FaceOpsError
from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.backbones.mobilefacenet import load_sface
from faceops.embedding.embedder import choose_device, embed_crops
from faceops.embedding.model_file import load_model, save_model
from tests.embedding.faces_for_training import coloured_people

SFACE = "face_recognition_sface_2021dec.onnx"
CROPS = coloured_people(3, 2).crops


def test_pretrained_start_agrees_with_its_file_in_onnx_runtime(weights_dir: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession((weights_dir / SFACE).resolve(), options)
    pixels = CROPS.transpose(0, 3, 1, 2).astype(np.float32)
    raw = np.concatenate([session.run(None, {"data": one[None]})[0] for one in pixels])
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    found = embed_crops(load_sface(weights_dir / SFACE), CROPS, batch=4)
    assert np.abs(found - expected).max() < 1e-5


def test_another_onnx_file_is_refused(weights_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(FaceOpsError, match=r"onet.onnx lacks conv_1_conv2d_weight"):
        load_sface(weights_dir / "onet.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(FaceOpsError, match=r"text\.onnx"):
        load_sface(tmp_path / "text.onnx")


def test_a_stored_model_embeds_as_before(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_backbone("mobilefacenet", 16)
    save_model(model, tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    assert not loaded.training
    assert np.array_equal(embed_crops(loaded, CROPS), embed_crops(model, CROPS))
    save_model(loaded, tmp_path / "b")
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_damaged_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FaceOpsError, match=r"model.json does not exist"):
        load_model(tmp_path)
    torch.manual_seed(0)
    save_model(build_backbone("mobilefacenet", 8), tmp_path)
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(FaceOpsError, match=r"is not what model.json describes"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"backbone": "resnet18"}))
    with pytest.raises(FaceOpsError, match=r"model.json is damaged"):
        load_model(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_asking_for_an_absent_gpu_is_an_error() -> None:
    assert choose_device("auto").type == "cpu"
    with pytest.raises(FaceOpsError, match=r"train.device = cuda"):
        choose_device("cuda")
