"""Decisions stick: 200 of them, then what a user does to an album; counts lost and contradicted.

    python -m experiments.sticking --lfw DIR --out OUT

The album is photos of LFW, and pages on which several of them are pasted in different sizes, so
that another --detail finds other boxes. Half of the people are enrolled from one photo each. After
each change the album is identified again, and each decision is looked up at its place.

Lost: it is not obeyed, or its place is not recognized. Contradicted: the opposite is written. No
face: the detector finds none there any more, or one too small to compare, so that there is nothing
to obey; a face with a name is lost then.
"""

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
from PIL import Image

from experiments import parser, run
from faceops.base.errors import FaceOpsError, UsageError
from faceops.faces.detector import Box, box_overlap
from faceops.gallery import people
from faceops.gallery.decisions import Decisions, scaled_box
from faceops.gallery.enrol import enrol
from faceops.gallery.journal import Action, Entry, Ignored, Journal, new_person
from faceops.gallery.names import person_key
from faceops.gallery.reembed import reembed
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.registry.published.assemble import load_published
from faceops.release.bundle import Bundle

SINGLE, PAGES, ON_A_PAGE = 80, 14, 12  # photos of the album, and photos on each page
PAGE = 2000, 1500  # pixels
SIDES = 70, 420  # of a photo on a page, pixels
CONFIRM, REFUSE, IGNORE, DRAW, LINK = 71, 40, 40, 20, 30  # decisions; a link takes two faces
Row = dict[str, Any]  # of the records
NEAR = 0.2  # overlap from which a box certainly is about that face, as faces lie apart


@dataclass(frozen=True)
class Decided:
    """A decision, by the photo's name, which no change alters, and its size then."""

    entry: Entry
    photo: str
    name: str


@dataclass(frozen=True)
class World:
    """The folders that are changed, and the release."""

    root: Path
    bundle: Bundle
    detail: int = 1280

    @property
    def gallery(self) -> Path:
        """The gallery with the journal."""
        return self.root / "gallery"

    def identify(self, bundle: Bundle | None = None, **settings: Any) -> None:
        """Identify the album."""
        bundle = bundle or self.bundle
        chosen = IdentifySettings(**settings)
        gallery = Gallery.open(self.gallery)
        identify(self.root / "album", gallery, bundle, self.root / "found", chosen)

    def rows(self) -> dict[str, list[Row]]:
        """Return the records with a face by the photo's name."""
        found: dict[str, list[Row]] = {}
        for row in pq.read_table(self.root / "found/faces.parquet").to_pylist():
            if row["face_index"] is not None:
                found.setdefault(Path(row["photo_path"]).name, []).append(row)
        return found

    def photo(self, name: str) -> Path:
        """Return the file, wherever it is now."""
        return next((self.root / "album").rglob(name))

    def unknown(self) -> dict[tuple[str, int], str]:
        """Return the unknown person of each face by the photo's name and the face's place."""
        with (self.root / "found/unknown.csv").open(newline="", encoding="utf-8") as file:
            return {
                (Path(row["photo_path"]).name, int(row["face_index"])): row["unknown"]
                for row in csv.DictReader(file)
            }


def box_of(row: Row) -> Box:
    """Return the box of a record."""
    return row["x"], row["y"], row["width"], row["height"]


