"""`faceops data`: its options are those of the rooms, and its mistakes are told as such."""

from pathlib import Path

import pytest

from faceops.cli import build_parser, main
from faceops.dataset import importer
from faceops.dataset.sources import LabelledPhoto
from faceops.dataset.synthetic.settings import SyntheticSettings


def test_a_registered_source_is_a_choice_and_an_unknown_one_is_refused_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def list_flat(folder: Path) -> list[LabelledPhoto]:
        return [LabelledPhoto(p.stem, p.name, p.name, p) for p in folder.iterdir()]

    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "Ada.jpg").write_bytes(b"a photo")
    monkeypatch.setitem(importer.SOURCES, "flat", importer.Source(list_flat, "own photos"))
    out = ["--out", str(tmp_path / "data")]
    assert main(["data", "import", "flat", str(photos), *out]) == 0
    assert (tmp_path / "data/photos/Ada/Ada.jpg").read_bytes() == b"a photo"
    assert main(["data", "import", "flickr", str(photos), *out]) == 2
    assert f"'flickr'; choose from {', '.join(importer.SOURCES)}." in capsys.readouterr().err


def test_options_have_the_defaults_of_the_synthetic_settings() -> None:
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
