"""dvc.yaml, params.yaml and the stage scripts say the same."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from faceops.config.sections import Params


def imported_files(start: Path, repository: Path) -> set[Path]:
    """Return the files of faceops that `start` imports, directly or not."""
    seen: set[Path] = set()
    open_ = [start]
    while open_:
        path = open_.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                file = repository.joinpath("src", *name.split(".")).with_suffix(".py")
                if name.startswith("faceops") and file.is_file():
                    open_.append(file)
    return seen


@pytest.fixture(scope="module")
def pipeline(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "dvc.yaml").read_text())


def test_each_stage_has_its_script_and_its_section(
    repository: Path, pipeline: dict[str, Any]
) -> None:
    sections = set(yaml.safe_load((repository / "params.yaml").read_text()))
    assert set(pipeline["stages"]) == sections - {"gate"}  # it judges releases, and makes none
    assert sections == {name.removesuffix("_") for name in Params.model_fields}
    for name, stage in pipeline["stages"].items():
        assert stage["cmd"] == f"python -m faceops.stages.{name}"
        assert name in stage["params"]
        assert f"src/faceops/stages/{name}.py" in stage["deps"]


def test_every_dependency_in_the_repository_exists(
    repository: Path, pipeline: dict[str, Any]
) -> None:
    for stage in pipeline["stages"].values():
        for path in stage["deps"]:
            if not path.startswith(("build/", "data")):
                assert (repository / path).exists(), path


def test_every_dependency_in_build_is_an_output_of_an_earlier_stage(
    pipeline: dict[str, Any],
) -> None:
    made: set[str] = set()
    for name, stage in pipeline["stages"].items():
        for path in stage["deps"]:
            assert not path.startswith("build/") or path in made, f"{name} needs {path}"
        for kind in ("outs", "metrics", "plots"):
            made.update(stage.get(kind, []))


def test_a_stage_depends_on_all_code_that_makes_its_result(
    repository: Path, pipeline: dict[str, Any]
) -> None:
    # Settings, weights, messages and the record of a run do not change a result: params.yaml,
    # weights.toml and the code of the other rooms do.
    package = repository / "src/faceops"
    neutral = [package / name for name in ("base", "config", "weights", "stages", "registry")]
    assert all(path.exists() for path in neutral)
    for name, stage in pipeline["stages"].items():
        paths = [*neutral, *(repository / dep for dep in stage["deps"])]
        missing = [
            str(file.relative_to(repository))
            for file in imported_files(package / f"stages/{name}.py", repository)
            if not any(file.is_relative_to(path) for path in paths)
        ]
        assert missing == [], f"stage {name}"


def test_plots_take_templates_that_are_there_and_files_that_a_stage_writes(
    repository: Path, pipeline: dict[str, Any]
) -> None:
    made = {
        path
        for stage in pipeline["stages"].values()
        for kind in ("outs", "metrics", "plots")
        for path in stage.get(kind, [])
    }
    for plot in pipeline["plots"]:
        for name, told in plot.items():
            assert set(told["y"]) <= made, name
            if "template" in told:
                template = repository / f".dvc/plots/{told['template']}.json"
                content = json.loads(template.read_text())
                assert content["data"]["values"] == "<DVC_METRIC_DATA>"
