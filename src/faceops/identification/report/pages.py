"""The pages of the report: sections of faces under headings, as HTML of bounded size."""

import base64
import bisect
import itertools
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from faceops.base.reasons import CODES, IDENTIFIED, KINDS, NO_REASON, REASONS, UNKNOWN, Reason
from faceops.base.stores import uri_of
from faceops.identification.engine.decide import NamedBlock
from faceops.identification.records.output_folder import REPORT_PAGES
from faceops.identification.state.face_store import FaceStore

MIN_GUESS = 0.05  # below it, the nearest person is not a useful guess
FILE = len(KINDS)  # the kind of a photo without faces
AMBIGUOUS, CONFIRMED = CODES[Reason.AMBIGUOUS], CODES[Reason.CONFIRMED]
IGNORED, REFUSED = CODES[Reason.IGNORED], CODES[Reason.REFUSED_BY_PERSON]
_ID_BYTES = 32  # of a sha256
PAGE_ROWS = 500


def fair_shares(wanted: Sequence[int], total: int) -> list[int]:
    """Split `total`: small requests are met in full, the others get equal shares.

    Shares that differ by rounding are larger for larger requests.
    """
    shares, left = [0] * len(wanted), total
    ascending = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for rank, index in enumerate(ascending):
        shares[index] = min(wanted[index], left // (len(ascending) - rank))
        left -= shares[index]
    return shares


@dataclass(frozen=True, eq=False)
class Section:
    """Faces of one kind under G headings, listed on pages of their own."""

    key: str  # in names of files and in links, such as "people"
    title: str
    rows: np.ndarray  # `ROW` (N,), in the order of the pages; `picture` may be changed
    starts: np.ndarray  # int64 (G + 1,), heading g has the rows starts[g] to starts[g + 1]
    # names, notes: (G,), texts of the headings; a nameless one has ""
    names: Sequence[str]
    notes: Sequence[str]
    on_front: Sequence[int]  # the headings that the first page shows, ascending
    in_front: int  # how many faces of each it shows
    pictures: int  # how many faces have a picture at most, beside those in front
    captioned: bool = True  # whether a caption stands below each picture

    @cached_property
    def cuts(self) -> list[int]:
        """The first row of each page."""
        return page_cuts(self.starts.tolist(), PAGE_ROWS)

    def page_of(self, row: int) -> int:
        """Return the number of the page that has a row, 1 and up."""
        return bisect.bisect_right(self.cuts, row)

    def bounds(self, page: int) -> tuple[int, int]:
        """Return the first row of a page, and the one after its last."""
        stop = self.cuts[page] if page < len(self.cuts) else len(self.rows)
        return self.cuts[page - 1], stop

    def groups_of(self, page: int) -> range:
        start, stop = self.bounds(page)
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        return range(first, int(np.searchsorted(self.starts, stop, "left")))

    def range_of(self, page: int) -> str:
        """Return the first and the last name on a page; "" if it has none."""
        groups = self.groups_of(page)
        first, last = self.names[groups[0]], self.names[groups[-1]]
        return first if first == last else f"{first} to {last}"

    def link(self, group: int) -> str:
        """Return the address of a heading, seen from the first page."""
        return f"{REPORT_PAGES}/{self.key}-{self.page_of(int(self.starts[group]))}.html#g{group}"

    def front(self, group: int) -> list[int]:
        """Return the rows of a heading that the first page shows.

        Named faces are listed with the least probable first, because these need a look, and the
        most probable are in front, behind faces to check; of others, the first are in front.
        """
        start, stop = self.starts[group : group + 2].tolist()
        if self.key != "people":
            return list(range(start, min(stop, start + self.in_front)))
        check = (start + np.flatnonzero(self.rows["check"][start:stop])).tolist()
        check = check[: max(self.in_front // 2, 1)]
        # At most so many of the last rows are among `check`.
        last = range(stop - 1, max(start, stop - 2 * self.in_front) - 1, -1)
        return [*check, *(row for row in last if row not in check)][: self.in_front]

    def pictured(self) -> np.ndarray:
        """Return the rows that get a picture, int64: those in front, and a fair share for each."""
        has_faces = self.rows["face_index"][self.starts[:-1]] >= 0
        wanted = np.diff(self.starts) * has_faces
        chosen = np.zeros(len(self.rows), bool)
        for group in self.on_front:
            if has_faces[group]:
                chosen[self.front(group)] = True
        for group, share in enumerate(fair_shares(wanted.tolist(), self.pictures)):
            if share:
                start, stop = self.starts[group : group + 2].tolist()
                others = np.flatnonzero(~chosen[start:stop])
                taken = stop - start - len(others)
                chosen[start + others[: max(share - taken, 0)]] = True
        return np.flatnonzero(chosen)


def page_cuts(starts: Sequence[int], size: int) -> list[int]:
    """Return the first row of each page; headings with at most `size` rows lie on one page.

    `starts`: (G + 1,), the first row of each heading, and the number of rows.
    """
    cuts = [0]
    for start, stop in itertools.pairwise(starts):
        if stop - cuts[-1] > size and start > cuts[-1]:
            cuts.append(start)
        while stop - cuts[-1] > size:
            cuts.append(cuts[-1] + size)
    return cuts


# Whether a path is the same in a URI and in HTML, as most are: quoting a million takes seconds.
is_plain = re.compile(r"[A-Za-z0-9_.~/-]+").fullmatch


class PhotoColumn:
    """Path and photo_id of many photos below `root`, as bytes: 80 bytes a photo."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._address = uri_of(root).rstrip("/") + "/"
        self._links: dict[int, str] = {}  # of photos whose path is not valid text
        self._text, self._ends, self._ids = bytearray(), array("q", [0]), bytearray()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, named: NamedBlock) -> None:
        photos = named.photos
        for path, file, photo_id in zip(
            named.photo_paths, photos.paths, photos.photo_ids, strict=True
        ):
            # Only a name that is not valid text is shown with backslashes that it does not have.
            if "\\" in path and path != Path(file).relative_to(self._root).as_posix():
                self._links[len(self)] = uri_of(Path(file))
            self._text += path.encode()
            self._ends.append(len(self._text))
            self._ids += bytes.fromhex(photo_id) if photo_id else bytes(_ID_BYTES)

    def paths(self, photos: np.ndarray) -> list[str]:
        ends = np.frombuffer(self._ends, np.int64)
        both = zip(ends[photos].tolist(), ends[photos + 1].tolist(), strict=True)
        return [self._text[start:end].decode() for start, end in both]

    def photo_id(self, photo: int) -> str:
        """Return the photo_id; zeros for a photo without one."""
        return self._ids[_ID_BYTES * photo : _ID_BYTES * (photo + 1)].hex()

    def link(self, photo: int, path: str) -> str:
        """Return the URI of a photo, which needs no escaping in HTML."""
        if photo in self._links:
            return self._links[photo]
        return self._address + (path if is_plain(path) else quote(path))


class Pages:
    """Writes the faces of a run as HTML. `people`: the sorted names of the gallery."""

    def __init__(self, photos: PhotoColumn, people: Sequence[str]) -> None:
        self._photos = photos
        self._people = people
        self._escaped = [escape(name) for name in people]
        self._pictures: list[str] = []

    def load_pictures(self, sections: Iterable[Section], store: FaceStore) -> None:
        """Load the pictures of all `sections`, and number them in their rows."""
        wanted: list[tuple[Section, int, tuple[str, int]]] = []
        for section in sections:
            rows = section.pictured()
            faces = section.rows[rows][["photo", "face_index"]].tolist()
            for row, (photo, index) in zip(rows.tolist(), faces, strict=True):
                wanted.append((section, row, (self._photos.photo_id(photo), index)))
        found = store.thumbnails({face for _, _, face in wanted})
        for section, row, face in wanted:
            if face in found:
                section.rows["picture"][row] = len(self._pictures)
                self._pictures.append(picture_uri(found[face]))

    def card(self, section: Section, group: int) -> str:
        """Return a heading with the faces in front, and a link to all of them, for the first page.

        A nameless heading is no card of its own.
        """
        rows = section.front(group)
        name, note = escape(section.names[group]), escape(section.notes[group])
        count = int(section.starts[group + 1] - section.starts[group])
        parts = [f"<h3>{name}</h3><p class=soft>{note}</p>\n"] if name else []
        parts.append(self._faces(section, rows, name if section.key == "people" else ""))
        if count > len(rows):
            tail = ", the least sure first" if section.key == "people" else ""
            parts.append(
                f'<p class=all><a href="{section.link(group)}">All {count:,}{tail}</a></p>\n'
            )
        return "".join(parts)

    def listing(self, section: Section, page: int) -> str:
        """Return the faces of a page, with headings; `page` is 1 and up."""
        start, stop = section.bounds(page)
        parts = []
        for group in section.groups_of(page):
            begins, ends = section.starts[group : group + 2].tolist()
            name, note = escape(section.names[group]), escape(section.notes[group])
            anchor = f' id="g{group}"' if begins >= start else ""
            more = "" if begins >= start else ", continued"
            head = f"<h2>{name}{more} <span class=count>{note}</span></h2>\n" if name else ""
            shown = range(max(begins, start), min(ends, stop))
            faces = self._faces(section, shown, name if section.key == "people" else "", True)
            parts.append(f"<section{anchor} class=loose data-list>{head}{faces}</section>\n")
        return "".join(parts)

    def people_of(self, section: Section, page: int) -> list[str]:
        """Return the names that a page has in headings and captions."""
        if not section.captioned:
            return []
        start, stop = section.bounds(page)
        shown = shown_people(section.rows[start:stop])
        return [self._people[one] for one in shown.tolist()]

    def _faces(
        self, section: Section, places: Sequence[int], whose: str, anchored: bool = False
    ) -> str:
        """Return these rows, those with a picture first; with `anchored`, each can be linked to."""
        rows = section.rows[list(places)]
        paths = self._photos.paths(rows["photo"])
        texts = self._captions(section, rows)
        photos, pictures = rows["photo"].tolist(), rows["picture"].tolist()
        checks = rows["check"].tolist()
        tiles, lines = [], []
        columns = zip(places, photos, paths, texts, pictures, checks, strict=True)
        for place, photo, path, text, picture, check in columns:
            shown = path if is_plain(path) else escape(path)
            link = self._photos.link(photo, path)
            marks = f' id="r{place}"' if anchored else ""
            if check:
                marks += " class=check"
            if picture < 0:
                caption = f" <span>{text}</span>" if text else ""
                lines.append(f'<li{marks}><a href="{link}">{shown}</a>{caption}\n')
                continue
            tiles.append(
                f'<li{marks}><a href="{link}" title="{shown}"><img src="{self._pictures[picture]}" '
                f'width=96 height=96 loading=lazy decoding=async alt="{whose or text}, in {shown}">'
                f"<span class=who>{text}</span> <span>{shown}</span></a>\n"
            )
        both = (("faces", tiles), ("lines", lines))
        return "".join(f"<ul class={kind}>\n{''.join(some)}</ul>\n" for kind, some in both if some)

    def _captions(self, section: Section, rows: np.ndarray) -> list[str]:
        return captions(rows, self._escaped) if section.captioned else [""] * len(rows)

    def guesses(self, section: Section, portraits: Mapping[str, bytes]) -> Iterator[dict[str, Any]]:
        """Yield for each face in front of a nameless section what the first page shows of it."""
        rows = section.rows[section.front(0)]
        for row, path in zip(rows, self._photos.paths(rows["photo"]), strict=True):
            people = [(int(row["best"]), row["probability"])]
            if not row["taken"] and row["runner_up"] >= 0:
                people.append((int(row["runner_up"]), row["runner_up_probability"]))
            picture = int(row["picture"])
            yield {
                "path": path,
                "link": self._photos.link(int(row["photo"]), path),
                "picture": self._pictures[picture] if picture >= 0 else "",
                "taken": bool(row["taken"]),
                "people": [
                    (name, float(sure), picture_uri(portraits[name]) if name in portraits else "")
                    for name, sure in ((self._people[one], sure) for one, sure in people)
                ],
            }

    def index(self, section: Section, with_rows: bool) -> dict[str, Any]:
        """Return what the search of the first page finds of a section, for JSON."""
        counts = np.diff(section.starts).tolist()
        content: dict[str, Any] = {
            "key": section.key,
            "title": section.title,
            "pages": section.cuts,
            "groups": [[name, count] for name, count in zip(section.names, counts, strict=True)],
        }
        if with_rows:
            paths = self._photos.paths(section.rows["photo"])
            texts = map(unescape, self._captions(section, section.rows))
            both = zip(paths, texts, strict=True)
            content["rows"] = [[path, text] if text else [path] for path, text in both]
        return content


def picture_uri(picture: bytes) -> str:
    """Return a WebP or JPEG as a data URI."""
    kind = "webp" if picture.startswith(b"RIFF") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


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
