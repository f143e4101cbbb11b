"""requirements.lock pins everything that pyproject.toml asks for, and names no address."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def lock(repository: Path) -> list[Requirement]:
    lines = (repository / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines]


@pytest.fixture(scope="module")
def asked(repository: Path) -> list[Requirement]:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return [one for one in map(Requirement, lines) if one.name != project["name"]]


def test_every_line_pins_one_version_and_no_address(repository):
    for line in (repository / "requirements.lock").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+==[\w.+!]+( ; .+)?", line), line
        assert "://" not in line
        assert "+" not in line.partition(" ;")[0], f"{line}: a local version is on one index only"


def test_everything_asked_for_is_pinned_within_its_range(lock, asked):
    pinned: dict[str, list[Version]] = {}
    for line in lock:
        (specifier,) = line.specifier
        pinned.setdefault(canonicalize_name(line.name), []).append(Version(specifier.version))
    for requirement in asked:
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement} is not in requirements.lock; run `make lock`"
        for version in versions:
            assert version in requirement.specifier, f"{requirement}, pinned {version}: `make lock`"


def test_no_package_is_pinned_twice_on_one_machine(lock):
    here = [canonicalize_name(one.name) for one in lock if not one.marker or one.marker.evaluate()]
    assert sorted(here) == sorted(set(here))
