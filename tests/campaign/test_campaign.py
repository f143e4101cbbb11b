"""A short part of each campaign; the modules' own commands run them at length."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign.fuzz import TARGETS, fuzz
from tests.campaign.soak import Archive, soak
from tests.campaign.world import Parts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def parts(
    sface_bundle: Path, synthetic_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with bundle/ and data/, see `world.Parts`."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "bundle").symlink_to(sface_bundle)
    (folder / "data").symlink_to(synthetic_set)
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_input_gets_a_result_or_one_sentence(target, parts, tmp_path):
    (tmp_path / "parts").symlink_to(parts)
    assert fuzz(TARGETS[target], tmp_path, minutes=0) >= 50


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (cc)")
def test_a_fault_at_any_write_leaves_the_state_before_or_after(parts, tmp_path):
    options = ["--work", str(tmp_path), "--parts", str(parts), "--every", "300"]
    options += ["--fault", "killed", "--fault", "disk full", "enrol", "identify", "forget"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaign.faults", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_runs_over_a_changing_archive_are_right(parts, tmp_path):
    archive = Archive(tmp_path / "archive", Parts.at(parts), seed=0)
    soak(archive, runs=12, fresh_every=6)
    assert archive.changes.total() > 5
