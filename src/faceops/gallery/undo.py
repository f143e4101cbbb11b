"""Undo decisions, and what a gallery made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.decisions import Decisions
from faceops.gallery.follow import locked_people
from faceops.gallery.journal import Action, Entry, new_batch

_SHORTEST = 4  # digits of an id that name it
_OF_NAME = (Action.NAME, Action.SHOW)


@dataclass(frozen=True)
class Undone:
    """What was undone.

    Attributes:
        batch: of the undoing, by which it can be undone.
        entries: those that do not count any more, or count again.
        changes: a sentence for each change in the gallery.
    """

    batch: str
    entries: list[Entry]
    changes: list[str]


def undo(gallery_dir: Path, chosen: str = "", *, by: str = "") -> Undone:
    """Undo the decisions of a batch, or one entry; renamed and merged people become what they were.

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
        return Undone(batch, undone, people.decide(undoing))


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
    return list({entry.id: entry for entry in _undoable(decisions, entries)}.values())


def _undoable(decisions: Decisions, entries: Sequence[Entry]) -> Iterator[Entry]:
    own = {entry.id for entry in entries}
    named = {one.person for one in entries if one.action == Action.NAME}
    # People about whom other decisions count, by the only name that they have.
    needed = {
        one.person
        for one in decisions.entries.values()
        if one.person in named and one.id not in own and one.action not in _OF_NAME
        if decisions.holds(one.id)
    }
    for entry in entries:
        is_only_name = entry.action == Action.NAME and not any(
            one.person == entry.person and one.action == Action.NAME and decisions.holds(one.id)
            for one in decisions.entries.values()
            if one.id not in own
        )
        if not decisions.holds(entry.id) or (is_only_name and entry.person in needed):
            continue
        yield entry
        if entry.action == Action.MERGE:  # of another machine, of the same two people
            yield from (one for one in decisions.merges_of(entry.person) if one.id not in own)
