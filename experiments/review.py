"""What corrections bring: names in the album that is reviewed, and in photos that nobody reviewed.

    python -m experiments.review --photos DIR --work WORK [--decisions 0 100 300]

DIR has a folder of photos for each person, as LFW and Pins. People with ten photos or more are
enrolled from one photo each, by the published release; of their other photos and of others', half
are the album and half come later. A simulated reviewer decides about the piles of the review page
by the labels: confirms, ignores strangers, errs in 2 % of the decisions and undoes half of these
errors. After so many decisions a row is printed:

- the gallery's faces, which are more where confirmed faces are good enough to be enrolled;
- album: labelled faces with the right name, or rightly without one;
- groups of unknown faces, by whom most of their faces show: the page proposes the right enrolled
  person, a wrong one, nobody; and a name for groups of others;
- later: right and wrong names of enrolled people's photos, and names of others' photos, in the
  photos that come later, named with the gallery of then.

A label says who is on a photo, and counts for its largest face. WORK must not exist.
"""

import contextlib
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import parser, run
from faceops.base.errors import UsageError
from faceops.dataset.names import display_name
from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.identification.records.records import read_columns
from faceops.identification.run import identify
from faceops.registry.published import load_published
from faceops.release.bundle import Bundle
from faceops.review.album import Album

FEWEST = 10  # photos of an enrolled person
OF_PERSON, OF_OTHERS = 25, 6  # photos of one person, at most
ERRORS, UNDONE, PATIENCE_S = 0.02, 0.5, 600
HEADER = (
    "| decisions | gallery | album: right | groups of enrolled: right, wrong, none | others with a"
    " name | later: right, wrong, none | others named |\n|" + " --- |" * 7
)


@dataclass(frozen=True)
class Labelled:
    """The labelled face of a photo: its key on the page, whose it is, and the name it was given.

    `whose` is "" for somebody who is not enrolled, `person` for no name.
    """

    key: str
    whose: str
    person: str


