"""The Makefile says what it can do, and what it names exists."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture(autouse=True)
def no_outer_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test` runs these tests: what it tells its children must not reach the inner make."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def makefile(repository: Path) -> str:
    return (repository / "Makefile").read_text(encoding="utf-8")


def phony(makefile: str) -> set[str]:
    match = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert match
    return set(match.group(1).split())


@pytest.mark.parametrize("argv", [["make"], ["make", "help"]])
def test_help_is_the_default_and_lists_every_target(
    repository: Path, makefile: str, argv: list[str]
) -> None:
    text = subprocess.run(argv, cwd=repository, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[1]: line.split(maxsplit=2)[2] for line in text.splitlines()}
    assert set(listed) == phony(makefile)
    assert all(len(sentence) > 10 for sentence in listed.values())


def test_every_target_is_declared(makefile: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert targets == phony(makefile)


def test_every_module_and_file_that_it_names_exists(repository: Path, makefile: str) -> None:
    modules = set(re.findall(r"\bpython -m ([\w.]+)", makefile)) - {"pip", "venv"}
    assert modules  # the search found something
    for module in modules:
        places = [repository / root / Path(*module.split(".")) for root in ("", "src")]
        assert any(
            place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
            for place in places
        ), module
    for name in re.findall(r"(?<![\w./])[\w.]+\.(?:lock|toml|txt|py|yaml)(?![\w.])", makefile):
        assert (repository / name).is_file(), name
    (find,) = re.findall(r"@find ([\w ]+) -name", makefile)
    for folder in find.split():
        assert (repository / folder).is_dir(), folder


def test_every_faceops_command_that_it_names_is_one(makefile: str) -> None:
    from faceops.cli import COMMANDS

    named = set(re.findall(r"\bfaceops ([a-z]+)", makefile))
    assert named
    assert named <= set(COMMANDS)


def test_clean_spares_data_and_records(makefile: str) -> None:
    recipe = makefile.split("\nclean:")[1]
    for precious in ("data", "mlflow.db", "mlartifacts", "gallery", ".venv", "reports"):
        assert not re.search(rf"[ /]{re.escape(precious)}\b", recipe.partition("\n")[2]), precious


def test_without_a_fitting_python_setup_says_what_to_install(
    repository: Path, tmp_path: Path
) -> None:
    shutil.copy(repository / "Makefile", tmp_path)
    old = tmp_path / "old-python"  # runs, but prints no path: what an old interpreter does
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    argv = ["make", "setup", f"PYTHONS=no-such-python {old}"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "FaceOps needs Python 3.11 or later" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_runs_make_test(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.read_text().splitlines()[-1] == "exec make test"
