"""Targets of the Makefile, run."""

import re
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture(autouse=True)
def no_outer_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test` runs these tests: its settings must not reach the inner make."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(name, raising=False)


def test_help_is_the_default_and_lists_every_target(repository):
    text = subprocess.run(["make"], cwd=repository, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in text.stdout.splitlines() if line.startswith("make ")}
    phony = re.search(r"^\.PHONY: (.*)$", (repository / "Makefile").read_text("utf-8"), re.M)
    assert phony
    assert listed == set(phony.group(1).split())


def test_clean_keeps_data_and_records(repository, tmp_path):
    shutil.copy(repository / "Makefile", tmp_path)
    kept = ["data", "gallery", "mlflow.db", "mlartifacts", "found", "src", "flows"]
    for name in (*kept, "tests", "build", "dist", ".pytest_cache", "src/__pycache__"):
        (tmp_path / name).mkdir()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True)
    assert all((tmp_path / name).is_dir() for name in kept)
    for name in ("build", "dist", ".pytest_cache", "src/__pycache__"):
        assert not (tmp_path / name).exists()


def test_without_a_suitable_python_setup_names_what_to_install(repository, tmp_path):
    shutil.copy(repository / "Makefile", tmp_path)
    old = tmp_path / "old-python"  # runs, but prints no path, as an interpreter that is too old
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    argv = ["make", "setup", f"PYTHONS=no-such-python {old}"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "FaceOps needs Python 3.11 or later" in done.stderr
    assert not (tmp_path / ".venv").exists()
