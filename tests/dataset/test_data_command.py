"""`faceops data`: its options are those of the rooms, and its mistakes are told as such."""

from pathlib import Path

import pytest

from faceops.cli import build_parser, main
from faceops.commands.data import SOURCES
from faceops.dataset import importer
from faceops.dataset.synthetic.settings import SyntheticSettings


def test_sources_and_defaults_are_those_of_the_rooms() -> None:
    assert tuple(importer.SOURCES) == SOURCES
    args = vars(build_parser().parse_args(["data", "synthetic"]))
    settings = vars(SyntheticSettings())
    shared = settings.keys() & args.keys()
    assert shared == settings.keys() - {"enrol_photos"}
    assert {name: args[name] for name in shared} == {name: settings[name] for name in shared}


@pytest.mark.parametrize("text", ["x", "0", "-3", "1.5", ""])
def test_a_wrong_count_of_people_is_told(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["data", "import", "tree", "photos", f"--limit-people={text}"])
    assert exit_.value.code == 2
    assert f"--limit-people: {text!r} is no whole number of 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "told"), [("nowhere", "does not exist"), ("", "is empty")])
def test_a_place_that_is_not_there_is_a_mistake_of_the_call(
    place: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    assert main(["data", "import", "tree", place, "--out", str(data)]) == 2
    assert told in capsys.readouterr().err
    assert not data.exists()
