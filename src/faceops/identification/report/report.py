"""The report of a run: an HTML page of all faces, collected in bounded memory."""

import base64
import hashlib
import io
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from faceops.base.files import valid_unicode
from faceops.base.reasons import DecisionKind, Reason
from faceops.gallery.people import portraits
from faceops.identification.engine.decide import Decision, NamedPhoto
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.found_photo import thumbnail
from faceops.identification.summary import Summary, promise
from faceops.identification.unknown.unknown_people import FaceKey, UnknownPeople

# A line of text is cheap, about 70 bytes: up to here every face and file is on the page.
LISTED = 100_000
ALWAYS_LISTED = 12  # faces of each group, beyond that limit
# A picture takes 3 to 4 kB: together 25 MB at most, however many photos there are.
PICTURES_OF_PEOPLE, PICTURES_OF_UNKNOWN_PEOPLE = 3_500, 2_000
PICTURES_OF_A_GROUP = 300
IN_FRONT, IN_FRONT_OF_UNKNOWN = 12, 8
UNKNOWN_CARDS = 500  # unknown people with their own card; the others share a list
_PHOTOS_PER_READ = 256
MIN_GUESS = 0.05  # below it, the nearest person is not a useful guess
# Named faces that a tenth of the budget's strangers reach are to be checked.
NEAR_THE_LIMIT = 0.1
NAMES_TO_CHECK = 12  # in the sentence that leads to them

TEMPLATE, STYLE, SCRIPT = "report.html.j2", "report.css", "report.js"
FACES_ID = "faces"
_FACES_JSON = re.compile(
    rf'<script type="application/json" id="{FACES_ID}">(.*?)</script>', re.DOTALL
)
MEANINGS = {
    str(Reason.NO_FACE): "no face found",
    str(Reason.EMPTY): "empty file",
    str(Reason.NOT_A_PHOTO): "not a photo",
    str(Reason.UNSUPPORTED_FORMAT): "a format that is not read",
    str(Reason.UNREADABLE): "broken, or may not be read",
    str(Reason.VANISHED): "gone before it was opened",
    str(Reason.TOO_LARGE): "over the size limit",
    str(Reason.TOO_SMALL): "too few pixels",
    str(Reason.FACE_TOO_SMALL): "face too small to compare",
    str(Reason.LOW_QUALITY): "face too poor to compare",
}


class Guess(NamedTuple):
    """A person that a face may show."""

    person: str
    probability: float


class ShownFace(NamedTuple):
    """A face; or a photo without faces, which has only `photo`.

    Attributes:
        photo: the path below the root, as text.
        rank: sort key, the largest first; a probability or a quality.
        key: finds its picture.
        named: whether it was given the name of its heading.
        guesses: persons that an unnamed face may show, the most probable first.
        remark: any other text.
        check: whether it was named so near the limit that it should be checked.
    """

    photo: str
    rank: float = 0.0
    key: FaceKey | None = None
    named: bool = False
    guesses: tuple[Guess, ...] = ()
    remark: str = ""
    check: bool = False

    @property
    def caption(self) -> str:
        """The text under the picture, without the photo's path."""
        if self.named:
            return probability_text(self.rank) + (", check" if self.check else "")
        if not self.guesses:
            return self.remark
        names = " or ".join(guess.person for guess in self.guesses)
        tail = f", {self.remark}" if self.remark else ""
        return f"{names}? {probability_text(self.guesses[0].probability)}{tail}"


def probability_text(probability: float) -> str:
    """Return a probability with three digits; never as 1, since nothing is certain."""
    return ">.999" if probability >= 0.9995 else f"{probability:.3f}".removeprefix("0")


