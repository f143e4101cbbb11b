"""The history of decisions: what was decided together, in words, and how to undo it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.decisions import Decisions
from faceops.gallery.follow import locked_people
from faceops.gallery.journal import Action, Entry, new_batch
from faceops.gallery.storage import GalleryPlace

_SHORTEST = 4  # digits of an id that name it
_OF_NAME = (Action.NAME, Action.SHOW)
_IGNORED = {"stranger": "strangers", "not_a_face": "no faces", "never_ask": "not to be asked about"}


@dataclass(frozen=True)
class Made:
    """Decisions that were made, and are undone, together.

    Attributes:
        batch: names them for `undo`.
        time: UTC, ISO 8601.
        by: who decided, "" if not stated.
        sentence: what was decided.
        faces: number of faces concerned.
        undone: whether no entry of the batch is valid any more.
    """

    batch: str
    time: str
    by: str
    sentence: str
    faces: int
    undone: bool


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
    """Return what a batch decided."""
    faces = len({(entry.photo_id, entry.box) for entry in entries if entry.box is not None})
    undone = not any(decisions.holds(entry.id) for entry in entries)
    sentence = _sentence(decisions, entries)
    return Made(batch, entries[0].time, entries[0].by, sentence, faces, undone)


def _sentence(decisions: Decisions, entries: Sequence[Entry]) -> str:
    undone = [entry for entry in entries if entry.action == Action.UNDO]
    if undone:
        about = [decisions.entries[one.detail] for one in undone if one.detail in decisions.entries]
        return f"undone: {_sentence(decisions, about)}" if about else "undone"
    counts = Counter(
        (entry.action, entry.person, entry.detail if entry.action != Action.MERGE else "")
        for entry in entries
        if entry.box is not None
    )
    parts = []
    for (action, person, detail), count in counts.items():
        name, faces = _name(decisions, person), "1 face" if count == 1 else f"{count} faces"
        if action == Action.CONFIRM:
            parts.append(f"{faces} confirmed as {name}")
        elif action == Action.REFUSE:
            parts.append(f"{faces} {'is' if count == 1 else 'are'} not {name}")
        elif action == Action.IGNORE:
            parts.append(f"{faces} ignored: {_IGNORED.get(detail, detail)}")
        elif action == Action.DRAW:
            parts.append(f"{name} drawn on {'a photo' if count == 1 else f'{count} photos'}")
        elif action == Action.PICTURE:
            parts.append(f"picture of {name} chosen")
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
        undone = undoable(decisions, entries)
        if not undone:
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
