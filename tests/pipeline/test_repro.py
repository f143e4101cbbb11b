"""`dvc repro` from photos to a registered release, on a handful of synthetic people."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from tests.tiny_repository import TinyRepository

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def put_back(tiny_repository: TinyRepository) -> Iterator[None]:
    """Leave the tiny repository as it was built: tests of other files use it too."""
    yield
    tiny_repository.run("faceops", "params", "use", "tiny.yaml")
    tiny_repository.run("dvc", "repro")


def change_pairs(tiny: TinyRepository, value: str) -> None:
    """Set evaluate.pairs; the next `dvc repro` restores from DVC's cache what is known."""
    params = tiny.root / "params.yaml"
    text, count = re.subn(
        r"(evaluate:.*?pairs: )\w+", rf"\g<1>{value}", params.read_text(), flags=re.DOTALL
    )
    assert count == 1
    params.write_text(text)


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def test_a_second_repro_does_nothing(tiny_repository: TinyRepository) -> None:
    before = (tiny_repository.root / "dvc.lock").read_bytes()
    assert stages_run(tiny_repository.run("dvc", "repro").stdout) == []
    assert (tiny_repository.root / "dvc.lock").read_bytes() == before


def test_a_new_photo_in_the_album_reruns_only_validate(tiny_repository: TinyRepository) -> None:
    album = tiny_repository.root / "data/album"
    photo = album / "new.jpg"
    photo.write_bytes(next(album.glob("scene_*.jpg")).read_bytes())
    try:
        assert stages_run(tiny_repository.run("dvc", "repro").stdout) == ["validate"]
    finally:
        photo.unlink()


def test_a_changed_parameter_reruns_only_its_stages(tiny_repository: TinyRepository) -> None:
    change_pairs(tiny_repository, "500")
    assert stages_run(tiny_repository.run("dvc", "repro").stdout) == ["evaluate"]


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


def test_a_wrong_parameter_stops_the_stage_with_one_sentence(
    tiny_repository: TinyRepository,
) -> None:
    change_pairs(tiny_repository, "many")
    done = tiny_repository.run("dvc", "repro", check=False)
    output = done.stderr + done.stdout
    assert done.returncode != 0
    assert "evaluate.pairs = 'many' is wrong" in output
    assert "Traceback" not in output
