"""The history of decisions: what was decided together, in words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry

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
        undone: none of it counts any more.
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
    """Return the entries of each batch by time; names that are only noted are in none."""
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
    """Return what the entries decided, in words."""
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
    """Return the name that the person had before this entry."""
    names = decisions.names_of(entry.person)
    at = names.index(entry.detail) if entry.detail in names else 0
    return names[at - 1] if at else "a person"
