"""The page itself, from its template, style and script."""

import base64
import hashlib
import io
import json
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from faceops.base.reasons import Reason
from faceops.gallery.names import valid_unicode
from faceops.gallery.people import portraits
from faceops.identification.engine.decide import Decision
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.found_photo import thumbnail
from faceops.identification.summary import Summary
from faceops.identification.unknown.groups import FaceKey

# Below it the nearest person is mere chance, and a guess would only mislead.
WORTH_A_GUESS = 0.05
ALREADY_THERE = "already in this photo"


class Guess(NamedTuple):
    """A person that a face may be."""

    person: str
    probability: float


class ShownFace(NamedTuple):
    """A face, or a photo without any: then there is only `photo`.

    Attributes:
        photo: the path below the root, as text.
        rank: faces are listed by it, the largest first; a probability or a quality.
        key: by which its picture is found.
        named: whether it has the name of its heading.
        guesses: whom an unnamed face is near to, the nearest first.
        remark: anything else there is to say.
    """

    photo: str
    rank: float = 0.0
    key: FaceKey | None = None
    named: bool = False
    guesses: tuple[Guess, ...] = ()
    remark: str = ""

    @property
    def caption(self) -> str:
        """What stands under the picture, without the photo's path."""
        if self.named:
            return probability_text(self.rank)
        if not self.guesses:
            return self.remark
        names = " or ".join(guess.person for guess in self.guesses)
        tail = f", {self.remark}" if self.remark else ""
        return f"{names}? {probability_text(self.guesses[0].probability)}{tail}"


def probability_text(probability: float) -> str:
    """Return a probability as shown: what is not certain is never shown as 1."""
    return ">.999" if probability >= 0.9995 else f"{probability:.3f}".removeprefix("0")


def shown_face(photo: str, key: FaceKey, decision: Decision, taken: set[str]) -> ShownFace:
    """Return a face as decided; `taken` are the names given in its photo."""
    best, other = decision.best, decision.runner_up
    if best is None:
        return ShownFace(photo, key=key, remark=str(decision.reason or "").replace("_", " "))
    near = [Guess(one.person, one.probability) for one in (best, other) if one is not None]
    if decision.person is not None:
        return ShownFace(photo, best.probability, key, named=True)
    if decision.reason is not Reason.AMBIGUOUS:
        near = [guess for guess in near[:1] if guess.probability >= WORTH_A_GUESS]
        return ShownFace(photo, best.probability, key, guesses=(*near,), remark=_far(near))
    if best.person in taken:
        return ShownFace(photo, best.probability, key, guesses=(near[0],), remark=ALREADY_THERE)
    return ShownFace(photo, best.probability, key, guesses=(*near,))


def _far(near: list[Guess]) -> str:
    return "" if near else "nobody near"


@dataclass
class Group:
    """Faces under one heading: all are counted, those in `faces` are listed.

    `front` are the places in `faces` of those that are seen at once, the others wait in a list
    that opens; `pictured` are the places of all with a picture.
    """

    name: str = ""
    count: int = 0
    faces: list[ShownFace] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    pictured: list[int] = field(default_factory=list)

    def arrange(self, pictures: int, in_front: int) -> None:
        """Order the faces and choose which get a picture.

        Named faces are listed with the least sure first, since these are to be looked at, and
        the surest stand in front; others are listed by rank, and the first stand in front.
        """
        self.faces.sort(key=lambda face: face.rank if face.named else -face.rank)
        places = range(len(self.faces))
        if self.faces and self.faces[0].named:
            places = places[::-1]
        self.front = list(places[: min(pictures, in_front)])
        rest = sorted(places[len(self.front) :])
        self.pictured = [*self.front, *rest[: pictures - len(self.front)]]

    @property
    def hidden(self) -> int:
        """How many are not in front."""
        return self.count - len(self.front)


ID = "faces"
_BLOCK = re.compile(rf'<script type="application/json" id="{ID}">(.*?)</script>', re.DOTALL)


def faces_block(
    root: Path, groups: Sequence[Group], links: Mapping[str, str], people: Iterable[str]
) -> str:
    """Return the JSON of all faces, group by group: photo, what is said of it, and its link.

    The link is left out where it follows from `root` and the photo's path. `people` is everybody
    whom the page names or guesses, so that a page that names somebody can be told.
    """
    listed = [
        {
            "name": group.name,
            "count": group.count,
            "faces": [
                [face.photo, face.caption, *([links[face.photo]] if face.photo in links else [])]
                for face in group.faces
            ],
        }
        for group in groups
    ]
    return _script_json({"people": sorted(people), "root": root.as_uri(), "groups": listed})


def pictures_block(groups: Sequence[Group], pictures: Mapping[FaceKey, str]) -> str:
    """Return the JSON of the pictures that stand in no front, by "group:face"."""
    return _script_json(
        {
            f"{number}:{place}": pictures[key]
            for number, group in enumerate(groups)
            for place in group.pictured[len(group.front) :]
            if (key := group.faces[place].key) is not None and key in pictures
        }
    )


