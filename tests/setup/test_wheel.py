"""The wheel in a fresh environment, with the core's packages alone, as a newcomer uses it."""

import csv
import os
import re
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import faceops

pytestmark = pytest.mark.slow
MOST_MEGABYTES = 400  # of the installed packages, without bytecode
NO_INDEX = re.compile("error sending request|network was disabled")  # in what uv prints
KEPT = ("PATH", "LANG", "OMP_NUM_THREADS")  # of this process's environment
ABSENT = ("torch", "mlflow", "pandas", "great_expectations", "onnx", "scipy", "sklearn")


def uv(*arguments: str | Path) -> None:
    """Run uv; the test is skipped where it reaches no package index."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    command = ["uv", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and (reason := NO_INDEX.search(done.stderr)):
        pytest.skip(f"the wheel cannot be installed without a package index ({reason[0]})")
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder to work in that has nothing else of FaceOps."""

    wheel: Path
    environment: Path
    folder: Path
    weights: Path

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the folder."""
        kept = {key: value for key, value in os.environ.items() if key in KEPT}
        settings = {"HOME": str(self.folder), "FACEOPS_WEIGHTS": str(self.weights)}
        return subprocess.run(
            [str(self.environment / "bin" / program), *map(str, arguments)],
            cwd=self.folder,
            env=kept | settings,
            capture_output=True,
            text=True,
            check=False,
        )

    def faceops(self, *arguments: str | Path) -> str:
        """Return what the command prints; it must succeed."""
        done = self.run("faceops", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def names(self) -> dict[str, set[str]]:
        """Return the names that faces.csv has, by the folder of their photos."""
        named: dict[str, set[str]] = {}
        with (self.folder / "found" / "faces.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["person"]:
                    named.setdefault(row["photo_path"].split("/")[0], set()).add(row["person"])
        return named


@pytest.fixture(scope="module")
def installed(
    repository: Path, weights_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    # As from a published source distribution: the wheel is made from what that one holds.
    uv("build", "--out-dir", folder / "dist", repository)
    (wheel,) = (folder / "dist").glob("*.whl")
    environment = folder / "environment"
    uv("venv", environment)
    lock = repository / "requirements.lock"
    uv("pip", "install", "--python", environment, "--constraint", lock, wheel)
    (folder / "work").mkdir()
    return Installed(wheel, environment, folder / "work", weights_dir)


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(installed, repository):
    package = repository / "src" / "faceops"
    files = {f"faceops/{path.relative_to(package)}" for path in package.rglob("*.*")}
    expected = {name for name in files if "__pycache__" not in name}
    expected.add("faceops/weights.toml")
    about = f"faceops-{faceops.__version__}.dist-info/"
    found = {name for name in zipfile.ZipFile(installed.wheel).namelist() if about not in name}
    assert found == expected


def test_the_changelog_tells_of_the_version(repository):
    assert f"## [{faceops.__version__}] - " in (repository / "CHANGELOG.md").read_text("utf-8")


def test_the_core_is_small_and_has_no_training_library(installed):
    (packages,) = (installed.environment / "lib").glob("python*/site-packages")
    assert {path.name for path in packages.iterdir()}.isdisjoint(ABSENT)
    files = [path for path in packages.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < MOST_MEGABYTES * 2**20
    uv("pip", "check", "--python", installed.environment)


def test_people_are_named_with_the_published_release(installed, synthetic_set):
    """Two photos of each person are enrolled; the album has the third, and all of a stranger."""
    stranger = sorted((synthetic_set / "photos").iterdir())[2]
    shutil.copytree(stranger, installed.folder / "photos" / stranger.name)
    for person in sorted((synthetic_set / "enrol").iterdir()):
        for number, photo in enumerate(sorted(person.iterdir())):
            target = installed.folder / ("photos" if number == 2 else "people") / person.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, target)
    assert installed.faceops("--version") == f"faceops {faceops.__version__}\n"
    installed.faceops("enrol", "people")
    (installed.folder / "photos" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    printed = installed.faceops("identify", "photos", "--out", "found")
    assert "HEIF, JXL need: pip install 'faceops[raw,heic,jxl]'" in printed
    named = installed.names()
    assert stranger.name not in named
    assert len(named) >= 5  # of 6
    assert all(names == {folder.replace("_", " ")} for folder, names in named.items())
    installed.faceops("name", "unknown-001", "Ada Lovelace", "--out", "found")
    again = installed.names()  # with one more person enrolled the threshold moves
    assert again.items() >= (named | {stranger.name: {"Ada Lovelace"}}).items()
    assert all(again[name] == {name.replace("_", " ")} for name in again.keys() - {stranger.name})
    assert "Ada Lovelace" in installed.faceops("people", "list")
    installed.faceops("gallery", "check", "--out", "found")


def test_a_command_that_needs_an_extra_names_it(installed):
    done = installed.run("faceops", "release", "register")
    assert done.returncode == 1
    assert "which is not installed; pip install 'faceops[rebuild]'.\n" in done.stderr
