"""`dvc repro` from photos to a registered release, on a handful of synthetic people."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from tests.tiny_repository import TinyRepository

pytestmark = pytest.mark.slow


@contextmanager
def changed(tiny: TinyRepository, pattern: str, replacement: str) -> Iterator[None]:
    """Change params.yaml; afterwards restore it and the outputs."""
    params = tiny.root / "params.yaml"
    text = params.read_text()
    changed, count = re.subn(pattern, replacement, text, flags=re.DOTALL)
    assert count == 1
    params.write_text(changed)
    try:
        yield
    finally:
        params.write_text(text)
        tiny.run("dvc", "repro")


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def test_a_second_repro_does_nothing(tiny_repository: TinyRepository) -> None:
    assert json.loads(tiny_repository.run("dvc", "status", "--json").stdout) == {}
    before = (tiny_repository.root / "dvc.lock").read_bytes()
    assert stages_run(tiny_repository.run("dvc", "repro").stdout) == []
    assert (tiny_repository.root / "dvc.lock").read_bytes() == before


def test_a_changed_parameter_reruns_only_its_stages(tiny_repository: TinyRepository) -> None:
    with changed(tiny_repository, r"(evaluate:.*?pairs: )\d+", r"\g<1>500"):
        assert stages_run(tiny_repository.run("dvc", "repro").stdout) == ["evaluate"]


def test_a_new_photo_in_the_album_reruns_only_validate(tiny_repository: TinyRepository) -> None:
    album = tiny_repository.root / "data/album"
    photo = album / "new.jpg"
    photo.write_bytes(next(album.glob("scene_*.jpg")).read_bytes())
    try:
        assert stages_run(tiny_repository.run("dvc", "repro").stdout) == ["validate"]
    finally:
        photo.unlink()
        tiny_repository.run("dvc", "repro")


def test_a_wrong_parameter_stops_the_stage_with_one_sentence(
    tiny_repository: TinyRepository,
) -> None:
    with changed(tiny_repository, r"(evaluate:.*?pairs: )\d+", r"\g<1>many"):
        done = tiny_repository.run("dvc", "repro", check=False)
        output = done.stderr + done.stdout
        assert done.returncode != 0
        assert "evaluate.pairs = 'many' is wrong" in output
        assert "Traceback" not in output


def test_metrics_plots_and_the_cost_of_each_stage_are_recorded(
    tiny_repository: TinyRepository,
) -> None:
    shown = json.loads(tiny_repository.run("dvc", "metrics", "show", "--json").stdout)
    files = next(iter(shown.values()))["data"]
    assert {"build/evaluate/evaluation.json", "build/embed/embed.json"} <= set(files)
    tiny_repository.run("dvc", "plots", "show", "--out", "dvc_plots")
    page = (tiny_repository.root / "dvc_plots/index.html").read_text()
    assert "ROC on test people" in page
    costs = {path.stem for path in (tiny_repository.root / "build/costs").glob("*.json")}
    assert costs == set(yaml.safe_load((tiny_repository.root / "dvc.yaml").read_text())["stages"])
