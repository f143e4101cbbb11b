"""The Dockerfile names only what exists, pins by the lock and gives up root."""

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from faceops.cli import build_parser

Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def stages(repository: Path) -> dict[str, list[Instruction]]:
    """Return stage name -> its instructions (word, arguments), in order; FROM comes first."""
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    result: dict[str, list[Instruction]] = {}
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            match = re.fullmatch(r"\S+ AS (\S+)", rest)
            assert match, f"{line}: every stage has a name"
            current = result.setdefault(match.group(1), [])
        current.append((word, " ".join(rest.split())))
    return result


def whole(stages: dict[str, list[Instruction]], name: str) -> list[Instruction]:
    """Return the instructions of a stage after those of the stages that it stands on."""
    base = stages[name][0][1].split()[0]
    return (whole(stages, base) if base in stages else []) + stages[name]


def last(instructions: list[Instruction], word: str) -> str:
    return [rest for one, rest in instructions if one == word][-1]


def test_the_default_target_is_identify_and_rebuild_stands_beside_it(stages) -> None:
    assert list(stages)[-1] == "identify"
    assert "rebuild" in stages


def test_every_copied_path_exists_and_reaches_docker(repository: Path, stages) -> None:
    lines = (repository / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    copied = set()
    for instructions in stages.values():
        for word, rest in instructions:
            if word not in ("COPY", "ADD"):
                continue
            if match := re.match(r"--from=(\S+)", rest):
                assert match.group(1) in stages, rest
                continue
            copied |= set(rest.split()[:-1])
    assert copied
    for source in copied:
        assert (repository / source).exists(), source
        assert source in allowed, f"{source} is kept out by .dockerignore"
    assert copied == set(allowed)
    for private in ("data", "gallery", "mlflow.db", "mlartifacts", ".git"):
        assert not any(fnmatch(private, pattern) for pattern in allowed)


@pytest.mark.parametrize("target", ["identify", "rebuild"])
def test_a_target_runs_as_another_than_root(stages, target: str) -> None:
    instructions = whole(stages, target)
    user = last(instructions, "USER")
    assert user not in ("root", "0")
    made = [rest for word, rest in instructions if word == "RUN" and f" {user}" in rest]
    assert any("useradd" in rest for rest in made)
    # Nothing is run or copied after root is given up, so nothing is the user's to overwrite.
    assert instructions[-1] == ("USER", user)


@pytest.mark.parametrize("target", ["identify", "rebuild"])
def test_entry_point_and_health_check_are_commands_of_the_package(
    repository: Path, stages, target: str
) -> None:
    scripts = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["scripts"]
    instructions = whole(stages, target)
    entry = json.loads(last(instructions, "ENTRYPOINT"))
    assert len(entry) == 1
    assert entry[0] in scripts
    health = last(instructions, "HEALTHCHECK")
    command = json.loads(health[health.index("CMD ") + 4 :])
    assert command[0] in scripts
    args = build_parser().parse_args(command[1:])
    assert args.run(args) == 0


@pytest.mark.parametrize("target", ["identify", "rebuild"])
def test_any_user_has_a_home_and_a_cache_to_write(stages, target: str) -> None:
    instructions = whole(stages, target)
    settings = dict(re.findall(r"(\w+)=(\S+)", " ".join(r for w, r in instructions if w == "ENV")))
    made = " ".join(rest for word, rest in instructions if word == "RUN")
    assert f"chmod -R a+rwX {settings['HOME']}" in made
    assert f"mkdir -p {settings['FACEOPS_CACHE']} " in made
    assert settings["FACEOPS_CACHE"].startswith(settings["HOME"] + "/")


def test_commands_in_the_comments_are_commands_of_the_cli(repository: Path) -> None:
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    match = re.search(r"faceops (identify .*?)\n(?!#  )", text.replace("\\\n#", ""), re.DOTALL)
    assert match
    args = build_parser().parse_args(match.group(1).split())
    assert args.command == "identify"


def test_every_install_is_pinned_by_the_lock(stages) -> None:
    installs = [
        rest
        for instructions in stages.values()
        for word, rest in instructions
        if word == "RUN" and "uv pip install" in rest
    ]
    assert len(installs) >= 2
    for install in installs:
        assert "-c requirements.lock" in install


def test_only_rebuild_asks_for_the_extra_with_torch(repository: Path, stages) -> None:
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    for target, wanted in (("identify", False), ("rebuild", True)):
        (source,) = re.findall(r"--from=(\S+)", str(whole(stages, target)))
        asked = re.findall(r"\.\[(\w+)\]", str(whole(stages, source)))
        assert bool(asked) is wanted
        assert set(asked) <= set(extras["optional-dependencies"])


def test_the_image_runs_a_python_that_the_package_allows(repository: Path, stages) -> None:
    requires = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    least = tuple(map(int, requires["requires-python"].removeprefix(">=").split(".")))
    bases = {rest.split()[0] for name in stages for word, rest in stages[name][:1]} - set(stages)
    (base,) = bases  # builder and runtime must be one interpreter: the environment is copied
    match = re.fullmatch(r"python:(\d+)\.(\d+)-slim", base)
    assert match
    assert tuple(map(int, match.groups())) >= least
