"""The folders that commands are given: all are checked before anything is read or written."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceops.base.errors import UsageError
from faceops.cli import build_parser, main
from faceops.cli import check_folders as check_arguments
from faceops.photos import folders
from faceops.photos.folders import Folder, Kind, Use, check_folders

# What lies in a folder of each kind.
CONTENT = {
    folders.GALLERY: ("gallery.json", "faces.parquet", "crops/aa/aaaa.png"),
    folders.BUNDLE: ("release.json", "embedder.onnx"),
    folders.RESULTS: ("state.sqlite", "runs/1/annotated/a.jpg"),
    folders.DATA_SET: ("sources.json", "photos/Ann/1.jpg"),
    folders.EVALUATION: ("evaluation.json", "pictures/roc.png"),
    folders.SUSPICIONS: ("suspicions.csv", "suspicions-001.png"),
    folders.PHOTOS: ("Ann/holiday/1.JPG", "Ben.jpg"),
}
RAW = os.fsdecode(b"caf\xe9")


def commands(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, list[argparse.Action]]]:
    """Yield each command with its arguments."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield name.strip(), parser._actions
    for group in groups:
        for word, below in group.choices.items():
            yield from commands(below, f"{name} {word}")


PARSER = build_parser()
PARSERS = dict(commands(PARSER))


def declared(command: str) -> list[tuple[str, Kind, Use]]:
    """Return argument, kind and use of the folders of a command."""
    (folders_of,) = [vars(PARSER.parse_args(arguments(command, {}))).get("folders") or ()]
    names = {a.dest: (a.option_strings or [a.dest])[0] for a in PARSERS[command]}
    return [(names[dest], kind, use) for dest, kind, use in folders_of]


def arguments(command: str, given: dict[str, Path]) -> list[str]:
    """Return the command with the folders `given`, and something for all that it requires."""
    words = command.split()
    for action in PARSERS[command]:
        name = (action.option_strings or [action.dest])[0]
        value = str(given[name]) if name in given else "x"
        if action.option_strings and (action.required or name in given):
            words += [name, value]
        elif not action.option_strings and (action.nargs is None or name in given):
            words.append(value)
    return words


def make(folder: Path, kind: Kind) -> Path:
    """Make a folder that looks like one of `kind`."""
    for name in CONTENT[kind]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def refused(command: str, given: dict[str, Path], sentence: str) -> None:
    """Check that the command is refused with one sentence."""
    with pytest.raises(UsageError, match=sentence) as error:
        check_arguments(PARSER.parse_args(arguments(command, given)))
    assert "\n" not in str(error.value)


WRITTEN = [
    (command, name, kind, use)
    for command in PARSERS
    for name, kind, use in declared(command)
    if use is not Use.READ
]


def test_all_folders_of_all_commands_are_checked():
    for command, actions in PARSERS.items():
        known = {name for name, *_ in declared(command)}
        for action in actions:  # a path is a file, or is declared by `add_folder`
            name = (action.option_strings or [action.dest])[0]
            if action.type is Path or "DIR" in str(action.metavar):
                assert action.metavar in ("FILE", "PEM") or name in known, (command, name)
    people = ("list", "show", "rename", "merge", "split", "unalias", "forget", "readmit", "reembed")
    assert {(command, name) for command, name, *_ in WRITTEN} == {
        *((command, "--out") for command in ("data synthetic", "data import", "data doctor")),
        *((command, "--out") for command in ("identify", "name", "evaluate", "release export")),
        *((f"people {word}", "--out") for word in ("forget", "readmit")),
        *((f"people {word}", "--gallery") for word in people),
        *((command, "--gallery") for command in ("enrol", "identify", "name", "gallery import")),
        *((f"decisions {word}", "--gallery") for word in ("undo", "import")),
        *(("review", option) for option in ("--gallery", "--out")),
        ("evaluate", "--work"),
        ("identify", "--state"),
    }


@pytest.mark.parametrize(("command", "name", "own", "use"), WRITTEN)
def test_a_folder_that_holds_something_else_is_refused(command, name, own, use, tmp_path):
    for kind in CONTENT:
        folder = make(tmp_path / kind.name, kind)
        if kind is not own:
            link = tmp_path / f"link to {kind.name}"
            link.symlink_to(folder)
            for path in (folder, link, tmp_path / "new" / ".." / kind.name):
                refused(command, {name: path}, "name another folder")
        if kind.closed:
            refused(command, {name: folder / "new" / "below"}, f"lies inside {folder}")
    if use is Use.WRITE:
        refused(command, {name: tmp_path / RAW}, "is not a UTF-8 path")


def test_the_folders_are_checked_before_a_command_runs(tmp_path, capsys):
    make(tmp_path, folders.PHOTOS)
    assert main(["enrol", str(tmp_path), "--gallery", str(tmp_path / "Ann")]) == 2
    assert "name a folder outside it" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "1.JPG",
        "Ann",
        "Ben.jpg",
        "holiday",
    ]


@pytest.mark.parametrize(
    ("command", "written", "other"),
    [
        (command, name, other)
        for command, name, _, use in WRITTEN
        for other, kind, used in declared(command)
        if use is Use.WRITE and other != name
        and {name, other} != {"--out", "--state"}  # then --out is a URL
        and (used is Use.READ or (used is Use.WRITE and command != "evaluate"))
    ],
)  # fmt: skip
def test_a_written_folder_is_apart_from_the_others(command, written, other, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    for sentence, paths in (
        ("name two folders", ("a", "link", "a/b/..")),
        ("name a folder outside", ("a/b", "link/new/one")),
    ):
        for path in paths:
            refused(command, {written: tmp_path / path, other: tmp_path / "a"}, sentence)


def test_a_folder_under_another_spelling_is_known_by_its_inode(tmp_path, monkeypatch):
    (tmp_path / "Photos").mkdir()
    (tmp_path / "photos").symlink_to("Photos")  # as on a file system that ignores case
    monkeypatch.setattr(os.path, "realpath", os.fspath)
    photos, new = (Folder(tmp_path / name, folders.PHOTOS) for name in ("Photos", "photos/new"))
    assert new.lies_inside(photos)
    assert not photos.lies_inside(new)


def test_what_a_command_wrote_itself_and_photos_beside_it_are_allowed(tmp_path):
    for kind in CONTENT:
        if kind is not folders.PHOTOS:
            check_folders([Folder(make(tmp_path / kind.name, kind), kind, Use.WRITE)])
    photos = make(tmp_path / folders.RESULTS.name / "album", folders.PHOTOS)
    results = Folder(tmp_path / folders.RESULTS.name, folders.RESULTS, Use.WRITE)
    check_folders([Folder(photos, folders.PHOTOS), results])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").touch()
    check_folders([Folder(tmp_path / "notes", folders.RESULTS, Use.WRITE)])
    (tmp_path / "data" / "photos" / "Ann").mkdir(parents=True)
    (tmp_path / "data" / "photos" / "Ann" / "1.jpg").touch()
    check_folders([Folder(tmp_path / "data", folders.DATA_SET, Use.WRITE)])
    with pytest.raises(UsageError, match="is a file"):
        check_folders([Folder(tmp_path / "notes" / "todo.txt", folders.RESULTS, Use.WRITE)])