def shown_face(photo: str, key: FaceKey, decision: Decision, taken: set[str]) -> ShownFace:
    """Return a face by its decision; `taken` are the names given in its photo."""
    best, runner_up = decision.best, decision.runner_up
    if best is None:
        return ShownFace(photo, key=key, remark=str(decision.reason or "").replace("_", " "))
    if decision.person is not None:
        return ShownFace(photo, best.probability, key, named=True)
    guesses = tuple(Guess(one.person, one.probability) for one in (best, runner_up) if one)
    remark = ""
    if decision.reason is not Reason.AMBIGUOUS:
        guesses = guesses[:1] if best.probability >= MIN_GUESS else ()
        remark = "" if guesses else "no similar person"
    elif best.person in taken:
        guesses, remark = guesses[:1], "already in this photo"
    return ShownFace(photo, best.probability, key, guesses=guesses, remark=remark)


@dataclass
class Group:
    """Faces under one heading: all are counted, those in `faces` are listed.

    `front` are the indices in `faces` of those visible at once, the others are in a list that
    opens; `pictured` are the indices of all with a picture.
    """

    name: str = ""
    count: int = 0
    faces: list[ShownFace] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    pictured: list[int] = field(default_factory=list)

    def arrange(self, pictures: int, in_front: int) -> None:
        """Sort the faces and choose which get a picture.

        Named faces are listed with the least probable first, because these need a look, and the
        most probable are in front, behind faces to check; other faces are listed by rank, and the
        first are in front.
        """
        self.faces.sort(key=lambda face: face.rank if face.named else -face.rank)
        indices = list(range(len(self.faces)))
        if self.faces and self.faces[0].named:
            to_check = self.to_check[: max(in_front // 2, 1)]
            indices = [*to_check, *(i for i in reversed(indices) if i not in to_check)]
        self.front = indices[: min(pictures, in_front)]
        rest = sorted(indices[len(self.front) :])
        self.pictured = [*self.front, *rest[: pictures - len(self.front)]]

    @property
    def to_check(self) -> list[int]:
        """The indices of faces to check."""
        return [index for index, face in enumerate(self.faces) if face.check]

    @property
    def hidden(self) -> int:
        """The number of faces that are not in front."""
        return self.count - len(self.front)


def fair_shares(wanted: Sequence[int], total: int) -> list[int]:
    """Split `total`: small requests are met in full, the others get equal shares.

    Shares that differ by rounding are larger for larger requests.
    """
    shares, left = [0] * len(wanted), total
    ascending = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for rank, index in enumerate(ascending):
        shares[index] = min(wanted[index], left // (len(ascending) - rank))
        left -= shares[index]
    return shares


class Report:
    """The page of a run over photos below `root`: `add` each, then the rest, then `render`.

    Args:
        budget: the share of strangers that the run may name.

    Attributes:
        people: by name.
        ambiguous, unknown: faces without a name; `unknown` are those seen once.
        unknown_people: a card each; `more_unknown_people` are the faces of all others.
        rejected, files: rejected faces, and photos without faces, by reason.
        links: URIs of the photos whose path is not valid text.
        pictures, portraits: JPEG in base64, of faces and of enrolled people.
    """

    def __init__(self, root: Path, budget: float) -> None:
        self.root = root
        self._near = NEAR_THE_LIMIT * budget
        self.people: dict[str, Group] = {}
        self.ambiguous, self.unknown = Group(), Group()
        self.unknown_people: list[Group] = []
        self.more_unknown_people = Group()
        self.rejected: dict[str, Group] = defaultdict(Group)
        self.files: dict[str, Group] = defaultdict(Group)
        self.links: dict[str, str] = {}
        self.pictures: dict[FaceKey, str] = {}
        self.portraits: dict[str, str] = {}
        self._listed = 0

    def add(self, named: NamedPhoto) -> None:
        """Add one photo."""
        path = named.photo_path
        # Only a name that is not valid text is shown with backslashes that it does not have.
        if "\\" in path and path != named.path.relative_to(self.root).as_posix():
            self.links[path] = named.path.as_uri()
        if not named.photo.faces:
            self._list(self.files[str(named.photo.reason)], ShownFace(path))
        taken = {decision.person for decision in named.decisions if decision.person is not None}
        pairs = zip(named.photo.faces, named.decisions, strict=True)
        for index, (face, decision) in enumerate(pairs):
            if not face.forgotten:
                key = FaceKey(named.photo.photo_id or "", index)
                shown = shown_face(path, key, decision, taken)
                share = decision.best.stranger_share if decision.best else None
                if shown.named and share is not None and share >= self._near:
                    shown = shown._replace(check=True)
                self._list(self._group_of(decision), shown)

    def add_unknown_people(self, found: UnknownPeople) -> None:
        """Add the people without a name; the remaining unknown faces were seen once."""
        alone = [face for face in self.unknown.faces if face.key not in found.grouped]
        self._listed -= len(self.unknown.faces) - len(alone)
        self.unknown = Group(count=len(found.alone), faces=alone)
        for index, person in enumerate(found.people):
            card = Group(person.name) if index < UNKNOWN_CARDS else self.more_unknown_people
            for row in found.rows(person.rows):
                key = FaceKey(row["photo_id"], row["face_index"])
                # In the shared list, a person's faces are adjacent and each shows the name.
                rank, remark = (row["quality"], "") if card.name else (-index, person.name)
                self._list(card, ShownFace(row["photo_path"], rank, key, remark=remark))
            if card.name:
                self.unknown_people.append(card)

    def add_pictures(self, store: FaceStore) -> None:
        """Choose the faces with a picture, a fair share for each person, and load them."""
        for groups, pictures, in_front in (
            (list(self.people.values()), PICTURES_OF_PEOPLE, IN_FRONT),
            (self.unknown_people, PICTURES_OF_UNKNOWN_PEOPLE, IN_FRONT_OF_UNKNOWN),
            ([self.more_unknown_people], PICTURES_OF_A_GROUP, 0),
            ([self.ambiguous], PICTURES_OF_A_GROUP, PICTURES_OF_A_GROUP),
            ([self.unknown], PICTURES_OF_A_GROUP, PICTURES_OF_A_GROUP),
            (list(self.rejected.values()), PICTURES_OF_A_GROUP, PICTURES_OF_A_GROUP),
        ):
            shares = fair_shares([len(group.faces) for group in groups], pictures)
            for group, share in zip(groups, shares, strict=True):
                group.arrange(share, in_front)
        keys = (group.faces[place].key for group in self.groups() for place in group.pictured)
        self.pictures = _face_pictures(store, [key for key in keys if key is not None])

    def render(self, summary: Summary, gallery: Path, out: Path) -> str:
        """Return the page as valid Unicode text; names are escaped, only its own script may run.

        `gallery` holds the pictures of people that a face may show; it and `out` are in the command
        that the page proposes.
        """
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        candidates = {
            guess.person
            for place in self.ambiguous.front
            for guess in self.ambiguous.faces[place].guesses
        }
        self.portraits = _enrolled_pictures(gallery, candidates)
        here = Path(__file__).parent
        script = (here / SCRIPT).read_text("utf-8")
        environment = Environment(
            loader=FileSystemLoader(here),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        groups = self.groups()
        places = {id(group): place for place, group in enumerate(groups)}
        environment.filters["number"] = "{:,}".format
        environment.filters["probability"] = probability_text
        environment.filters["place"] = lambda group: places[id(group)]
        text = environment.get_template(TEMPLATE).render(
            report=self,
            summary=summary,
            people=[self.people[name] for name in self._sorted_names()],
            promise=promise(summary),
            to_check=self._to_check(),
            names_to_check=NAMES_TO_CHECK,
            rejected=sorted(self.rejected.items()),
            files=sorted(self.files.items()),
            folder=valid_unicode(str(self.root)),
            gallery=valid_unicode(str(gallery.resolve())),
            started=f"{datetime.fromisoformat(summary.started):%Y-%m-%d %H:%M} UTC",
            where=f"--gallery {_quoted(gallery)} --out {_quoted(out)}",
            rejected_faces=sum(group.count for group in self.rejected.values()),
            meanings=MEANINGS,
            style=(here / STYLE).read_text("utf-8"),
            script=script,
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            faces_id=FACES_ID,
            faces_json=self._faces_json(groups),
            pictures_json=self._pictures_json(groups),
        )
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    def groups(self) -> list[Group]:
        """Return all groups in the order of the page."""
        return [
            *(self.people[name] for name in self._sorted_names()),
            *(self.ambiguous, *self.unknown_people, self.more_unknown_people, self.unknown),
            *(group for _, group in sorted(self.rejected.items())),
            *(group for _, group in sorted(self.files.items())),
        ]

    def link(self, face: ShownFace) -> str:
        """Return the URI of a face's photo."""
        return self.links.get(face.photo) or (self.root / face.photo).as_uri()

    def _sorted_names(self) -> list[str]:
        return sorted(self.people, key=lambda name: (name.casefold(), name))

    def _to_check(self) -> list[Group]:
        """Return the people with faces to check, the least sure first."""
        found = [group for group in self.people.values() if group.to_check]
        return sorted(found, key=lambda group: group.faces[0].rank)

    def _group_of(self, decision: Decision) -> Group:
        if decision.person is not None:
            return self.people.setdefault(decision.person, Group(decision.person))
        if decision.kind is DecisionKind.REJECTED:
            return self.rejected[str(decision.reason)]
        return self.ambiguous if decision.reason is Reason.AMBIGUOUS else self.unknown

    def _list(self, group: Group, face: ShownFace) -> None:
        group.count += 1
        if self._listed < LISTED or len(group.faces) < ALWAYS_LISTED:
            group.faces.append(face)
            self._listed += 1

    def _faces_json(self, groups: Iterable[Group]) -> str:
        """Return the JSON of all listed faces: photo, caption, and the link if it is unusual.

        `people` are all people that the page names or guesses; forgetting somebody reads them.
        """
        guessed = {
            guess.person
            for group in (self.ambiguous, self.unknown)
            for face in group.faces
            for guess in face.guesses
        }
        listed = [
            {
                "name": group.name,
                "count": group.count,
                "faces": [
                    [face.photo, face.caption]
                    + ([self.links[face.photo]] if face.photo in self.links else [])
                    for face in group.faces
                ],
            }
            for group in groups
        ]
        people = sorted({*self.people, *guessed})
        return _script_json({"people": people, "root": self.root.as_uri(), "groups": listed})

    def _pictures_json(self, groups: Iterable[Group]) -> str:
        """Return the JSON of the pictures that are not in front, by "group:face"."""
        return _script_json(
            {
                f"{number}:{place}": self.pictures[key]
                for number, group in enumerate(groups)
                for place in group.pictured[len(group.front) :]
                if (key := group.faces[place].key) is not None and key in self.pictures
            }
        )


def people_on(page: Path) -> list[str]:
    """Return all people that a page names or guesses; none if there is no page."""
    if not page.is_file():
        return []
    block = _FACES_JSON.search(page.read_text("utf-8"))
    return list(json.loads(block[1])["people"]) if block else []


def _script_json(content: object) -> str:
    """Return JSON that cannot end the script element around it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _quoted(path: Path) -> str:
    return shlex.quote(valid_unicode(str(path.resolve())))


def _face_pictures(store: FaceStore, keys: Iterable[FaceKey]) -> dict[FaceKey, str]:
    """Return the pictures of those faces that the store has."""
    by_photo: dict[str, list[FaceKey]] = defaultdict(list)
    for key in keys:
        by_photo[key.photo_id].append(key)
    photo_ids, found = list(by_photo), {}
    for start in range(0, len(photo_ids), _PHOTOS_PER_READ):
        for photo_id, stored in store.load(photo_ids[start : start + _PHOTOS_PER_READ]).items():
            for key in by_photo[photo_id]:
                for face in stored.photo.faces[key.face_index : key.face_index + 1]:
                    found[key] = base64.b64encode(face.thumbnail).decode()
    return found


def _enrolled_pictures(gallery: Path, people: Collection[str]) -> dict[str, str]:
    """Return a picture of each of these people from the gallery, as far as it has one."""
    found = {}
    for person, png in portraits(gallery, people).items():
        crop = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        found[person] = base64.b64encode(thumbnail(crop)).decode()
    return found