@dataclass(frozen=True)
class World:
    """The folders, and the release."""

    work: Path
    bundle: Bundle

    @property
    def gallery(self) -> Path:
        """The gallery with the journal."""
        return self.work / "gallery"

    def lay_out(self, photos: Path, people: int, album: int) -> None:
        """Copy photos into `people`, `album` and `later`."""
        draw = random.Random(0)
        files = {path.name: sorted(path.glob("*.jpg")) for path in sorted(photos.iterdir())}
        for some in files.values():
            draw.shuffle(some)
        names = [name for name, some in files.items() if len(some) >= FEWEST]
        enrolled = set(draw.sample(names, min(people, len(names))))
        known = [one for name in sorted(enrolled) for one in files[name][1:OF_PERSON]]
        rest = [one for name in files if name not in enrolled for one in files[name][:OF_OTHERS]]
        draw.shuffle(known)
        draw.shuffle(rest)
        part = min(2 * album * 3 // 4, len(known))
        mixed = [*known[:part], *rest[: 2 * album - part]]
        places = [(self.work / "people", files[name][0]) for name in sorted(enrolled)]
        places += [(self.work / ("album", "later")[at % 2], one) for at, one in enumerate(mixed)]
        for folder, photo in places:
            (folder / photo.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, folder / photo.parent.name)
        enrol(self.work / "people", self.gallery, self.bundle)

    def identify(self, photos: str) -> list[Labelled]:
        """Name the people on `album` or `later`; return the largest face of each photo."""
        found, gallery = self.work / f"{photos}_found", Gallery.open(self.gallery)
        identify(self.work / photos, gallery, self.bundle, found)
        columns = ("photo_id", "photo_path", "face_index", "width", "height", "person")
        largest: dict[str, tuple[float, Labelled]] = {}
        for photo, path, index, width, height, person in read_columns(
            found / "faces.parquet", *columns
        ):
            folder = Path(path).parent.name
            whose = display_name(folder) if (self.work / "people" / folder).is_dir() else ""
            face = Labelled(f"{photo}.{index}", whose, person or "")
            if index is not None and width * height > largest.get(path, (0.0, face))[0]:
                largest[path] = width * height, face
        return [face for _, face in largest.values()]


class Reviewer:
    """Decides about the piles of a page by the labels, with errors."""

    def __init__(self, page: Album, truth: dict[str, str]) -> None:
        self._page, self._truth, self._draw = page, truth, random.Random(1)
        self.decisions = self.errors = self.undone = 0

    def review(self, until: int) -> None:
        """Decide until so many decisions are made, or none is asked for."""
        before = -1
        while before < self.decisions < until:  # further piles come of decisions
            before = self.decisions
            for pile in self._page.piles():
                for face in self._page.pile(pile.person, 0, pile.faces):
                    if self.decisions < until:
                        self._decide(face.key, pile.person)
            self._page.wait(PATIENCE_S)

    def _decide(self, key: str, asked: str) -> None:
        whose = self._truth.get(key, "")
        self.decisions += 1
        if self._draw.random() < ERRORS:
            self.errors += 1
            batch = self._answer(key, "" if whose == asked else asked)
            if self._draw.random() >= UNDONE:
                return
            self.undone += 1
            self._page.undo(batch)
        self._answer(key, whose)

    def _answer(self, key: str, person: str) -> str:
        return self._page.confirm([key], person) if person else self._page.ignore([key])


def proposals(page: Album, truth: dict[str, str]) -> tuple[Counter[str], str]:
    """Return how many groups of enrolled people are proposed how, and of others with a name."""
    known: Counter[str] = Counter()
    others = [0, 0]
    for group in page.groups():
        faces = page.group(group.name, 0, group.faces)
        own = Counter(truth[face.key] for face in faces if face.key in truth)
        person = own.most_common(1)[0][0] if own else None
        if person:
            right = group.perhaps == person
            known["right" if right else "wrong" if group.perhaps else "none"] += 1
        elif person is not None:
            others[0] += bool(group.perhaps)
            others[1] += 1
    return known, f"{others[0]} of {others[1]}"


def named(faces: Sequence[Labelled]) -> tuple[str, str]:
    """Return how many faces of enrolled people, and of others, are named how."""
    known = Counter(
        "right" if face.person == face.whose else "wrong" if face.person else "none"
        for face in faces
        if face.whose
    )
    others = [bool(face.person) for face in faces if not face.whose]
    cells = ", ".join(str(known[one]) for one in ("right", "wrong", "none"))
    return cells, f"{sum(others)} of {len(others)}"


def main() -> None:
    """Make both folders, review one, name people in the other."""
    options = parser(__doc__)
    options.add_argument("--photos", type=Path, required=True, help="DIR/PERSON/PHOTO.jpg")
    options.add_argument("--work", type=Path, required=True, help="a new folder")
    options.add_argument("--people", type=int, default=100, help="enrolled")
    options.add_argument("--album", type=int, default=1000, help="photos of each folder")
    options.add_argument("--decisions", type=int, nargs="+", default=[0, 100, 300])
    args = options.parse_args()
    if args.work.exists():
        raise UsageError(f"{args.work} exists; name a new folder with --work.")
    world = World(args.work, load_published())
    world.lay_out(args.photos, args.people, args.album)
    truth = {face.key: face.whose for face in world.identify("album")}
    print(HEADER)
    out = args.work / "album_found"
    with contextlib.closing(Album(out, world.gallery, world.bundle)) as page:
        reviewer = Reviewer(page, truth)
        for until in args.decisions:
            reviewer.review(until)
            page.publish(wait=True)
            album, later = world.identify("album"), world.identify("later")
            known, others = proposals(page, truth)
            right = sum(face.person == face.whose for face in album) / len(album)
            groups = ", ".join(str(known[one]) for one in ("right", "wrong", "none"))
            faces = len(Gallery.open(world.gallery).faces)
            cells = (reviewer.decisions, faces, f"{right:.1%}", groups, others, *named(later))
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    print(f"{reviewer.errors} errors, {reviewer.undone} of them undone")


if __name__ == "__main__":
    run(main)
