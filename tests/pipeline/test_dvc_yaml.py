"""dvc.yaml, params.yaml and the stage scripts say the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from faceops.config.sections import Params
from tests.architecture.test_packages import imported_names

PIPELINE: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())
STAGES: dict[str, Any] = PIPELINE["stages"]


def imported_files(start: Path, repository: Path) -> set[Path]:
    """Return the files of faceops that `start` imports, directly or not."""
    seen: set[Path] = set()
    queue = [start]
    while queue:
        path = queue.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported_names(path):
            file = repository.joinpath("src", *name.split(".")).with_suffix(".py")
            if name.startswith("faceops") and file.is_file():
                queue.append(file)
    return seen


def test_each_stage_has_its_script_and_its_section(repository):
    sections = set(yaml.safe_load((repository / "params.yaml").read_text()))
    # gate compares releases, it makes none; embed has the parameters of export.
    assert set(STAGES) - {"embed"} == sections - {"gate"}
    assert sections == {name.removesuffix("_") for name in Params.model_fields}
    for name, stage in STAGES.items():
        assert stage["cmd"] == f"python -m faceops.stages.{name}"
        assert ("export" if name == "embed" else name) in stage["params"]


def test_every_dependency_in_the_repository_exists(repository):
    for stage in STAGES.values():
        for path in stage["deps"]:
            if not path.startswith(("build/", "data")):
                assert (repository / path).exists(), path


def test_every_dependency_in_build_is_an_output_of_an_earlier_stage():
    made: set[str] = set()
    for name, stage in STAGES.items():
        for path in stage["deps"]:
            written = {path, *(parent.as_posix() for parent in Path(path).parents)}
            assert not path.startswith("build/") or written & made, f"{name} needs {path}"
        for kind in ("outs", "metrics", "plots"):
            made.update(stage.get(kind, []))


# Code that does not change what a stage computes (parameters and weights' sha256 do), except for
# the files of base/ that compute figures. The registry only records a training run.
NEUTRAL = ("base", "config", "weights.py", "stages/__init__.py")
COMPUTING = ("base/figures.py", "base/nearest.py", "faces/quality.py")
RECORDS = {"train": ("registry",)}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_packages_that_it_imports(name, repository):
    package = repository / "src/faceops"
    neutral = [package / part for part in (*NEUTRAL, *RECORDS.get(name, ()))]
    computing = [package / path for path in COMPUTING]
    assert all(path.exists() for path in (*neutral, *computing))
    imported = {
        file
        for file in imported_files(package / f"stages/{name}.py", repository)
        if file in computing or not any(file.is_relative_to(path) for path in neutral)
    }
    dependencies = [repository / dep for dep in STAGES[name]["deps"]]
    code = [path for path in dependencies if path.is_relative_to(package)]
    missing = [file for file in imported if not any(file.is_relative_to(dep) for dep in code)]
    unused = [dep for dep in code if not any(file.is_relative_to(dep) for file in imported)]
    assert missing == [], "imported, but not a dependency"
    assert unused == [], "a dependency that is not imported"


@pytest.mark.parametrize("name", STAGES)
def test_the_code_of_a_stage_is_whole_packages_and_its_script(name):
    code = [dep for dep in STAGES[name]["deps"] if dep.startswith("src/")]
    files = [f"src/faceops/{path}" for path in (f"stages/{name}.py", *COMPUTING)]
    assert files[0] in code
    assert all(dep.count("/") == 2 for dep in code if dep not in files)


def test_plots_take_templates_that_are_there_and_files_that_a_stage_writes(repository):
    made = {
        path
        for stage in STAGES.values()
        for kind in ("outs", "metrics", "plots")
        for path in stage.get(kind, [])
    }
    for plot in PIPELINE["plots"]:
        for name, shown in plot.items():
            assert set(shown["y"]) <= made, name
            if "template" in shown:
                template = repository / f".dvc/plots/{shown['template']}.json"
                assert json.loads(template.read_text())["data"]["values"] == "<DVC_METRIC_DATA>"
