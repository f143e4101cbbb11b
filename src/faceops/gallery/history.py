"""The history of decisions: in words, undone, and exchanged between machines as JSON lines."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from faceops.base.errors import FaceOpsError, UsageError
from faceops.dataset.names import name_problem
from faceops.faces.detector import Box
from faceops.gallery.decisions import Decisions, Place
from faceops.gallery.journal import Action, Entry, new_batch
from faceops.gallery.people import locked_people
from faceops.gallery.storage import GalleryPlace

_SHORTEST = 4  # digits of an id that name it
_OF_NAME = (Action.NAME, Action.SHOW)
_IGNORED = {"stranger": "strangers", "not_a_face": "no faces", "never_ask": "not to be asked about"}


@dataclass(frozen=True)
class Made:
    """Decisions that were made, and are undone, together."""

    batch: str  # names them for `undo`
    time: str  # UTC, ISO 8601
    by: str  # who decided, "" if not stated
    sentence: str  # what was decided
    faces: int  # number of faces concerned
    undone: bool  # whether no entry of the batch is valid any more


def history(decisions: Decisions, start: int = 0, count: int = 50) -> list[Made]:
    """Return batches of decisions, the latest first."""
    batches = batches_of(decisions)
    chosen = list(reversed(batches.items()))[start : start + count]
    return [made(decisions, batch, entries) for batch, entries in chosen]


def batches_of(decisions: Decisions) -> dict[str, list[Entry]]:
    """Return the entries of each batch by time; names without a batch are left out."""
    batches: dict[str, list[Entry]] = {}
    for entry in decisions.entries.values():
        if entry.batch or entry.action != Action.NAME:
            batches.setdefault(entry.batch or entry.id, []).append(entry)
    return batches


def made(decisions: Decisions, batch: str, entries: Sequence[Entry]) -> Made:
    faces = len({(entry.photo_id, entry.box) for entry in entries if entry.box is not None})
    undone = not any(decisions.holds(entry.id) for entry in entries)
    sentence = _sentence(decisions, entries)
    return Made(batch, entries[0].time, entries[0].by, sentence, faces, undone)


def _sentence(decisions: Decisions, entries: Sequence[Entry]) -> str:
    if undone := [entry for entry in entries if entry.action == Action.UNDO]:
        about = [decisions.entries[one.detail] for one in undone if one.detail in decisions.entries]
        return f"undone: {_sentence(decisions, about)}" if about else "undone"
    counts = Counter(
        (entry.action, entry.person, entry.detail if entry.action != Action.MERGE else "")
        for entry in entries
        if entry.box is not None
    )
    parts = []
    for (action, person, detail), count in counts.items():
        name, is_one = _name(decisions, person), count == 1
        faces = "1 face" if is_one else f"{count} faces"
        sentences = {
            Action.CONFIRM: f"{faces} confirmed as {name}",
            Action.REFUSE: f"{faces} {'is' if is_one else 'are'} not {name}",
            Action.IGNORE: f"{faces} ignored: {_IGNORED.get(detail, detail)}",
            Action.DRAW: f"{name} drawn on {'a photo' if is_one else f'{count} photos'}",
            Action.PICTURE: f"picture of {name} chosen",
        }
        parts.append(sentences[Action(action)])
    for entry in entries:
        name = _name(decisions, entry.person)
        if entry.action == Action.MERGE:
            gone = decisions.own_name(entry.person) or name
            kept = decisions.own_name(entry.detail) or _name(decisions, entry.detail)
            parts.append(f"{gone} merged into {kept}")
        elif entry.action == Action.SHOW:
            parts.append(f"{name} shown as {entry.detail}")
        elif entry.action == Action.SAME:
            parts.append("a photo was written anew")
        elif entry.action == Action.NAME:
            parts.append(f"{_before(decisions, entry)} named {entry.detail}")
    return ", ".join(parts)


def _name(decisions: Decisions, person: str) -> str:
    return decisions.name(person) or "one unknown person"


def _before(decisions: Decisions, entry: Entry) -> str:
    names = decisions.names_of(entry.person)
    at = names.index(entry.detail) if entry.detail in names else 0
    return names[at - 1] if at else "a person"


def undo(gallery_dir: GalleryPlace, chosen: str = "", *, by: str = "") -> tuple[str, list[str]]:
    """Undo the decisions of a batch, or one entry; renamed and merged people become what they were.

    Returns the batch of the undoing, and a sentence for each change in the gallery.

    Args:
        chosen: id of the batch or the entry, or its first digits; "" for the latest batch that
            counts and is no undoing. An undoing can be undone.
        by: who undoes it.

    Raises:
        UsageError: there is no such decision, or several; no gallery.
        FaceOpsError: it is undone already; a person would get a name that somebody else has; the
            gallery or its journal is damaged, in use or cannot be written.
    """
    with locked_people(gallery_dir) as people:
        decisions = people.decisions
        entries = _chosen(decisions, chosen) if chosen else _latest(decisions)
        if not (undone := undoable(decisions, entries)):
            raise FaceOpsError(f"{chosen} is undone already; see `faceops decisions list`.")
        batch = new_batch()
        undoing = [Entry(Action.UNDO, detail=entry.id, by=by, batch=batch) for entry in undone]
        return batch, people.decide(undoing)


def _latest(decisions: Decisions) -> list[Entry]:
    for entry in reversed(decisions.entries.values()):
        is_note = entry.action == Action.NAME and not entry.batch
        if entry.action != Action.UNDO and not is_note and decisions.holds(entry.id):
            return batches_of(decisions)[entry.batch or entry.id]
    raise UsageError("nothing is left to undo: no decision counts.")


def _chosen(decisions: Decisions, chosen: str) -> list[Entry]:
    every = list(decisions.entries.values())
    if len(chosen) >= _SHORTEST:
        found = {one.batch for one in every if one.batch.startswith(chosen)}
        found |= {one.id for one in every if one.id.startswith(chosen)}
        if chosen in found:
            found = {chosen}
        if len(found) == 1:
            (which,) = found
            return [one for one in every if which in (one.batch, one.id)]
        if found:
            raise UsageError(f"{chosen} begins {len(found)} decisions; give more of its digits.")
    raise UsageError(f"there is no decision {chosen}; `faceops decisions list` shows what can be.")


def undoable(decisions: Decisions, entries: Sequence[Entry]) -> list[Entry]:
    """Return the valid ones of `entries`, and those to undo with them.

    The only name of a person stays while other decisions about the person are valid.
    """
    own = {entry.id for entry in entries}
    others = [
        one for one in decisions.entries.values() if one.id not in own and decisions.holds(one.id)
    ]
    named = {one.person for one in others if one.action == Action.NAME}
    needed = {one.person for one in others if one.action not in _OF_NAME} - named
    found: dict[str, Entry] = {}
    for entry in entries:
        if decisions.holds(entry.id) and not (
            entry.action == Action.NAME and entry.person in needed
        ):
            found[entry.id] = entry
            if entry.action == Action.MERGE:  # of another machine, of the same two people
                found |= {one.id: one for one in decisions.merges_of(entry.person)}
    return list(found.values())


HERE, THERE = "this gallery", "the imported file"


@dataclass(frozen=True)
class Verdict:
    """What one side decided about a face, in words; `time` is of its latest entry."""

    side: str
    time: str
    what: str


@dataclass(frozen=True)
class Conflict:
    """A face about which two sides decided differently; the latest decision is valid."""

    photo_id: str
    box: Box  # x, y, width, height in pixels of the upright photo
    verdicts: list[Verdict]  # of each side, by time

    @property
    def holds(self) -> Verdict:
        return self.verdicts[-1]


@dataclass
class Imported:
    # new, known: numbers of entries
    new: int
    known: int
    conflicts: list[Conflict] = field(default_factory=list)
    # A sentence for each person of the gallery who has another name now
    changes: list[str] = field(default_factory=list)
    # A sentence for each person who would have a name that somebody else has
    refused: list[str] = field(default_factory=list)


def as_lines(entries: Iterable[Entry]) -> str:
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
