"""Collects what the page shows while photos come in, in bounded memory, and writes the page."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from faceops.base.reasons import Reason
from faceops.identification.engine.decide import Decision, Outcome
from faceops.identification.engine.engine import NamedPhoto
from faceops.identification.report.page import (
    Group,
    PageContent,
    ShownFace,
    enrolled_pictures,
    face_pictures,
    render_page,
    shown_face,
)
from faceops.identification.state.face_store import FaceStore
from faceops.identification.summary import Summary
from faceops.identification.unknown.groups import FaceKey
from faceops.identification.unknown.unknown_people import UnknownPeople


def fair_shares(wanted: Sequence[int], total: int) -> list[int]:
    """Return how much each gets of `total`: who wants little gets it, the others the same.

    Nobody gets more than they want; of shares that differ by rounding the larger go to those who
    want more.
    """
    shares, left = [0] * len(wanted), total
    waiting = sorted(range(len(wanted)), key=lambda place: wanted[place])
    for rank, place in enumerate(waiting):
        shares[place] = min(wanted[place], left // (len(waiting) - rank))
        left -= shares[place]
    return shares


# A line of text a face is cheap, about 70 bytes: up to here every face and file is on the page.
LISTED = 100_000
ALWAYS = 12  # faces that a group may list all the same
# A picture takes 3 to 4 kB: together 25 MB at most, however many photos there are.
PICTURES_OF_PEOPLE, PICTURES_OF_UNKNOWN_PEOPLE = 3_500, 2_000
PICTURES_OF_A_GROUP = 300
IN_FRONT, IN_FRONT_OF_UNKNOWN = 12, 8
UNKNOWN_CARDS = 500  # unknown people with a card of their own; the others share a list


class Report:
    """The page of a run over photos below `root`: `add` each, then the rest, then `render`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._people: dict[str, Group] = {}
        self._ambiguous, self._unknown = Group(), Group()
        self._rejected: dict[str, Group] = defaultdict(Group)
        self._files: dict[str, Group] = defaultdict(Group)
        self._unknown_people: list[Group] = []
        self._more_unknown_people = Group()
        self._listed = 0
        self._links: dict[str, str] = {}
        self._pictures: dict[FaceKey, str] = {}

    def add(self, shown_path: str, named: NamedPhoto) -> None:
        """Take one photo in; `shown_path` is its path below the root as text."""
        # Only a name that no text can hold is shown with backslashes that it has not.
        if "\\" in shown_path and shown_path != named.path.relative_to(self._root).as_posix():
            self._links[shown_path] = named.path.as_uri()
        if not named.photo.faces:
            self._take(self._files[str(named.photo.reason)], ShownFace(shown_path))
        taken = {decision.person for decision in named.decisions if decision.person is not None}
        pairs = zip(named.photo.faces, named.decisions, strict=True)
        for index, (face, decision) in enumerate(pairs):
            if not face.forgotten:
                key = FaceKey(named.photo.photo_id or "", index)
                self._take(self._group(decision), shown_face(shown_path, key, decision, taken))

    def add_unknown_people(self, found: UnknownPeople) -> None:
        """Show the people without a name; what is left of the unknown faces was seen once."""
        alone = [face for face in self._unknown.faces if face.key not in found.grouped]
        self._listed -= len(self._unknown.faces) - len(alone)
        self._unknown = Group(count=len(found.alone), faces=alone)
        for place, person in enumerate(found.people):
            card = Group(person.name) if place < UNKNOWN_CARDS else self._more_unknown_people
            for row in found.rows(person.rows):
                key = FaceKey(row["photo_id"], row["face_index"])
                # In the list of several people each face says whose it is, and they stay together.
                rank, remark = (row["quality"], "") if card.name else (-place, person.name)
                self._take(card, ShownFace(row["photo_path"], rank, key, remark=remark))
            if card.name:
                self._unknown_people.append(card)

    def add_pictures(self, store: FaceStore) -> None:
        """Choose the faces with a picture, a fair share for each person, and fetch them."""
        for groups, pictures, in_front in (
            (list(self._people.values()), PICTURES_OF_PEOPLE, IN_FRONT),
            (self._unknown_people, PICTURES_OF_UNKNOWN_PEOPLE, IN_FRONT_OF_UNKNOWN),
            ([self._more_unknown_people], PICTURES_OF_A_GROUP, 0),
            ([self._ambiguous], PICTURES_OF_A_GROUP, PICTURES_OF_A_GROUP),
            ([self._unknown], PICTURES_OF_A_GROUP, PICTURES_OF_A_GROUP),
            (list(self._rejected.values()), PICTURES_OF_A_GROUP, PICTURES_OF_A_GROUP),
        ):
            shares = fair_shares([len(group.faces) for group in groups], pictures)
            for group, share in zip(groups, shares, strict=True):
                group.arrange(share, in_front)
        chosen = (group.faces[place].key for group in self._groups() for place in group.pictured)
        self._pictures = face_pictures(store, [key for key in chosen if key is not None])

    def render(self, summary: Summary, gallery: Path, out: Path) -> str:
        """Return the page; every name in it is escaped, and only its own script may run.

        `gallery` has the pictures of the people that a face may be; it and `out` are named in the
        command that the page proposes.
        """
        doubtful = {
            guess.person
            for place in self._ambiguous.front
            for guess in self._ambiguous.faces[place].guesses
        }
        content = PageContent(
            root=self._root,
            people=self._by_name(),
            ambiguous=self._ambiguous,
            unknown_people=self._unknown_people,
            more_unknown_people=self._more_unknown_people,
            unknown=self._unknown,
            rejected=sorted(self._rejected.items()),
            files=sorted(self._files.items()),
            links=self._links,
            pictures=self._pictures,
            portraits=enrolled_pictures(gallery, doubtful),
        )
        return render_page(content, summary, gallery, out)

    def _take(self, group: Group, face: ShownFace) -> None:
        group.count += 1
        if self._listed < LISTED or len(group.faces) < ALWAYS:
            group.faces.append(face)
            self._listed += 1

    def _group(self, decision: Decision) -> Group:
        if decision.person is not None:
            return self._people.setdefault(decision.person, Group(decision.person))
        if decision.outcome is Outcome.REJECTED:
            return self._rejected[str(decision.reason)]
        return self._ambiguous if decision.reason is Reason.AMBIGUOUS else self._unknown

    def _by_name(self) -> list[Group]:
        return sorted(self._people.values(), key=lambda group: (group.name.casefold(), group.name))

    def _groups(self) -> Iterator[Group]:
        yield from self._people.values()
        yield from self._unknown_people
        yield from (self._more_unknown_people, self._ambiguous, self._unknown)
        yield from self._rejected.values()
