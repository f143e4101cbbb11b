"""Undo decisions, and what a gallery made of them."""

from collections.abc import Sequence

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.decisions import Decisions
from faceops.gallery.follow import locked_people
from faceops.gallery.journal import Action, Entry, new_batch
from faceops.gallery.storage import GalleryPlace

_SHORTEST = 4  # digits of an id that name it
_OF_NAME = (Action.NAME, Action.SHOW)


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
            return _batch(decisions, entry)
    raise UsageError("nothing is left to undo: no decision counts.")


def _batch(decisions: Decisions, entry: Entry) -> list[Entry]:
    if not entry.batch:
        return [entry]
    return [one for one in decisions.entries.values() if one.batch == entry.batch]


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
    """Return those of `entries` that count, and what must be undone with them.

    The only name of a person stays while other decisions about the person count.
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
