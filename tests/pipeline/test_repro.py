"""`dvc repro` from photos to a registered release, on a handful of synthetic people."""

import json
import re
import shutil

import pytest
import yaml

from tests.tiny_repository import TinyRepository

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(
    tiny_repository: TinyRepository, tmp_path_factory: pytest.TempPathFactory
) -> TinyRepository:
    root = tmp_path_factory.mktemp("repro") / "repository"
    shutil.copytree(tiny_repository.root, root, symlinks=True)
    return TinyRepository(root)


def change_pairs(tiny: TinyRepository, value: str) -> None:
    """Set evaluate.pairs."""
    params = tiny.root / "params.yaml"
    text, count = re.subn(
        r"(evaluate:.*?pairs: )\w+", rf"\g<1>{value}", params.read_text(), flags=re.DOTALL
    )
    assert count == 1
    params.write_text(text)


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def test_a_second_repro_does_nothing(tiny):
    before = (tiny.root / "dvc.lock").read_bytes()
    assert stages_run(tiny.run("dvc", "repro").stdout) == []
    assert (tiny.root / "dvc.lock").read_bytes() == before


def test_a_new_photo_in_the_album_and_a_changed_parameter_rerun_only_their_stages(tiny):
    album = tiny.root / "data/album"
    shutil.copy(next(album.glob("scene_*.jpg")), album / "new.jpg")
    change_pairs(tiny, "500")
    assert stages_run(tiny.run("dvc", "repro").stdout) == ["validate", "evaluate"]


def test_metrics_plots_and_the_cost_of_each_stage_are_recorded(tiny):
    shown = json.loads(tiny.run("dvc", "metrics", "show", "--json").stdout)
    files = next(iter(shown.values()))["data"]
    assert {"build/evaluate/evaluation.json", "build/embed/embed.json"} <= set(files)
    tiny.run("dvc", "plots", "show", "--out", "dvc_plots")
    page = (tiny.root / "dvc_plots/index.html").read_text()
    assert "ROC on test people" in page
    costs = {path.stem for path in (tiny.root / "build/costs").glob("*.json")}
    assert costs == set(yaml.safe_load((tiny.root / "dvc.yaml").read_text())["stages"])


def test_a_wrong_parameter_stops_the_stage_with_one_sentence(tiny):
    change_pairs(tiny, "many")
    done = tiny.run("dvc", "repro", check=False)
    output = done.stderr + done.stdout
    assert done.returncode != 0
    assert "evaluate.pairs = 'many' is wrong" in output
    assert "Traceback" not in output
