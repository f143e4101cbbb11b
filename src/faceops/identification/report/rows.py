"""The faces and files of a run as the report keeps them: 32 bytes a face, and the photos' paths."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from faceops.base.reasons import (
    IDENTIFIED,
    NO_REASON,
    REASONS,
    UNKNOWN,
    DecisionKind,
    Reason,
    reason_code,
)
from faceops.base.stores import uri_of
from faceops.identification.engine.decide import NamedBlock
from faceops.identification.engine.verdicts import NOBODY

MIN_GUESS = 0.05  # below it, the nearest person is not a useful guess
FILE = len(DecisionKind)  # the kind of a photo without faces
AMBIGUOUS, CONFIRMED = reason_code(Reason.AMBIGUOUS), reason_code(Reason.CONFIRMED)
IGNORED, REFUSED = reason_code(Reason.IGNORED), reason_code(Reason.REFUSED_BY_PERSON)
# A face, or a photo without faces. `photo`: by `PhotoColumn`; `face_index`: -1 for a photo; `kind`,
# `reason`, `best`, `runner_up` and the probabilities: as in `Decisions`; `check`: named so near the
# limit that it should be checked; `taken`: the best person is named in the same photo; `picture`:
# by `Pages`, -1 for none.
ROW = np.dtype(
    [
        ("photo", "<i4"),
        ("face_index", "<i4"),
        ("kind", "i1"),
        ("reason", "i1"),
        ("check", "?"),
        ("taken", "?"),
        ("best", "<i4"),
        ("runner_up", "<i4"),
        ("probability", "<f4"),
        ("runner_up_probability", "<f4"),
        ("quality", "<f4"),
        ("picture", "<i4"),
    ]
)
_ID_BYTES = 32  # of a sha256


def rows_of(named: NamedBlock, first_photo: int, near: float) -> np.ndarray:
    """Return the `ROW`s (N,) of a block: its faces that are not forgotten, then its other photos.

    Args:
        first_photo: number of the block's first photo.
        near: share of strangers from which a named face is to be checked.
    """
    photos, decisions = named.photos, named.decisions
    rows = np.zeros(len(photos.faces), ROW)
    photo = photos.photo_of_face
    rows["photo"], rows["face_index"] = first_photo + photo, photos.face_index
    for name in ("kind", "reason", "best", "runner_up", "probability", "runner_up_probability"):
        rows[name] = getattr(decisions, name)
    rows["quality"], rows["picture"] = photos.faces["quality"], -1
    is_near = decisions.named & (decisions.stranger_share >= near)
    rows["check"] = is_near & (decisions.reason != CONFIRMED)
    name_in_photo = photo * (len(named.people) + 1) + decisions.best
    rows["taken"] = np.isin(name_in_photo, name_in_photo[decisions.named])
    empty = np.flatnonzero(np.diff(photos.starts) == 0)
    files = np.zeros(len(empty), ROW)
    files["photo"], files["kind"] = first_photo + empty, FILE
    files["reason"] = [reason_code(photos.reasons[place]) for place in empty.tolist()]
    for name in ("best", "runner_up"):
        files[name] = NOBODY
    files["face_index"] = files["picture"] = -1
    return np.concatenate([rows[~photos.faces["forgotten"]], files])


class PhotoColumn:
    """Path and photo_id of many photos below `root`, as bytes: 80 bytes a photo."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._address = uri_of(root).rstrip("/") + "/"
        self._links: dict[int, str] = {}  # of photos whose path is not valid text
        self._parts: list[bytes] = []
        self._lengths: list[np.ndarray] = []
        self._ids: list[bytes] = []
        self._text = self._all_ids = b""
        self._ends = np.zeros(1, np.int64)
        self.count = 0

    def add(self, named: NamedBlock) -> None:
        """Add the photos of a block."""
        encoded = [path.encode() for path in named.photo_paths]
        self._parts.append(b"".join(encoded))
        self._lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        nothing = bytes(_ID_BYTES)
        self._ids.append(
            b"".join(bytes.fromhex(one) if one else nothing for one in named.photos.photo_ids)
        )
        for place, path in enumerate(named.photo_paths):
            # Only a name that is not valid text is shown with backslashes that it does not have.
            if "\\" in path:
                file = Path(named.photos.paths[place])
                if path != file.relative_to(self._root).as_posix():
                    self._links[self.count + place] = uri_of(file)
        self.count += len(encoded)

    def finish(self) -> None:
        """Make the photos ready to be read."""
        self._text, self._all_ids = b"".join(self._parts), b"".join(self._ids)
        self._ends = np.cumsum(np.concatenate([[0], *self._lengths]))
        self._parts, self._ids, self._lengths = [], [], []

    def paths(self, photos: np.ndarray) -> list[str]:
        """Return the paths of these photos."""
        text, ends = self._text, self._ends
        both = zip(ends[photos].tolist(), ends[photos + 1].tolist(), strict=True)
        return [text[start:end].decode() for start, end in both]

    def photo_id(self, photo: int) -> str:
        """Return the photo_id; zeros for a photo without one."""
        return self._all_ids[_ID_BYTES * photo : _ID_BYTES * (photo + 1)].hex()

    def link(self, photo: int, path: str) -> str:
        """Return the URI of a photo, which needs no escaping in HTML."""
        if photo in self._links:
            return self._links[photo]
        return self._address + (path if is_plain(path) else quote(path))


