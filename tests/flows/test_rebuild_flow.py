"""The rebuild flow: the DVC stages as tasks, then the registry; wrong arguments refused early."""

import json

import pytest

from tests.tiny_repository import TinyRepository

pytestmark = pytest.mark.slow


def test_the_flow_brings_the_stages_up_to_date_and_registers_the_result(
    tiny_repository: TinyRepository,
) -> None:
    before = json.loads(tiny_repository.run("faceops", "release", "list", "--json").stdout)
    (tiny_repository.root / "other.yaml").write_text(
        (tiny_repository.root / "tiny.yaml").read_text() + "evaluate: {pairs: 700}\n"
    )
    try:
        done = tiny_repository.run("python", "-m", "flows.rebuild", "--experiment", "other.yaml")
        after = json.loads(tiny_repository.run("faceops", "release", "list", "--json").stdout)
    finally:
        tiny_repository.run("faceops", "params", "use", "tiny.yaml")
        tiny_repository.run("dvc", "repro")
    assert len(after) == len(before) + 1
    assert f"registered faceops version {after[0]['version']}" in done.stdout
    assert "Stage 'train' didn't change, skipping" in done.stderr
    assert "Running stage 'evaluate'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--force", "polish"], "there is no stage 'polish'"),
        (["--experiment", "none"], "there is no experiment 'none'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    tiny_repository: TinyRepository, arguments: list[str], says: str
) -> None:
    done = tiny_repository.run("python", "-m", "flows.rebuild", *arguments, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
