"""Exchange decisions between machines as JSON lines, and list those that contradict each other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from faceops.base.errors import FaceOpsError, UsageError
from faceops.dataset.names import name_problem
from faceops.faces.detector import Box
from faceops.gallery.decisions import Decisions, Place
from faceops.gallery.follow import locked_people
from faceops.gallery.journal import Action, Entry
from faceops.gallery.storage import GalleryPlace

HERE, THERE = "this gallery", "the imported file"


@dataclass(frozen=True)
class Verdict:
    """What one side decided about a face, in words; `time` is of its latest entry."""

    side: str
    time: str
    what: str


@dataclass(frozen=True)
class Conflict:
    """A face about which two sides decided differently; the latest decision is valid.

    Attributes:
        box: x, y, width, height in pixels of the upright photo.
        verdicts: of each side, by time.
    """

    photo_id: str
    box: Box
    verdicts: list[Verdict]

    @property
    def holds(self) -> Verdict:
        """Return the verdict that holds."""
        return self.verdicts[-1]


@dataclass
class Imported:
    """What an import added.

    Attributes:
        new, known: numbers of entries.
        changes: a sentence for each person of the gallery who has another name now.
        refused: a sentence for each person who would have a name that somebody else has.
    """

    new: int
    known: int
    conflicts: list[Conflict] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def as_lines(entries: Iterable[Entry]) -> str:
    """Return entries as JSON lines."""
    return "".join(f"{entry.as_json()}\n" for entry in entries)


def import_decisions(gallery_dir: GalleryPlace, file: Path) -> Imported:
    """Add the decisions in the JSON lines of `file` to the gallery's, all or none.

    The entries keep their times, and the gallery follows renamed and merged people.

    Raises:
        UsageError: there is no such file, or no gallery.
        FaceOpsError: a line is not a decision; the gallery or its journal is damaged, in use or
            cannot be written.
    """
    entries = list(_read(file))
    with locked_people(gallery_dir) as people:
        before = set(people.decisions.entries)
        new = {entry.id for entry in people.add(entries)}
        imported = Imported(len(new), len(entries) - len(new))
        imported.changes, imported.refused = people.done, people.refused
        alone = before - {entry.id for entry in entries}  # entries of both belong to neither side
        sides = dict.fromkeys(alone, HERE) | dict.fromkeys(new, THERE)
        imported.conflicts = find_conflicts(people.decisions, lambda one: sides.get(one.id))
    return imported


def _read(file: Path) -> Iterator[Entry]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    if line.strip():
                        yield _with_valid_name(Entry.from_json(line.decode("utf-8")))
                except ValueError as error:
                    raise FaceOpsError(
                        f"{file}, line {number}: {error}; nothing was imported."
                    ) from None
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read ({error.strerror}); name a file of `faceops decisions export`."
        ) from None


def _with_valid_name(entry: Entry) -> Entry:
    is_name = entry.action in (Action.NAME, Action.SHOW)
    if is_name and (problem := name_problem(entry.detail)):
        raise ValueError(f"{entry.detail!r} cannot be a person's name: {problem}")
    return entry


def find_conflicts(decisions: Decisions, side_of: Callable[[Entry], str | None]) -> list[Conflict]:
    """Return the faces about which the valid entries of two sides differ.

    They differ if they name two people, or if one names a person and the other refuses that person
    or ignores the face.

    Args:
        side_of: returns the side of an entry, None for neither.
    """
    conflicts = []
    for photo_id in sorted(decisions.photos()):
        if photo_id != min(decisions.same_content(photo_id)):
            continue
        for place in decisions.places(photo_id):
            sides: dict[str, Place] = {}
            for entry in place.made:
                if (side := side_of(entry)) is not None:
                    # Last in the order of the dictionary is the side that decided last.
                    alone = sides.pop(side, None) or Place(place.box, place.size)
                    alone.apply(entry, place.box)
                    sides[side] = alone
            if any(_differ(decisions, *two) for two in combinations(sides.values(), 2)):
                verdicts = [
                    Verdict(side, alone.made[-1].time, _in_words(decisions, alone))
                    for side, alone in sides.items()
                ]
                conflicts.append(Conflict(photo_id, place.box, verdicts))
    return conflicts


def _differ(decisions: Decisions, one: Place, other: Place) -> bool:
    for a, b in ((one, other), (other, one)):
        person = decisions.current(a.person) if a.person else ""
        refused = {decisions.current(each) for each in b.refused}
        another = b.person and decisions.current(b.person) != person
        if person and (b.ignored or another or person in refused):
            return True
    return False


def _in_words(decisions: Decisions, place: Place) -> str:
    if place.ignored:
        return f"ignored ({place.ignored})"
    if place.person:
        return decisions.name(place.person) or "an unknown person"
    names = sorted(decisions.name(one) or "an unknown person" for one in place.refused)
    return f"not {', not '.join(names)}"