# Whether a path is the same in a URI and in HTML, as most are: quoting a million takes seconds.
is_plain = re.compile(r"[A-Za-z0-9_.~/-]+").fullmatch


def probability_text(probability: float) -> str:
    """Return a probability with three digits; never as 1, since nothing is certain."""
    return ">.999" if probability >= 0.9995 else f"{probability:.3f}".removeprefix("0")


_PROBABILITIES = [escape(probability_text(thousandths / 1000)) for thousandths in range(1001)]


def captions(rows: np.ndarray, people: Sequence[str]) -> list[str]:
    """Return the text under each picture as HTML, without the photo's path.

    Args:
        rows: `ROW` (N,).
        people: the names of the gallery as HTML.
    """
    names = ("kind", "reason", "check", "taken", "best", "runner_up")
    columns = (rows[name].tolist() for name in names)
    thousandths = np.rint(np.nan_to_num(rows["probability"]) * 1000).astype(int)
    probabilities = map(_PROBABILITIES.__getitem__, thousandths.tolist())
    found = []
    for kind, reason, check, taken, best, other, sure in zip(*columns, probabilities, strict=True):
        if kind == IDENTIFIED and reason == CONFIRMED:
            found.append("confirmed")
        elif kind == IDENTIFIED:
            found.append(f"{sure}, check" if check else sure)
        elif kind == FILE:
            found.append("")
        elif best < 0:
            found.append("" if reason == NO_REASON else REASONS[reason].replace("_", " "))
        elif reason == REFUSED:
            found.append(f"{people[best]}? {sure}, another was refused")
        elif reason != AMBIGUOUS:
            found.append(f"{people[best]}? {sure}")
        elif taken:
            found.append(f"{people[best]}? {sure}, already in this photo")
        else:
            both = people[best] if other < 0 else f"{people[best]} or {people[other]}"
            found.append(f"{both}? {sure}")
    for place in np.flatnonzero(_no_guess(rows)).tolist():
        found[place] = "no similar person"
    return found


def _no_guess(rows: np.ndarray) -> np.ndarray:
    """Return which faces have a nearest person who is no useful guess, bool (N,)."""
    unknown = (rows["kind"] == UNKNOWN) & (rows["reason"] != AMBIGUOUS)
    return unknown & (rows["best"] >= 0) & (rows["probability"] < MIN_GUESS)


def shown_people(rows: np.ndarray) -> np.ndarray:
    """Return the people whom the captions of `rows` name or guess, and the headings above them.

    int32, places in the gallery's names, ascending.
    """
    guessed = rows["best"][~_no_guess(rows)]
    others = rows["runner_up"][(rows["reason"] == AMBIGUOUS) & ~rows["taken"]]
    both = np.unique(np.concatenate([guessed, others]))
    return both[both >= 0]
