"""The report of a run: one HTML page that needs no other file and no network."""

import base64
import hashlib
import shlex
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from faceops.gallery.person_name import valid_unicode
from faceops.identification.decide import Decision, Outcome
from faceops.identification.engine import NamedPhoto
from faceops.identification.face_store import FaceStore
from faceops.identification.found_photo import FoundFace
from faceops.identification.summary import Summary
from faceops.identification.unknown_numbers import FaceKey
from faceops.identification.unknown_people import UnknownPeople, UnknownPerson
from faceops.reasons import Reason

TEMPLATE = "report.html.j2"
SCRIPT = "report.js"

# Pictures on the page are bounded, so that it opens quickly however many photos there are.
FACES_A_PERSON = 12
FACES_OF_PEOPLE = 2_000
FACES_A_GROUP = 300
UNKNOWN_PEOPLE = 300
FACES_AN_UNKNOWN = 8
FILES_A_REASON = 200
# Below it the nearest person is mere chance, and a guess would only mislead.
WORTH_A_GUESS = 0.05


@dataclass(frozen=True)
class Picture:
    """A face as the page shows it."""

    source: str  # data URI
    photo: str
    link: str  # file: URI of the photo
    caption: str
    probability: float
    shown_probability: float | None
    key: FaceKey


@dataclass
class Group:
    """Faces under one heading: all are counted, the first are shown."""

    count: int = 0
    pictures: list[Picture] = field(default_factory=list)

    @property
    def likeliest_first(self) -> list[Picture]:
        """The pictures, equal ones in the order of the photos."""
        return sorted(self.pictures, key=lambda picture: -picture.probability)

    @property
    def hidden(self) -> int:
        """How many are not shown."""
        return self.count - len(self.pictures)


class Report:
    """Collects what the page shows while photos come in; `root` is where they lie."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._people: dict[str, Group] = defaultdict(Group)
        self._shown_of_people = 0
        self._ambiguous, self._unknown, self._rejected = Group(), Group(), Group()
        self._unknown_people: list[tuple[UnknownPerson, Group]] = []
        self._all_unknown_people = 0
        self._files: dict[str, list[tuple[str, str]]] = defaultdict(list)

    def add(self, shown_path: str, named: NamedPhoto) -> None:
        """Take one photo in; `shown_path` is its path below the root as text."""
        link = named.path.as_uri()
        if not named.photo.faces:
            files = self._files[str(named.photo.reason)]
            if len(files) < FILES_A_REASON:
                files.append((shown_path, link))
        pairs = zip(named.photo.faces, named.decisions, strict=True)
        for index, (face, decision) in enumerate(pairs):
            if face.forgotten:
                continue
            if decision.person is not None:
                group, most = self._people[decision.person], FACES_A_PERSON
                if self._shown_of_people >= FACES_OF_PEOPLE and group.pictures:
                    most = 0
            else:
                group, most = self._unnamed(decision), FACES_A_GROUP
                if group is self._unknown:
                    most *= 3  # those that turn out to be of one person go, see below
            group.count += 1
            if len(group.pictures) < most:
                key = FaceKey(named.photo.photo_id or "", index)
                group.pictures.append(_picture(face, decision, shown_path, link, key))
                self._shown_of_people += decision.person is not None

    def add_unknown_people(self, found: UnknownPeople, store: FaceStore) -> None:
        """Show the people without a name; what is left of the unknown faces was seen once."""
        alone = [picture for picture in self._unknown.pictures if picture.key not in found.grouped]
        self._unknown = Group(len(found.alone), alone[:FACES_A_GROUP])
        self._all_unknown_people = len(found.people)
        for person in found.people[:UNKNOWN_PEOPLE]:
            rows = sorted(found.rows(person.rows), key=lambda row: -row["quality"])
            shown = rows[:FACES_AN_UNKNOWN]
            photos = store.load(list({row["photo_id"] for row in shown}))
            pictures = [
                _stored_picture(
                    row, photos[row["photo_id"]].photo.faces[row["face_index"]], self._root
                )
                for row in shown
            ]
            self._unknown_people.append((person, Group(len(rows), pictures)))

    def render(self, summary: Summary, gallery: Path, out: Path) -> str:
        """Return the page; every name in it is escaped, and only its own script may run.

        `gallery` and `out` are for the command that the page proposes.
        """
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        here = Path(__file__).parent
        script = (here / SCRIPT).read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        environment = Environment(
            loader=FileSystemLoader(here),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        people = sorted(self._people.items(), key=lambda item: (item[0].casefold(), item[0]))
        text = environment.get_template(TEMPLATE).render(
            summary=summary,
            folder=valid_unicode(str(self._root)),
            started=f"{datetime.fromisoformat(summary.started):%Y-%m-%d %H:%M} UTC",
            people=people,
            ambiguous=self._ambiguous,
            unknown=self._unknown,
            unknown_people=self._unknown_people,
            hidden_unknown_people=self._all_unknown_people - len(self._unknown_people),
            where=f"--gallery {_quoted(gallery)} --out {_quoted(out)}",
            rejected=self._rejected,
            files=sorted(self._files.items()),
            script=script,
            script_digest=digest,
            meanings=MEANINGS,
        )
        # Names from the outside world may hold what no encoding can.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    def _unnamed(self, decision: Decision) -> Group:
        if decision.outcome is Outcome.REJECTED:
            return self._rejected
        return self._ambiguous if decision.reason is Reason.AMBIGUOUS else self._unknown


MEANINGS = {
    str(Reason.NO_FACE): "no face found",
    str(Reason.EMPTY): "empty file",
    str(Reason.NOT_A_PHOTO): "not a photo",
    str(Reason.UNREADABLE): "broken, or may not be read",
    str(Reason.VANISHED): "gone before it was opened",
    str(Reason.TOO_LARGE): "over the size limit",
    str(Reason.TOO_SMALL): "too few pixels",
}


def _picture(
    face: FoundFace, decision: Decision, shown_path: str, link: str, key: FaceKey
) -> Picture:
    probability = decision.best.probability if decision.best else 0.0
    return Picture(
        source=_data_uri(face),
        photo=shown_path,
        link=link,
        caption=_caption(decision),
        probability=probability,
        shown_probability=probability if probability >= WORTH_A_GUESS else None,
        key=key,
    )


def _stored_picture(row: dict[str, Any], face: FoundFace, root: Path) -> Picture:
    return Picture(
        source=_data_uri(face),
        photo=row["photo_path"],
        link=(root / row["photo_path"]).as_uri(),
        caption="",
        probability=0.0,
        shown_probability=None,
        key=FaceKey(row["photo_id"], row["face_index"]),
    )


def _data_uri(face: FoundFace) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(face.thumbnail).decode()}"


def _quoted(path: Path) -> str:
    return shlex.quote(valid_unicode(str(path.resolve())))


def _caption(decision: Decision) -> str:
    if decision.person is not None:
        return decision.person
    if decision.best is None:
        return str(decision.reason or "").replace("_", " ")
    likely = [
        candidate.person
        for candidate in (decision.best, decision.runner_up)
        if candidate is not None and candidate.probability >= WORTH_A_GUESS
    ]
    if decision.reason is not Reason.AMBIGUOUS:
        likely = likely[:1]
    return " or ".join(likely) + "?" if likely else "nobody near"
