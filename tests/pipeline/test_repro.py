"""`dvc repro` from photos to a registered release, on a handful of synthetic people."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.tiny_repository import TinyRepository

pytestmark = pytest.mark.slow


def test_every_declared_output_is_there(tiny_repository: TinyRepository) -> None:
    status = tiny_repository.run("dvc", "status", "--json")
    assert json.loads(status.stdout) == {}


def test_a_second_repro_does_nothing(tiny_repository: TinyRepository) -> None:
    before = (tiny_repository.root / "dvc.lock").read_bytes()
    again = tiny_repository.run("dvc", "repro")
    assert "Running stage" not in again.stdout
    assert (tiny_repository.root / "dvc.lock").read_bytes() == before


def test_only_the_stages_behind_a_changed_parameter_run(tiny_repository: TinyRepository) -> None:
    params = tiny_repository.root / "params.yaml"
    text = params.read_text()
    params.write_text(re.sub(r"(evaluate:.*?pairs: )\d+", r"\g<1>500", text, flags=re.DOTALL))
    try:
        assert params.read_text() != text
        done = tiny_repository.run("dvc", "repro")
        assert re.findall(r"Running stage '(\w+)'", done.stdout) == ["evaluate"]
    finally:
        params.write_text(text)
        tiny_repository.run("dvc", "repro")


def test_a_new_photo_in_the_album_reruns_only_validate(tiny_repository: TinyRepository) -> None:
    photo = tiny_repository.root / "data/album/new.jpg"
    photo.write_bytes(next((tiny_repository.root / "data/album").glob("scene_*.jpg")).read_bytes())
    try:
        done = tiny_repository.run("dvc", "repro")
        assert re.findall(r"Running stage '(\w+)'", done.stdout) == ["validate"]
    finally:
        photo.unlink()
        tiny_repository.run("dvc", "repro")


def test_training_again_gives_the_same_bytes(tiny_repository: TinyRepository) -> None:
    model = tiny_repository.root / "build/train/model.safetensors"
    before = model.read_bytes()
    tiny_repository.run("dvc", "repro", "--single-item", "--force", "train")
    assert model.read_bytes() == before


def test_metrics_and_plots_are_shown(tiny_repository: TinyRepository) -> None:
    shown = json.loads(tiny_repository.run("dvc", "metrics", "show", "--json").stdout)
    files = next(iter(shown.values()))["data"]
    assert "build/evaluate/evaluation.json" in {name.replace("\\", "/") for name in files}
    tiny_repository.run("dvc", "plots", "show", "--out", "dvc_plots")
    page = (tiny_repository.root / "dvc_plots/index.html").read_text()
    assert "ROC on test people" in page


def test_an_experiment_changes_one_value_and_runs_what_follows(
    tiny_repository: TinyRepository,
) -> None:
    params = tiny_repository.root / "params.yaml"
    text = params.read_text()
    try:
        done = tiny_repository.run("dvc", "exp", "run", "-S", "evaluate.pairs=400", "-n", "fewer")
        assert "Ran experiment" in done.stdout
        assert re.findall(r"Running stage '(\w+)'", done.stdout) == ["evaluate"]
    finally:
        params.write_text(text)
        tiny_repository.run("dvc", "repro")


def test_a_wrong_parameter_stops_the_stage_with_one_sentence(
    tiny_repository: TinyRepository,
) -> None:
    params = tiny_repository.root / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("precision: float32", "precision: float31"))
    try:
        done = tiny_repository.run("dvc", "repro", check=False)
        assert done.returncode != 0
        assert "train.precision = 'float31' is wrong" in done.stderr + done.stdout
        assert "Traceback" not in done.stderr + done.stdout
    finally:
        params.write_text(text)
        tiny_repository.run("dvc", "repro")  # the failed stage has lost its outputs


def test_each_stage_leaves_what_it_cost(tiny_repository: TinyRepository) -> None:
    costs = {path.stem for path in Path(tiny_repository.root / "build/costs").glob("*.json")}
    stages = yaml.safe_load((tiny_repository.root / "dvc.yaml").read_text())["stages"]
    assert costs == set(stages)
