"""The page itself, from its template, style and script."""

import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from faceops.base.reasons import Reason
from faceops.gallery.person_name import valid_unicode
from faceops.identification.report.page_data import ID, faces_block, pictures_block
from faceops.identification.report.shown_face import Group, ShownFace, probability_text
from faceops.identification.summary import Summary
from faceops.identification.unknown_numbers import FaceKey

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