def people_on(page: Path) -> list[str]:
    """Return everybody whom a page names or guesses; nobody where there is no page."""
    if not page.is_file():
        return []
    block = _BLOCK.search(page.read_text("utf-8"))
    return list(json.loads(block[1])["people"]) if block else []


def _script_json(content: object) -> str:
    """Return JSON that cannot end the script element that it stands in."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


TEMPLATE, STYLE, SCRIPT = "report.html.j2", "report.css", "report.js"
MEANINGS = {
    str(Reason.NO_FACE): "no face found",
    str(Reason.EMPTY): "empty file",
    str(Reason.NOT_A_PHOTO): "not a photo",
    str(Reason.UNREADABLE): "broken, or may not be read",
    str(Reason.VANISHED): "gone before it was opened",
    str(Reason.TOO_LARGE): "over the size limit",
    str(Reason.TOO_SMALL): "too few pixels",
    str(Reason.FACE_TOO_SMALL): "face too small to compare",
    str(Reason.LOW_QUALITY): "face too poor to compare",
}


@dataclass(frozen=True, eq=False)
class PageContent:
    """All that is on the page but the figures: groups of faces, and pictures in base64.

    `unknown_people` have a card each, `more_unknown_people` are the faces of all others;
    `rejected` (faces) and `files` (photos without faces) are by reason; `links` has the URI of
    photos whose path the text cannot give; `portraits` are enrolled pictures by person.
    """

    root: Path
    people: Sequence[Group]
    ambiguous: Group
    unknown_people: Sequence[Group]
    more_unknown_people: Group
    unknown: Group
    rejected: Sequence[tuple[str, Group]]
    files: Sequence[tuple[str, Group]]
    links: Mapping[str, str]
    pictures: Mapping[FaceKey, str]
    portraits: Mapping[str, str]

    @property
    def groups(self) -> list[Group]:
        """All groups, in the order in which they stand on the page."""
        return [
            *(*self.people, self.ambiguous, *self.unknown_people, self.more_unknown_people),
            *(self.unknown, *(group for _, group in (*self.rejected, *self.files))),
        ]

    def link(self, face: ShownFace) -> str:
        """Return the URI of a face's photo."""
        return self.links.get(face.photo) or (self.root / face.photo).as_uri()

    def everybody(self) -> set[str]:
        """Return all whom the page names or guesses."""
        loose = [self.ambiguous, self.unknown]
        guessed = (face.guesses for group in loose for face in group.faces)
        named = {group.name for group in self.people}
        return named | {guess.person for guesses in guessed for guess in guesses}


def render_page(content: PageContent, summary: Summary, gallery: Path, out: Path) -> str:
    """Return the page as text that UTF-8 can hold."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    script = (here / SCRIPT).read_text("utf-8")
    environment = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = "{:,}".format
    environment.filters["probability"] = probability_text
    groups = content.groups
    places = {id(group): place for place, group in enumerate(groups)}
    environment.filters["place"] = lambda group: places[id(group)]
    text = environment.get_template(TEMPLATE).render(
        content=content,
        summary=summary,
        folder=valid_unicode(str(content.root)),
        gallery=valid_unicode(str(gallery.resolve())),
        started=f"{datetime.fromisoformat(summary.started):%Y-%m-%d %H:%M} UTC",
        where=f"--gallery {_quoted(gallery)} --out {_quoted(out)}",
        rejected_faces=sum(group.count for _, group in content.rejected),
        meanings=MEANINGS,
        style=(here / STYLE).read_text("utf-8"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        faces_id=ID,
        faces_json=faces_block(content.root, groups, content.links, content.everybody()),
        pictures_json=pictures_block(groups, content.pictures),
    )
    # Names from the outside world may hold what no encoding can.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _quoted(path: Path) -> str:
    return shlex.quote(valid_unicode(str(path.resolve())))


AT_ONCE = 256  # photos


def face_pictures(store: FaceStore, keys: Iterable[FaceKey]) -> dict[FaceKey, str]:
    """Return the pictures of those faces that the store has."""
    by_photo: dict[str, list[FaceKey]] = {}
    for key in keys:
        by_photo.setdefault(key.photo_id, []).append(key)
    photo_ids, found = list(by_photo), {}
    for start in range(0, len(photo_ids), AT_ONCE):
        photos = store.load(photo_ids[start : start + AT_ONCE])
        for photo_id, kept in photos.items():
            for key in by_photo[photo_id]:
                for face in kept.photo.faces[key.face_index : key.face_index + 1]:
                    found[key] = _base64(face.thumbnail)
    return found


def enrolled_pictures(gallery: Path, people: Collection[str]) -> dict[str, str]:
    """Return a picture of each of these people from the gallery, as far as it has one."""
    found = {}
    for person, png in portraits(gallery, people).items():
        crop = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        found[person] = _base64(thumbnail(crop))
    return found


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
