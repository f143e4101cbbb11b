"""Which release a command works with when no argument names one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import faceops.registry
from faceops.base.errors import UsageError
from faceops.cli import main
from faceops.cli.model_choice import CHAMPION, Choice, choose_model, import_registry, load_release
from faceops.registry import PUBLISHED, published_statement
from faceops.registry.champion import rollback
from faceops.registry.fetch import find_release

LIST = """
import sys
from faceops.cli import main
code = main(["people", "list", "--gallery", "g", "--json"])
sys.exit(code or ("mlflow" in sys.modules))
"""

WITHOUT_MLFLOW = """
import sys
sys.modules["mlflow"] = None
from faceops.cli import main
sys.exit(main(["enrol", ".", "--gallery", "../gallery", "--model", "models:/faceops@champion"]))
"""


@pytest.fixture
def nowhere(tmp_path: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder without a registry, as the working directory; the cache is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACEOPS_WEIGHTS", str(weights_dir))
    return tmp_path


def test_without_a_registry_people_are_named_by_the_published_release(
    nowhere, synthetic_set, capsys
):
    people = sorted((synthetic_set / "enrol").iterdir())[:2]
    for person in people:
        shutil.copytree(person, nowhere / "people" / person.name)
    assert main(["enrol", "people", "--gallery", "g"]) == 0
    line = capsys.readouterr().err.splitlines()[0]
    published = "the published release (SFace and dlib, calibrated on LFW)"
    assert line.startswith(f"faceops enrol: using {published}")
    assert ": there is no registry (MLFLOW_TRACKING_URI is not set" in line
    identify = ["identify", str(people[0]), "--gallery", "g", "--out", "out", "--json"]
    for unchanged in (False, True):
        assert main(identify) == 0
        said = capsys.readouterr()
        summary = json.loads(said.out)
        assert (summary["release"], summary["unchanged"]) == (PUBLISHED, unchanged)
        assert summary["release_note"] == ""
        assert said.err.count("the gallery was enrolled under it") == 1
    assert main([*identify, "--precision", "int8"]) == 1
    assert "the published release offers no int8 embedder" in capsys.readouterr().err
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True)
    listed = json.loads(done.stdout)["people"]
    assert [isinstance(one["lookalikes"], list) for one in listed] == [True, True]
    assert main(["people", "reembed", "--gallery", "g", "--model", PUBLISHED]) == 0
    said = capsys.readouterr()
    assert "nothing to do" in said.out and said.err == ""


def test_a_gallery_keeps_its_release_and_a_new_one_gets_the_champion(
    registry, tmp_path, monkeypatch
):
    real = "models:/faceops/2 was calibrated on photos of real people"
    import mlflow

    mlflow.MlflowClient().set_registered_model_alias("faceops", "champion", "2")
    published = str(published_statement()["contract_id"])
    for contract_id, choice in {
        "": Choice(CHAMPION, real),
        registry[2].contract_id: Choice(
            CHAMPION, "the gallery was enrolled under models:/faceops/2"
        ),
        published: Choice(PUBLISHED, "the gallery was enrolled under it"),
        "of another release": Choice(CHAMPION, real),
    }.items():
        assert choose_model(contract_id, "float32", tmp_path) == choice
    mlflow.MlflowClient().delete_registered_model_alias("faceops", "champion")
    why = f"{CHAMPION}: no version has the alias champion"
    assert choose_model("", "float32", tmp_path) == Choice(PUBLISHED, why)


def test_a_champion_of_synthetic_people_is_used_for_its_own_galleries_and_with_a_warning(
    tiny_repository, tmp_path, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    shutil.copy(tiny_repository.root / "mlflow.db", tmp_path)
    assert choose_model("", "float32", tmp_path).model == CHAMPION
    rollback(root=tmp_path)  # to the one of synthetic people
    chosen = choose_model("", "float32", tmp_path)
    assert chosen.model == PUBLISHED
    assert chosen.why.endswith("was calibrated on synthetic people")
    loaded = load_release(find_release(CHAMPION, tmp_path).folder, "")
    assert choose_model(loaded.release.contract_id, "float32", tmp_path).model == CHAMPION
    assert "was calibrated on synthetic people: for photos of real people" in loaded.note


def test_without_mlflow_a_registered_release_is_refused_with_the_way_out(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MLFLOW],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "models:/faceops@champion needs MLflow, which is not installed" in done.stderr
    assert "--model published or --bundle DIR" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_mlflow_what_is_no_address_is_wrong_usage(monkeypatch):
    monkeypatch.setitem(sys.modules, "faceops.registry.fetch", None)
    monkeypatch.delattr(faceops.registry, "fetch", raising=False)
    with pytest.raises(UsageError, match="'sface' names no release"):
        import_registry("sface")
