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


def test_a_new_photo_in_the_album_and_a_changed_parameter_rerun_only_their_stages(tiny):
    album, params = tiny.root / "data/album", tiny.root / "params.yaml"
    shutil.copy(next(album.glob("scene_*.jpg")), album / "new.jpg")
    said = tiny.run("dvc", "repro", "verify").stdout  # all but the last three stages, if need be
    assert re.findall(r"Running stage '(\w+)'", said) == ["validate"]
    params.write_text(params.read_text().replace("pairs: 700", "pairs: 500"))  # of evaluate
    assert list(json.loads(tiny.run("dvc", "status", "--json").stdout)) == ["evaluate"]


def test_metrics_plots_and_the_cost_of_each_stage_are_recorded(tiny):
    shown = json.loads(tiny.run("dvc", "metrics", "show", "--json").stdout)
    files = next(iter(shown.values()))["data"]
    assert {"build/evaluate/evaluation.json", "build/embed/embed.json"} <= set(files)
    tiny.run("dvc", "plots", "show", "--out", "dvc_plots")
    assert "ROC on test people" in (tiny.root / "dvc_plots/index.html").read_text()
    costs = {path.stem for path in (tiny.root / "build/costs").glob("*.json")}
    assert costs == set(yaml.safe_load((tiny.root / "dvc.yaml").read_text())["stages"])
