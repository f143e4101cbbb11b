"""A release runs on the device that was asked for, or not at all; what ran is stated."""

import warnings

import numpy as np
import onnxruntime
import pytest

from faceops.base.errors import UsageError
from faceops.cli import main
from faceops.faces.inference_session import choose_device, open_session
from faceops.release.bundle import Bundle

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
HAS_CUDA = CUDA in onnxruntime.get_available_providers()
without_cuda = pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime was built for CUDA")


@without_cuda
def test_a_session_that_onnx_runtime_moved_to_the_cpu_is_refused(weights_dir):
    model = (weights_dir / "onet.onnx").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fallen = onnxruntime.InferenceSession(model, providers=[CUDA, CPU])
    assert fallen.get_providers() == [CPU]  # ONNX Runtime itself only warns
    with pytest.raises(UsageError, match=r"built without CUDA.*onnxruntime-gpu.*--device cpu"):
        open_session(model, 1, device="cuda")


@without_cuda
def test_auto_is_the_cpu_and_says_why_only_where_cuda_was_expected(weights_dir, monkeypatch):
    """A runtime that lists CUDA and cannot use it: its libraries or the GPU are missing."""
    model = (weights_dir / "onet.onnx").read_bytes()
    assert choose_device("auto", model) == choose_device("cpu", model) == ("cpu", "")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    device, why = choose_device("auto", model)
    assert device == "cpu"
    assert "the CPU is used: " in why and "cannot use CUDA on this machine" in why
    with pytest.raises(UsageError, match=r"cannot use CUDA on this machine.*nvidia-smi"):
        choose_device("cuda", model)


@without_cuda
def test_a_bundle_states_its_device_and_why_it_is_not_cuda(tiny_folder, monkeypatch):
    bundle = Bundle.load(tiny_folder, device="auto")
    assert bundle.runs_on == f"cpu (ONNX Runtime {onnxruntime.__version__})"
    assert bundle.note == ""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    note = Bundle.load(tiny_folder, note="from the cache", device="auto").note
    assert note.startswith("from the cache; the CPU is used: ")
    assert Bundle.load(tiny_folder, note=note, device="auto").note == note  # said once


@without_cuda
def test_cuda_without_a_provider_is_one_sentence_and_exit_code_2(tiny_folder, tmp_path, capsys):
    people, gallery = tmp_path / "people", tmp_path / "gallery"
    people.mkdir()
    arguments = [str(people), "--gallery", str(gallery), "--bundle", str(tiny_folder)]
    assert main(["enrol", *arguments, "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in error
    assert not gallery.exists()


@pytest.mark.skipif(not HAS_CUDA, reason="needs a GPU and onnxruntime-gpu")
def test_cuda_gives_the_embeddings_of_the_cpu(sface_bundle):
    crops = np.random.default_rng(0).integers(0, 256, (70, 112, 112, 3), np.uint8)
    cpu, cuda = (Bundle.load(sface_bundle, device=one).embed(crops)[0] for one in ("cpu", "cuda"))
    assert np.einsum("nd,nd->n", cpu, cuda).min() > 0.99999
