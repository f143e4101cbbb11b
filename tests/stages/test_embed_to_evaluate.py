"""The stages embed, verify, export, quantise and evaluate, one after the other on few crops."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from faceops.base.errors import FaceOpsError
from faceops.cli import main as faceops
from faceops.config.params_file import read_params, write_params
from faceops.config.sections import Params
from faceops.embedding.backbones.build import build_backbone, load_model, save_model, weights_sha256
from faceops.embedding.backbones.mobilefacenet import sface_centre
from faceops.embedding.embedder import Embedder
from faceops.faces.inference_session import open_session
from faceops.faces.quality import LengthScale
from faceops.release.bundle import Bundle, run_embedder
from faceops.release.contract import EMBEDDER, EMBEDDER_INT8, read_metadata, read_release
from faceops.release.embedder_graph import export_embedder
from faceops.release.export import assemble, serialise
from faceops.release.joined_embedder import centre_of, mirror_embedder
from faceops.release.release_file import PRECISIONS
from faceops.stages import embed, evaluate, export, quantise, run_stage, train, verify
from faceops.verification.embedded_faces import read_split
from tests.evaluation.simulated import adapting

STAGES = (embed, verify, export, quantise, evaluate)
PHOTOS = 4
PEOPLE = {"train": 12, "val": 8, "test": 8}


def make_inputs(root: Path) -> None:
    """Write crops of 28 people (a pattern each, with noise), their splits, and a small model."""
    draw = np.random.default_rng(0)
    rows, crops = [], []
    for split, people in PEOPLE.items():
        for number in range(people):
            pattern = draw.integers(0, 256, (7, 7, 3)).repeat(16, 0).repeat(16, 1)
            for photo in range(PHOTOS):
                name = f"{split}_{number:02}"
                rows.append(
                    {
                        "crop": len(crops), "photo_id": f"{name}{photo}",
                        "path": f"{name}/{photo}.jpg", "person": name, "split": split,
                        "negative_only": False,
                    }
                )  # fmt: skip
                noisy = pattern + draw.normal(0, 25, pattern.shape)
                crops.append(noisy.clip(0, 255).astype(np.uint8))
    for folder in ("crop", "split", "validate/inputs"):
        (root / "build" / folder).mkdir(parents=True)
    (root / "build/validate/inputs/sources.json").write_text('{"drawn": {"terms": "none"}}')
    np.save(root / "build/crop/crops.npy", np.stack(crops))
    pq.write_table(pa.Table.from_pylist(rows), root / "build/split/faces.parquet")
    imported = [{"path": r["path"], "source": "bc"[r["crop"] // PHOTOS % 2]} for r in rows]
    pq.write_table(pa.Table.from_pylist(imported), root / "build/validate/manifest.parquet")
    cropped = [
        {"path": row["path"], "quality": number % 10 / 10, "status": "accepted"}
        for number, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(cropped), root / "build/crop/faces.parquet")
    torch.manual_seed(0)
    save_model(build_backbone("resnet18", 32, 32), root / "build/train")
    train = {"backbone": "resnet18", "input_size": 32}
    settings = {"train": train, "verify": {"pairs": 100, "default_budget": 0.4}}
    params = Params.model_validate(
        settings
        | {
            "evaluate": {"pairs": 60, "robustness_photos": 0},
            "export": {"parity_crops": 4},
            "quantise": {
                "calibration_crops": 8,
                "float_layers": 1,
                "far": 0.4,
                "max_tar_loss": 0.05,
            },
        }
    )
    write_params(params, root / "params.yaml")


@pytest.fixture(scope="module", autouse=True)
def exported() -> Iterator[dict[str, bytes]]:
    """ONNX files by the weights' SHA-256: stages export a network once, six CPU seconds."""
    files: dict[str, bytes] = {}

    def export_once(model: Embedder, opset: int) -> onnx.ModelProto:
        if (key := weights_sha256(model)) not in files:
            files[key] = export_embedder(model, opset).SerializeToString()
        return onnx.load_from_string(files[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "export_embedder", export_once)
        yield files


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    make_inputs(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for stage in STAGES:
            stage.main()
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Return the outputs of the stages."""
    return {
        str(path.relative_to(root / "build")): path.read_bytes()
        for folder in ("embed", "verify", "export", "quantise", "evaluate")
        for path in sorted((root / "build" / folder).rglob("*"))
        if path.is_file()
    }


OUTPUTS = {
    "embed": ["embed.json", "embedder.onnx", "embeddings.npy", "lengths.npy"],
    "verify": ["thresholds.json", "verifier.json", "verify.json"],
    "export": [
        "detector.onnx", "embedder.onnx", "landmarks.onnx", "release.json", "verifier.onnx",
    ],
    "quantise": ["int8/embedder_int8.onnx", "int8/int8.json", "quantise.json"],
    "evaluate": [
        "calibration.csv", "cmc.csv", "det.csv", "evaluation.json", "identification.csv",
        "mistakes.csv", "model_card.md", "pictures/calibration.png", "pictures/cmc.png",
        "pictures/det.png", "pictures/mistakes_one_person.png",
        "pictures/mistakes_two_people.png", "pictures/promise.png", "pictures/roc.png",
        "pictures/scores.png", "pictures/similarity_map.png", "promise.csv", "report.html",
        "roc.csv", "scores.csv",
    ],
}  # fmt: skip


@pytest.mark.slow
def test_stages_write_their_files_and_the_same_bytes_again(workspace, monkeypatch):
    before = contents(workspace)
    assert sorted(before) == sorted(f"{f}/{name}" for f, names in OUTPUTS.items() for name in names)
    release = read_release(workspace / "build/export")
    assert release.git_commit == release.dvc_lock_sha256 == ""
    assert release.params["train"]["backbone"] == "resnet18" and "evaluate" not in release.params
    assert release.thresholds.data == "8 validation people of drawn"
    assert release.data["splits"]["test"] == {"people": 8, "photos": 32}
    assert release.data["sources"] == {"drawn": {"terms": "none"}}
    source = release.weights[EMBEDDER].source
    assert "by this pipeline, averaged with mirrored crops, its embeddings centred; dlib" in source
    figures = json.loads((workspace / "build/evaluate/evaluation.json").read_text())
    assert figures["people"] == 8
    assert [(row["name"], row["people"]) for row in figures["populations"]] == [("b", 4), ("c", 4)]
    assert figures["verification"]["roc_auc"] > 0.8  # the patterns differ clearly
    monkeypatch.chdir(workspace)
    for stage in (embed, verify, export):  # quantise is repeated below, and evaluate in its tests
        stage.main()
    assert contents(workspace) == before


@pytest.mark.slow
def test_every_stage_uses_the_embeddings_of_the_released_embedder(workspace, copy, exported):
    assert (workspace / "build/embed/embedder.onnx").read_bytes() == (
        workspace / "build/export/embedder.onnx"
    ).read_bytes()
    crops = np.load(workspace / "build/crop/crops.npy")
    embeddings = np.load(workspace / "build/embed/embeddings.npy")
    assert embeddings.dtype == np.float32 and len(embeddings) == len(crops)
    bundle, lengths = Bundle.load(workspace / "build/export"), np.load("build/embed/lengths.npy")
    released = bundle.embed(crops[:16])
    np.testing.assert_allclose(embeddings[:16], released.embeddings, atol=1e-6)
    np.testing.assert_allclose(lengths[:16], released.lengths, rtol=1e-5)
    val = read_split(Path("build/split/faces.parquet"), "val").rows
    rows = pq.read_table("build/split/faces.parquet").to_pylist()
    one_each = {row["person"]: row["crop"] for row in rows[::-1] if row["split"] != "test"}
    model = load_model(Path("build/train"))
    again, (once,) = export_embedder(model, 18), exported.values()
    assert serialise(again) == serialise(onnx.load_from_string(once))
    network = mirror_embedder(again)
    session, chosen = open_session(serialise(network), 1), crops[list(one_each.values())]
    mean = run_embedder(session, chosen, model.embedding_size).embeddings.mean(axis=0)
    centre = centre_of(onnx.load("build/export/embedder.onnx"))
    np.testing.assert_allclose(centre, mean, atol=1e-5)
    model.backbone = "pretrained"  # without an epoch: SFace as published
    kept = embed.centre_embedding(model, "", network, crops)
    np.testing.assert_array_equal(kept, sface_centre())
    np.testing.assert_allclose(embed.centre_embedding(model, "a model", network, crops), centre)
    assert bundle.release.thresholds.length_scale == LengthScale.of(lengths[val])
    (copy / "build/embed/embedder.onnx").write_bytes(b"another")
    with pytest.raises(FaceOpsError, match=r"build/embed is not of the embedder in build/export"):
        evaluate.main()


@pytest.fixture
def copy(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace, as working directory."""
    root = Path(shutil.copytree(workspace, tmp_path / "copy"))
    monkeypatch.chdir(root)
    return root


@pytest.mark.slow
def test_an_int8_that_is_good_enough_goes_into_the_release(workspace, tmp_path, monkeypatch):
    figures = json.loads((workspace / "build/quantise/quantise.json").read_text())
    assert figures["offered"] and figures["why_not"] == ""
    assert figures["people"] == 8 and figures["calibration_crops"] == 8
    assert figures["tar_loss"] < 0.05
    assert figures["bytes"]["int8"] < figures["bytes"]["float32"] / 3
    assert figures["mean_cosine"] > 0.7
    bundle = assemble(workspace, tmp_path / "bundle")
    float32, int8 = (Bundle.load(bundle, precision=name) for name in PRECISIONS)
    assert float32.release.contract_id == read_release(workspace / "build/export").contract_id
    assert int8.release.contract_id != float32.release.contract_id
    carried = {
        name: read_metadata(bundle / name)["contract_id"] for name in (EMBEDDER, EMBEDDER_INT8)
    }
    assert carried[EMBEDDER] == float32.release.contract_id
    assert carried[EMBEDDER_INT8] == int8.release.contract_id
    ours, theirs = int8.release.thresholds, float32.release.thresholds
    assert ours != theirs and ours.photos == theirs.photos == 32
    for name in ("data", "quality_deciles"):
        assert getattr(ours, name) == getattr(theirs, name)
    sources = [one.release.weights[EMBEDDER].source for one in (float32, int8)]
    assert sources[0].replace(", averaged with mirrored crops", "") == sources[1] != sources[0]
    crops = np.load(workspace / "build/crop/crops.npy")[:20]
    one, other = int8.embed(crops), float32.embed(crops)
    assert 0.7 < (one.embeddings * other.embeddings).sum(1).mean() < 0.99999
    shares = [scale.share(lengths) for scale, lengths in zip(
        (ours.length_scale, theirs.length_scale), (one.lengths, other.lengths), strict=True
    )]  # fmt: skip
    np.testing.assert_allclose(*shares, atol=0.1)
    card = (workspace / "build/evaluate/model_card.md").read_text()
    assert int8.release.contract_id in card
    monkeypatch.chdir(workspace)
    assert faceops(["evaluate", "--bundle", str(bundle), "--precision", "int8"]) == 0


@pytest.mark.slow
def test_training_people_calibrate_int8_and_a_large_loss_is_refused(copy, tmp_path):
    made = copy / "build/quantise/int8/embedder_int8.onnx"
    before = made.read_bytes()
    splits = pq.read_table("build/split/faces.parquet", columns=["split"])["split"].to_pylist()
    crops, cosines = np.load("build/crop/crops.npy"), []
    for of_training, most in ((False, 1.0), (True, 0.0)):
        configure(copy, max_tar_loss=most)
        darker = [row for row, split in enumerate(splits) if (split == "train") == of_training]
        crops[darker] //= 3
        np.save("build/crop/crops.npy", crops)
        quantise.main()
        figures = json.loads(Path("build/quantise/quantise.json").read_text())
        cosines.append(figures["min_cosine"])
        assert of_training or made.read_bytes() == before
    assert cosines[0] != cosines[1]
    assert figures["offered"] is False and "falls by 0." in figures["why_not"]
    assert [path.name for path in Path("build/quantise/int8").iterdir()] == ["int8.json"]
    bundle = assemble(copy, tmp_path / "bundle")
    with pytest.raises(FaceOpsError, match=r"bundle offers no int8 .* use --precision float32"):
        Bundle.load(bundle, precision="int8")


@pytest.mark.slow
def test_a_graph_that_cannot_be_quantised_stops_nothing(copy, tmp_path, capsys):
    configure(copy, float_layers=1000)
    quantise.main()
    assert "nothing in this embedder can be quantised" in capsys.readouterr().out
    figures = json.loads(Path("build/quantise/quantise.json").read_text())
    assert figures["offered"] is False and "nothing in this embedder" in figures["why_not"]
    assert read_release(assemble(copy, tmp_path / "bundle")).int8 is None


@pytest.mark.slow
def test_a_release_without_the_stage_or_of_another_export(copy, tmp_path):
    offer = copy / "build/quantise/int8/int8.json"
    content = json.loads(offer.read_text())
    offer.write_text(json.dumps(content | {"made_from": "0" * 64}))
    with pytest.raises(FaceOpsError, match="made for contract 000000000000, the release has"):
        assemble(copy, tmp_path / "bundle")
    shutil.rmtree(copy / "build/quantise")
    assert read_release(assemble(copy, tmp_path / "bundle")).int8 is None


def configure(root: Path, section: str = "quantise", **changes: float) -> None:
    """Change keys of a section of params.yaml."""
    params = read_params(root / "params.yaml")
    changed = getattr(params, section).model_copy(update=changes)
    write_params(params.model_copy(update={section: changed}), root / "params.yaml")


@pytest.mark.slow
def test_an_embedder_that_fails_parity_leaves_nothing(copy):
    shutil.rmtree("build/embed")
    configure(copy, "export", max_difference=1e-30)
    with pytest.raises(FaceOpsError, match="do not release"):
        embed.main()
    assert not Path("build/embed").exists()


@pytest.mark.slow
def test_the_command_evaluates_as_the_stage_does(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    assert faceops(["evaluate", "--json", "--out", "again"]) == 0
    files = [Path("again", name).stat() for name in ("evaluation.json", "pictures/roc.png")]
    assert files[0].st_mtime_ns <= files[1].st_mtime_ns  # of a killed run there is the mark
    stage = json.loads((workspace / "build/evaluate/evaluation.json").read_text())
    assert json.loads(capsys.readouterr().out) == stage
    page, own = (Path(folder, "report.html").read_text() for folder in ("again", "build/evaluate"))
    assert page.split("<h2", 4)[1:4] == own.split("<h2", 4)[1:4]
    assert "linear layer" in own  # from verify.json, which the command does not read
    assert faceops(["evaluate", "--bundle", "nowhere"]) == 2
    assert "not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("stage", (train, *STAGES), ids=lambda stage: stage.__name__[15:])
def test_missing_inputs_are_one_sentence(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(Params(), tmp_path / "params.yaml")
    with pytest.raises(FaceOpsError, match=r"^(?!.*\n)build/"):
        stage.main()


def test_calibration_sets_and_the_worst_of_them_are_metrics():
    figures = verify.population_figures(adapting())
    assert [one["name"] for one in figures["populations"]] == ["alike 0", "alike 0.4"]
    assert figures["worst_population"] == "alike 0.4"


def test_a_stage_exits_with_the_code_of_its_error_and_leaves_no_traceback(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_params(Params(), tmp_path / "params.yaml")
    with pytest.raises(SystemExit) as caught:
        run_stage(verify.main)
    assert caught.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_split_without_people_is_refused(tmp_path, monkeypatch):
    make_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    faces = tmp_path / "build/split/faces.parquet"
    table = pq.read_table(faces)
    pq.write_table(table.filter(pa.compute.not_equal(table["split"], "train")), faces)
    with pytest.raises(FaceOpsError, match=r"no train people; raise split\.train"):
        verify.main()
