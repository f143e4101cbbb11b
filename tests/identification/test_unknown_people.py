"""Unknown people: found over several photos, numbered for good, enrolled under a name."""

import csv
import json
import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.reasons import Reason
from faceops.cli import main
from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.identification.summary import read_summary
from faceops.identification.unknown.name_unknown import Naming, name_unknown
from faceops.identification.unknown.unknown_people import FaceKey, forget_numbers, unknown_number
from tests.identification.columns import number_groups
from tests.identification.conftest import LENIENT, Run


def name_as(run: Run, unknown: str, name: str) -> Naming:
    return name_unknown(unknown, name, run.gallery.place, run.bundle, run.out, None)


def unknown_of(out: Path) -> dict[str, set[str]]:
    """The photos of each unknown person."""
    found: dict[str, set[str]] = defaultdict(set)
    with (out / "unknown.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[row["unknown"]].add(row["photo_path"])
    return dict(found)


def persons(paths: set[str]) -> set[str]:
    return {path.rsplit("_", 1)[0] for path in paths}


def test_an_unknown_person_is_named_and_the_album_identified_again(portraits, tmp_path):
    album, own, out = portraits.album, portraits.gallery.place, portraits.out
    first = read_summary(out)
    found = unknown_of(out)
    assert first.unknown_people == len(found) >= 1
    assert first.unknown_people_faces == sum(map(len, found.values()))
    assert all(len(persons(paths)) == 1 and len(paths) > 1 for paths in found.values())
    report = (out / "report.html").read_text("utf-8")
    assert all(f"<h3>{name}</h3>" in report for name in found)
    name, paths = min(found.items())

    done = name_as(portraits, name, "Someone_New")
    assert (done.person, done.faces) == ("Someone New", len(paths))
    refused = done.summary.not_admitted
    assert all("(extreme_pose)" in sentence for sentence in refused)
    assert done.enrolled == done.summary.admitted == len(paths) - len(refused) > 0
    assert done.summary.reasons[Reason.CONFIRMED] == len(paths)
    assert done.summary.photos_opened == 0  # what the first run found is known
    assert done.summary.budget == LENIENT.budget
    assert done.summary.people["Someone New"] >= len(paths)
    assert name not in unknown_of(out)
    gallery = Gallery.open(own)
    named = {face.photo for face in gallery.faces if face.person == "Someone New"}
    assert named == paths - {sentence.split(" (")[0] for sentence in refused}
    with pytest.raises(FaceOpsError, match=f"there is no {name}"):
        name_as(portraits, name, "Someone New")
    # A folder of people that does not have them does not take them away again.
    people = tmp_path / "people"
    (people / "x").mkdir(parents=True)
    shutil.copyfile(next(album.iterdir()), people / "x" / "p.jpg")
    enrol(people, own, portraits.bundle, prune=True)
    assert "Someone New" in Gallery.open(own).people


def test_numbers_stay_when_photos_are_added_and_gone_for_a_while(portraits, tmp_path):
    album, out = portraits.album, portraits.out
    away = tmp_path / "away"
    nobody = portraits._replace(
        gallery=portraits.gallery.without(np.ones(len(portraits.gallery.faces), bool))
    )
    nobody()
    before = unknown_of(out)
    assert len(before) >= 3
    gone = min(before)
    away.mkdir()
    for path in before[gone]:
        (album / path).rename(away / path)
    nobody()
    assert unknown_of(out) == {name: paths for name, paths in before.items() if name != gone}
    for path in before[gone]:
        (away / path).rename(album / path)
    os.link(album / min(before[gone]), album / "a_copy.jpg")
    nobody()
    now = unknown_of(out)
    assert now.pop(gone) == before[gone] | {"a_copy.jpg"}
    assert now == {name: paths for name, paths in before.items() if name != gone}


def test_the_command_prints_what_it_did(portraits, sface_bundle, tmp_path, capsys):
    album, own, out = portraits.album, portraits.gallery.place, portraits.out
    common = ["--gallery", str(own), "--out", str(out), "--bundle", str(sface_bundle)]
    assert main(["identify", str(album), *common, "--budget", "0.21", "--xmp"]) == 0
    assert "unknown people were seen in several photos" in capsys.readouterr().out
    name, paths = min(unknown_of(out).items())
    taken = Gallery.open(own).people[0]
    (album / f"{min(paths)}.xmp").unlink(missing_ok=True)
    (album / f"{min(paths)}.xmp").mkdir()
    decisions = own / "decisions.sqlite"
    assert main(["name", name, taken.upper(), *common]) == 1
    printed = capsys.readouterr().err
    assert f"faces of {name} are unlike the faces that are enrolled as {taken};" in printed
    assert "--trust" in printed and not decisions.exists()
    assert main(["name", name, taken.upper(), "--trust", *common]) == 0
    printed = capsys.readouterr().out
    assert f"{name} is {taken}: {len(paths)} faces confirmed, " in printed
    assert f"{len(paths)} faces have the name that a person confirmed" in printed
    assert f"{min(paths)}.xmp cannot be read" in printed
    assert main(["name", "unknown-999", "X", *common]) == 1
    assert "there is no unknown-999" in capsys.readouterr().err
    assert main(["name", "somebody", "X", *common]) == 2
    assert "is not the name of an unknown person" in capsys.readouterr().err
    (out / "summary.json").write_text(json.dumps({"run_id": "x"}))
    assert main(["name", "unknown-001", "X", *common]) == 1
    assert "run faceops identify into" in capsys.readouterr().err
    common[3] = str(tmp_path / "none")
    assert main(["name", "unknown-001", "X", *common]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_faces_in_photos_that_are_gone_keep_their_decision(portraits):
    album, out = portraits.album, portraits.out
    name, paths = min(unknown_of(out).items())
    lost = sorted(paths)[1:]
    for path in lost:
        (album / path).rename(album / f".{path}")
    done = name_as(portraits, name, "Someone")
    assert (done.faces, done.enrolled) == (len(paths), 1)
    assert done.summary.reasons[Reason.CONFIRMED] == 1
    for path in lost:
        (album / f".{path}").rename(album / path)
    again = portraits()
    assert again.reasons[Reason.CONFIRMED] == len(paths)
    assert again.admitted + len(again.not_admitted) == len(lost)
    assert again.photos_opened == 0


def test_photos_whose_names_are_not_utf_8_are_found_again(portraits, tmp_path):
    portraits = portraits._replace(
        album=portraits.album.rename(tmp_path / "alb\udcfcm"), out=tmp_path / "out"
    )
    for path in list(portraits.album.iterdir()):
        path.rename(path.with_name(f"{path.stem}\udcff.jpg"))
    portraits()
    name, paths = min(unknown_of(portraits.out).items())
    done = name_as(portraits, name, "Someone")
    assert done.enrolled == len(paths) - len(done.summary.not_admitted) > 0
    assert done.summary.photos_opened == 0


@pytest.mark.parametrize("name", ["unknown-7", "unknown-007", " Unknown-0007 "])
def test_a_number_is_read_with_or_without_leading_zeros(name):
    assert unknown_number(name) == 7
    with pytest.raises(UsageError, match="unknown-007"):
        unknown_number(name.replace("7", "0"))


def keys(*names: str) -> list[FaceKey]:
    return [(name, 0) for name in names]


def test_a_group_keeps_the_number_that_most_of_its_faces_had(tmp_path):
    state = tmp_path / "state.sqlite"
    assert number_groups(state, [keys(*"abc"), keys(*"de")]) == [1, 2]
    # a falls to the second group, which stays the second; c and f are new together.
    assert number_groups(state, [keys(*"cf"), keys(*"ade"), keys("b", "g")]) == [1, 2, 3]
    assert number_groups(state, []) == []
    assert number_groups(state, [keys(*"bg"), keys(*"xy")]) == [3, 4]
    # Numbers are not reused, even if no person has them any more.
    forget_numbers(state, keys(*"xy"))
    assert number_groups(state, [keys(*"xy")]) == [5]