def lay_out(lfw: Path, root: Path, draw: Random) -> None:
    """Make the album and the folder of people to enrol."""
    folders = sorted(path for path in lfw.iterdir() if len(list(path.glob("*.jpg"))) in range(3, 9))
    chosen = draw.sample(folders, 60)
    photos = [photo for folder in chosen for photo in sorted(folder.glob("*.jpg"))[1:]]
    draw.shuffle(photos)
    for folder in chosen[::2]:
        (root / "people" / folder.name).mkdir(parents=True)
        shutil.copy(min(folder.glob("*.jpg")), root / "people" / folder.name)
    (root / "album").mkdir()
    for photo in photos[:SINGLE]:
        shutil.copy(photo, root / "album")
    for number in range(PAGES):
        page = Image.new("RGB", PAGE, (90, 100, 110))
        for place, photo in enumerate(draw.sample(photos[SINGLE:], ON_A_PAGE)):
            side = draw.randint(*SIDES)
            with Image.open(photo) as image:
                page.paste(image.resize((side, side)), (place % 4 * 480, place // 4 * 480))
        page.save(root / "album" / f"page_{number:02d}.jpg", quality=92)


def decide(world: World, draw: Random) -> list[Decided]:
    """Write the decisions into the journal; each is about another face, but links about two."""
    rows = [(photo, row) for photo, found in sorted(world.rows().items()) for row in found]
    draw.shuffle(rows)
    decisions, entries, made = Decisions(), [], []
    ids: dict[str, str] = {}

    def person(name: str) -> str:
        if name not in ids:
            ids[name], naming = decisions.naming(name)
            entries.extend(naming)
        return ids[name]

    def add(action: Action, face: tuple[str, Row], who: str = "", **more: Any) -> None:
        photo, row = face
        size = Image.open(world.photo(photo)).size
        box = more.pop("box", box_of(row))
        name = next((name for name, one in ids.items() if one == who), "")
        entries.append(Entry(action, row["photo_id"], box, size, who, **more))
        made.append(Decided(entries[-1], photo, name))

    known = Gallery.open(world.gallery).people
    with_guess = [face for face in rows if face[1]["person"] or face[1]["runner_up"]]
    for face in with_guess[:REFUSE]:
        add(Action.REFUSE, face, person(face[1]["person"] or face[1]["runner_up"]))
    rest = [face for face in rows if face not in with_guess[:REFUSE]]
    for number, face in enumerate(rest[:CONFIRM]):
        name = known[number % len(known)] if number % 2 else f"Somebody {number % 10}"
        taken = {one.name for one in made if one.photo == face[0]}
        add(Action.CONFIRM, face, person(f"Somebody {number}" if name in taken else name))
    for face in rest[CONFIRM : CONFIRM + IGNORE]:
        add(Action.IGNORE, face, detail=draw.choice(list(Ignored)))
    free = [face for face in rest[CONFIRM + IGNORE :] if face[1]["decision"] == "unknown"]
    for one, other in zip(free[: 2 * LINK : 2], free[1 : 2 * LINK : 2], strict=False):
        group = new_person()
        for face in (one, other) if one[0] != other[0] else ():
            add(Action.CONFIRM, face, group)
    for number, face in enumerate(draw.sample(rows, DRAW)):
        width, height = Image.open(world.photo(face[0])).size
        corner = (width * number / DRAW, height - 31.0, width / DRAW, 30.0)  # no two are one
        add(Action.DRAW, face, person(f"Drawn {number}"), box=corner)
    Journal(world.gallery).append(entries)
    return made


def row_of(one: Decided, world: World, rows: Sequence[Row]) -> Row | None:
    """Return the record of the decided face, one of `rows` of its photo; None for none."""
    assert one.entry.box is not None
    now = scaled_box(one.entry.box, one.entry.size, Image.open(world.photo(one.photo)).size)
    near = max(rows, key=lambda row: box_overlap(box_of(row), now), default=None)
    return near if near and box_overlap(box_of(near), now) >= NEAR else None


def outcome(one: Decided, world: World, rows: Sequence[Row]) -> str:
    """Return how a decision about one face fares: held, lost, contradicted or no face."""
    entry, near = one.entry, row_of(one, world, rows)
    if near is None:
        return "lost" if entry.action in (Action.DRAW, Action.CONFIRM) else "no face"
    person, reason = near["person"] or "", near["reason"] or ""
    if entry.action == Action.REFUSE:
        place = Decisions.load(world.gallery).match(near["photo_id"], [box_of(r) for r in rows])
        is_known = place[rows.index(near)] is not None
        wrong = person_key(person) == person_key(one.name)
        return "contradicted" if wrong else "held" if is_known else "lost"
    if entry.action == Action.IGNORE:
        return "contradicted" if person else "held" if reason == "ignored" else "lost"
    if person_key(person) == person_key(one.name) and reason == "confirmed":
        return "held"
    return "contradicted" if person else "lost"


def count(made: Iterable[Decided], world: World) -> Counter[str]:
    """Return how many decisions fare how; two linked faces are one decision."""
    rows, unknown = world.rows(), world.unknown()
    fared: Counter[str] = Counter()
    groups: dict[str, list[str | None]] = {}
    for one in made:
        found = rows.get(one.photo, [])
        if one.name or one.entry.action == Action.IGNORE:
            fared[outcome(one, world, found)] += 1
            continue
        near = row_of(one, world, found)
        name: str | None = "no face"
        if near and near["decision"] != "rejected":
            name = unknown.get((one.photo, near["face_index"]))
        groups.setdefault(one.entry.person, []).append(name)
    for names in groups.values():
        if "no face" in names:
            fared["no face"] += 1
        elif None in names:
            fared["lost"] += 1
        else:
            fared["held" if len(set(names)) == 1 else "contradicted"] += 1
    return fared


def moved(world: World) -> None:
    """Move every photo into another folder."""
    (world.root / "album/elsewhere").mkdir()
    for photo in list((world.root / "album").glob("*.jpg")):
        photo.rename(world.root / "album/elsewhere" / photo.name)


def tagged(world: World) -> None:
    """Write a comment into each photo."""
    for photo in (world.root / "album").glob("*.jpg"):
        content = photo.read_bytes()
        photo.write_bytes(content[:2] + b"\xff\xfe\x00\x06tags" + content[2:])


def saved_smaller(world: World) -> None:
    """Save each photo in half the size and with less quality."""
    for photo in (world.root / "album").glob("*.jpg"):
        with Image.open(photo) as image:
            half = image.convert("RGB").resize((image.width // 2, image.height // 2))
        half.save(photo, quality=75)


def merged(world: World) -> None:
    """Merge two people, identify, and undo it."""
    one, other = Gallery.open(world.gallery).people[:2]
    people.merge(world.gallery, one, other)
    world.identify()
    people.split(world.gallery, other, one)


def page_killed(world: World) -> list[Decided]:
    """Confirm a face on the page, and kill the page as soon as it has answered."""
    decisions, name = Decisions.load(world.gallery), "Somebody On The Page"
    photo, row = next(
        (photo, row)
        for photo, found in sorted(world.rows().items())
        for row in found
        if row["decision"] == "unknown"
        if decisions.match(row["photo_id"], [box_of(row)]) == [None]
    )
    where = ["--out", str(world.root / "found"), "--gallery", str(world.gallery)]
    command = [sys.executable, "-m", "faceops.cli", "review", *where, "--port=0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        address = urlsplit(page.stdout.readline().split()[-1])
        headers = {"Origin": f"http://{address.netloc}", "X-FaceOps": "1"}
        connection = HTTPConnection(address.netloc, timeout=60)
        connection.request("GET", f"/?{address.query}", headers=headers)
        answer = connection.getresponse()
        answer.read()
        headers["Cookie"] = (answer.headers["Set-Cookie"] or "").partition(";")[0]
        body = {"keys": [f"{row['photo_id']}.{row['face_index']}"], "person": name}
        connection.request("POST", "/api/confirm", json.dumps(body), headers)
        status = connection.getresponse().status
        page.kill()
    if status != 200:
        raise FaceOpsError(f"the page answered {status} to a decision.")
    size = Image.open(world.photo(photo)).size
    return [Decided(Entry(Action.CONFIRM, row["photo_id"], box_of(row), size), photo, name)]


def main() -> None:
    """Print a table: a row for each change."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    options.add_argument("--out", type=Path, required=True, help="a new folder")
    text = "bundle of another release with the same detector and alignment, for `people reembed`"
    options.add_argument("--other", type=Path, help=text)
    args = options.parse_args()
    if args.out.exists():
        raise UsageError(f"{args.out} exists; name a new folder with --out.")
    draw, bundle = Random(0), load_published()
    world = World(args.out / "now", bundle)
    world.root.mkdir(parents=True)
    lay_out(args.lfw, world.root, draw)
    enrol(world.root / "people", world.gallery, bundle)
    world.identify(keep_crops=True)
    made = decide(world, draw)
    world.identify(keep_crops=True)
    shutil.copytree(world.root, args.out / "before")
    other = Bundle.load(args.other) if args.other else None

    def reembedded(world: World) -> None:
        assert other is not None
        reembed(world.gallery, other)

    changes: list[tuple[str, Callable[[World], object], dict[str, Any]]] = [
        ("rerun", lambda world: (world.root / "found/faces.csv").unlink(), {}),
        ("another budget", lambda _: None, {"budget": 0.001}),
        ("photos moved", moved, {}),
        ("state deleted", lambda world: (world.root / "found/state.sqlite").unlink(), {}),
        ("--detail 0", lambda _: None, {"detail": 0}),
        ("--detail 2000", lambda _: None, {"detail": 2000}),
        ("a merge and its undo", merged, {}),
        ("the page killed", page_killed, {}),
        ("tags written into photos", tagged, {}),
        ("saved in half the size", saved_smaller, {}),
    ]
    if other is not None:
        changes.append(("reembed to another release", reembedded, {"bundle": other}))
    linked = len([one for one in made if not one.name and one.entry.action == Action.CONFIRM])
    print(f"{len(made) - linked // 2} decisions")
    columns = ("lost", "contradicted", "no face")
    print(f"{'':28}" + "".join(f"{name:>14}" for name in columns), flush=True)
    for name, change, settings in changes:
        shutil.rmtree(world.root)
        shutil.copytree(args.out / "before", world.root)
        further = change(world)
        world.identify(**settings)
        fared = count([*made, *(further if isinstance(further, list) else ())], world)
        print(f"{name:28}" + "".join(f"{fared[one]:>14}" for one in columns), flush=True)


if __name__ == "__main__":
    run(main)
