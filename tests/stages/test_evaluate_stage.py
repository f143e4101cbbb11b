"""The stages embed to evaluate, one after the other on few crops."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from faceops.base.errors import FaceOpsError
from faceops.cli import main as faceops
from faceops.config.params_file import read_params, write_params
from faceops.config.sections import Params
from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.model_file import save_model
from faceops.release.bundle import Bundle
from faceops.release.contract import PRECISIONS, read_release
from faceops.release.export import assemble
from faceops.stages import embed, evaluate, export, quantise, verify

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
    cropped = [
        {"path": row["path"], "quality": number % 10 / 10, "status": "accepted"}
        for number, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(cropped), root / "build/crop/faces.parquet")
    torch.manual_seed(0)
    save_model(build_backbone("resnet18", 32), root / "build/train")
    settings = {"train": {"backbone": "resnet18"}, "verify": {"pairs": 100, "default_budget": 0.4}}
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


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    make_inputs(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for stage in STAGES:
            stage.main()
    return root


@pytest.mark.slow
def test_stages_leave_the_agreed_files(workspace: Path) -> None:
    found = {
        folder: sorted(path.name for path in (workspace / "build" / folder).iterdir())
        for folder in ("embed", "verify", "export", "quantise", "quantise/int8", "evaluate")
    }
    assert found == {
        "embed": ["embed.json", "embedder.onnx", "embeddings.npy"],
        "verify": ["thresholds.json", "verifier.json", "verify.json"],
        "export": [
            "detector.onnx", "embedder.onnx", "landmarks.onnx", "release.json", "verifier.onnx",
        ],
        "quantise": ["int8", "quantise.json"],
        "quantise/int8": ["embedder_int8.onnx", "int8.json"],
        "evaluate": [
            "calibration.csv", "cmc.csv", "det.csv", "evaluation.json", "identification.csv",
            "mistakes.csv", "model_card.md", "pictures", "promise.csv", "report.html", "roc.csv",
            "scores.csv",
        ],
    }  # fmt: skip
    pictures = sorted(path.stem for path in (workspace / "build/evaluate/pictures").iterdir())
    assert pictures == [
        "calibration", "cmc", "det", "mistakes_one_person", "mistakes_two_people", "promise",
        "roc", "scores", "similarity_map",
    ]  # fmt: skip
    release = read_release(workspace / "build/export")
    assert release.git_commit == release.dvc_lock_sha256 == ""
    assert release.params["train"]["backbone"] == "resnet18"
    assert "evaluate" not in release.params
    assert release.thresholds.data == "8 validation people of drawn"
    assert release.data["splits"]["test"] == {"people": 8, "photos": 32}
    figures = json.loads((workspace / "build/evaluate/evaluation.json").read_text())
    assert figures["people"] == 8
    assert figures["verification"]["roc_auc"] > 0.8  # patterns that are easily told apart


@pytest.mark.slow
def test_a_second_run_gives_the_same_bytes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contents() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for folder in ("embed", "verify", "export", "quantise", "evaluate")
            for path in sorted((workspace / "build" / folder).rglob("*"))
            if path.is_file()
        }

    before = contents()
    monkeypatch.chdir(workspace)
    for stage in STAGES:
        stage.main()
    assert contents() == before


@pytest.mark.slow
def test_an_int8_that_is_good_enough_goes_into_the_release(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads((workspace / "build/quantise/quantise.json").read_text())
    assert told["offered"] and told["why_not"] == ""
    assert told["people"] == 8 and told["calibration_crops"] == 8
    assert told["tar_loss"] < 0.05 and told["bytes"]["int8"] < told["bytes"]["float32"] / 3
    assert told["min_cosine"] > 0.95
    bundle = assemble(workspace, tmp_path / "bundle")
    float32, int8 = (Bundle.load(bundle, precision=name) for name in PRECISIONS)
    assert float32.release.contract_id == read_release(workspace / "build/export").contract_id
    assert int8.release.contract_id != float32.release.contract_id
    ours, theirs = int8.release.thresholds, float32.release.thresholds
    assert ours != theirs and ours.photos == theirs.photos == 32
    assert ours.quality_deciles == theirs.quality_deciles  # of the same crops
    crops = np.load(workspace / "build/crop/crops.npy")[:20]
    cosine = (int8.embed(crops) * float32.embed(crops)).sum(1)
    assert 0.95 < cosine.min() < 0.99999
    card = (workspace / "build/evaluate/model_card.md").read_text()
    assert int8.release.contract_id in card
    monkeypatch.chdir(workspace)
    assert faceops(["evaluate", "--bundle", str(bundle), "--precision", "int8"]) == 0


@pytest.mark.slow
def test_only_training_people_set_the_scales(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(workspace, tmp_path / "copy"))
    made = copy / "build/quantise/int8/embedder_int8.onnx"
    before = made.read_bytes()
    monkeypatch.chdir(copy)
    configure(copy, max_tar_loss=1.0)
    table = pq.read_table("build/split/faces.parquet").to_pylist()
    crops = np.load("build/crop/crops.npy")
    for split, same in ((("val", "test"), True), (("train",), False)):
        for row in table:
            if row["split"] in split:
                crops[row["crop"]] = crops[row["crop"]] // 3
        np.save("build/crop/crops.npy", crops)
        quantise.main()
        assert (made.read_bytes() == before) == same


@pytest.mark.slow
def test_an_int8_that_loses_too_much_is_not_offered_and_says_how_much(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(workspace, tmp_path / "copy"))
    monkeypatch.chdir(copy)
    configure(copy, max_tar_loss=0.0)
    quantise.main()
    told = json.loads(Path("build/quantise/quantise.json").read_text())
    assert told["offered"] is False and "falls by 0.0" in told["why_not"]
    assert [path.name for path in Path("build/quantise/int8").iterdir()] == ["int8.json"]
    bundle = assemble(copy, tmp_path / "bundle")
    with pytest.raises(FaceOpsError, match=r"bundle offers no int8 .* use --precision float32"):
        Bundle.load(bundle, precision="int8")
    configure(copy, max_tar_loss=1.0, far=0.01)
    quantise.main()
    told = json.loads(Path("build/quantise/quantise.json").read_text())
    assert told["offered"] is False and "8 validation people cannot tell TAR" in told["why_not"]


@pytest.mark.slow
def test_a_graph_that_cannot_be_quantised_stops_nothing(
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = Path(shutil.copytree(workspace, tmp_path / "copy"))
    monkeypatch.chdir(copy)
    configure(copy, float_layers=1000)
    quantise.main()
    assert "nothing in this embedder can be quantised" in capsys.readouterr().out
    told = json.loads(Path("build/quantise/quantise.json").read_text())
    assert told["offered"] is False and "nothing in this embedder" in told["why_not"]
    assert read_release(assemble(copy, tmp_path / "bundle")).int8 is None


@pytest.mark.slow
def test_a_release_without_the_stage_or_of_another_export(workspace: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(workspace, tmp_path / "copy"))
    offer = copy / "build/quantise/int8/int8.json"
    content = json.loads(offer.read_text())
    offer.write_text(json.dumps(content | {"made_from": "0" * 64}))
    with pytest.raises(FaceOpsError, match="made for contract 000000000000, the release has"):
        assemble(copy, tmp_path / "bundle")
    shutil.rmtree(copy / "build/quantise")
    assert read_release(assemble(copy, tmp_path / "bundle")).int8 is None


def configure(root: Path, **changes: float) -> None:
    """Change keys of the section quantise."""
    params = read_params(root / "params.yaml")
    changed = params.quantise.model_copy(update=changes)
    write_params(params.model_copy(update={"quantise": changed}), root / "params.yaml")


@pytest.mark.slow
def test_an_embedder_that_fails_parity_leaves_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(workspace, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    shutil.rmtree("build/embed")
    params = read_params(Path("params.yaml"))
    strict = params.export.model_copy(update={"max_difference": 1e-30})
    write_params(params.model_copy(update={"export": strict}), Path("params.yaml"))
    with pytest.raises(FaceOpsError, match="do not release"):
        embed.main()
    assert not Path("build/embed").exists()


@pytest.mark.slow
def test_the_command_gives_the_stages_figures(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace)
    assert faceops(["evaluate", "--json"]) == 0
    stage = json.loads((workspace / "build/evaluate/evaluation.json").read_text())
    assert json.loads(capsys.readouterr().out) == stage
    assert faceops(["evaluate", "--out", "again"]) == 0
    page, own = (Path(folder, "report.html").read_text() for folder in ("again", "build/evaluate"))
    assert page.split("<h2", 4)[1:4] == own.split("<h2", 4)[1:4]
    assert "linear layer" in own  # of verify.json, which the command does not have
    assert "How the verifier was chosen is told" in page
    assert "roc_auc" in capsys.readouterr().out
    assert faceops(["evaluate", "--threads", "0"]) == 2
    assert faceops(["evaluate", "--bundle", "nowhere"]) == 2
    assert "not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["embed", "verify", "export", "quantise", "evaluate"])
def test_missing_inputs_are_one_sentence_and_exit_code_1(
    stage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    repository: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(Params(), tmp_path / "params.yaml")
    script = repository / "src/faceops/stages" / f"{stage}.py"
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(script), run_name="__main__")
    assert caught.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_split_without_people_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    faces = tmp_path / "build/split/faces.parquet"
    table = pq.read_table(faces)
    pq.write_table(table.filter(pa.compute.not_equal(table["split"], "val")), faces)
    with pytest.raises(FaceOpsError, match=r"no val people; raise split\.val"):
        verify.main()
