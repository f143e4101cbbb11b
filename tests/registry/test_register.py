"""The last pipeline run becomes a version, with its params, figures, pictures and lineage."""

import json
from pathlib import Path

import mlflow
import pytest

from faceops.cli import main
from faceops.registry.fetch import require_loadable
from faceops.registry.register import flatten, metric_name
from faceops.registry.store import (
    Version,
    VersionDetails,
    describe,
    find_version,
    point_at_store,
    with_verdict,
)
from faceops.release.bundle import Bundle
from faceops.release.release_file import SignatureError
from tests.release.test_release_file import write_key
from tests.tiny_repository import TinyRepository

METRICS = {"evaluate.verification.accuracy": 0.98, "evaluate.people": 40.0}
CHAMPION = VersionDetails(
    Version(7, ("champion",), "run", "old", "", "", ""),
    tags={"data": "d", "contract_id": "old"},
    description="",
    params={"train.seed": "1", "train.flip": "False"},
    metrics={"evaluate.verification.accuracy": 0.97},
)


@pytest.fixture
def tiny_root(tiny_repository: TinyRepository, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny repository, as working directory and with its local store."""
    monkeypatch.chdir(tiny_repository.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    point_at_store(tiny_repository.root)
    return tiny_repository.root


def test_nested_keys_become_dotted_and_refused_characters_underscores():
    assert dict(flatten({"a": {"b": 1, "c": [2]}})) == {"a.b": 1, "a.c": [2]}
    assert metric_name("tar@far#1") == "tar_far_1"


def test_the_first_version_is_champion_and_later_ones_challenge(store_folder):
    aliases = json.loads((store_folder / "aliases.json").read_text())
    assert aliases == [["champion"], *[["challenger"]] * 3]


def test_what_is_registered_is_not_registered_again(tiny_root, capsys):
    assert main(["release", "register", "--json"]) == 0
    version = json.loads(capsys.readouterr().out)
    assert not version["new"]
    assert version["version"] == 2


def test_parameters_changed_since_the_run_are_not_registered(tiny_root, capsys):
    params = tiny_root / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("triplet_margin:", "triplet_margin: 0.9  #"))
    try:
        assert main(["release", "register"]) == 1
    finally:
        params.write_text(text)
    assert "section train has changed since the last `dvc repro`" in capsys.readouterr().err


def test_the_version_is_a_pyfunc_that_finds_the_face_of_its_input_example(tiny_root):
    model = mlflow.pyfunc.load_model("models:/faceops@champion")
    release = Bundle.load(tiny_root / "build/release").release
    (row,) = model.predict(model.input_example, {"answer": "embeddings"})
    assert row["contract_id"] == release.contract_id
    assert len(row["faces"][0]["embedding"]) == release.embedding_size
    assert model.metadata.get_input_schema().input_names() == ["image"]


def test_the_run_has_params_metrics_pictures_and_lineage(tiny_root):
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("faceops", "champion")
    run = client.get_run(version.run_id)
    assert run.data.params["train.backbone"] == "pretrained"
    assert {"evaluate.verification.accuracy", "history.loss"} <= run.data.metrics.keys()
    assert run.data.tags["data"].endswith(".dir")
    assert run.data.tags["git_commit"]
    assert run.data.tags["dvc_lock_sha256"]
    assert run.inputs.dataset_inputs
    pictures = {item.path for item in client.list_artifacts(version.run_id, "pictures")}
    assert "pictures/roc.png" in pictures
    assert "test people" in version.description


def test_beside_the_champion_stand_the_figures_and_what_was_changed():
    params = {"train.seed": "2", "train.flip": "False"}
    text = describe(METRICS, params, {"data": "d", "contract_id": "new"}, CHAMPION)
    assert text.splitlines()[0] == "accuracy 0.9800"
    assert "| accuracy | 0.9800 | 0.9700 |" in text
    assert "| train.seed | `2` | `1` |" in text
    assert "train.flip" not in text
    assert "| photos | as the champion's | |" in text
    assert "| contract id | others | |" in text


def test_the_first_release_has_no_champion_to_compare():
    text = describe(METRICS, {}, {"data": "d"}, None)
    assert "champion" not in text
    assert "## Gate" not in text


def test_a_verdict_takes_the_place_of_the_one_before_and_leaves_the_rest():
    before = describe(METRICS, {}, {"data": "d"}, CHAMPION)
    once = with_verdict(before, "**Refused**: too slow\n")
    again = with_verdict(once, "**Passed**: by \\1 and 2\n")
    assert "too slow" in once
    assert "too slow" not in again
    assert again.count("## Gate") == 1
    assert again == before.replace(
        "Not measured yet: `faceops release gate` compares it with the champion.",
        "**Passed**: by \\1 and 2",
    )
    assert with_verdict("headline\n\nmore", "v") == "headline\n\n## Gate\n\nv\n\nmore"


def test_a_signed_registration_is_another_version_and_holds_no_private_key(
    tiny_root, mlflow_store, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    key = write_key(tmp_path, "key")
    secret = key.read_text().splitlines()[1]
    assert main(["release", "register"]) == 0
    assert "registered faceops version 1" in capsys.readouterr().out
    signing = ["release", "register", "--sign-key", str(key), "--json"]
    for new in (True, False):
        assert main(signing) == 0
        version = json.loads(capsys.readouterr().out)
        assert (version["version"], version["new"]) == (2, new)
    monkeypatch.setenv("FACEOPS_TRUSTED_KEYS", str(key.with_suffix(".pub")))
    assert main(["release", "register"]) == 1
    assert "build/release is refused: it is not signed" in capsys.readouterr().err
    export = ["release", "export", "2", "--out", str(tmp_path / "exported")]
    assert main(export) == 0
    assert main(["release", "verify", str(tmp_path / "exported")]) == 0
    with pytest.raises(SignatureError, match=r"models:/faceops/1 is refused: it is not signed"):
        require_loadable(find_version("1"))
    require_loadable(find_version("2"))
    assert main(["release", "show", "2"]) == 0
    assert f"| signed_by | `{version['signed_by']}` |" in capsys.readouterr().out
    kept = [*(tiny_root / "mlartifacts").rglob("*"), *tmp_path.rglob("*")]
    files = [path for path in kept if path.is_file() and path != key]
    assert not [path for path in files if secret.encode() in path.read_bytes()]
