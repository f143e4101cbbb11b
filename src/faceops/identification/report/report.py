"""The report of a run: a first page of bounded size, and pages of all faces that it links to."""

import base64
import hashlib
import io
import json
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from faceops.base import stores
from faceops.base.errors import counted
from faceops.base.files import valid_unicode
from faceops.base.reasons import CODES, IDENTIFIED, REASONS, REJECTED, UNKNOWN, Reason
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.gallery.store import portraits
from faceops.identification.engine.decide import NamedBlock
from faceops.identification.engine.verdicts import NOBODY
from faceops.identification.records.output_folder import REPORT_FILE, REPORT_PAGES
from faceops.identification.report import pages
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import thumbnail
from faceops.identification.summary import Summary, promise

if TYPE_CHECKING:
    from faceops.identification.unknown.unknown_people import UnknownPeople

# The first page has about 800 pictures at most, so that any number of faces opens at once.
CARDS, CARDS_OF_UNKNOWN = 60, 30  # the people in the most photos
IN_FRONT, IN_FRONT_OF_UNKNOWN, IN_FRONT_OF_A_LIST = 9, 6, 40  # faces of each
# A picture takes 1.4 kB. So many are on the pages, beside those of the first page:
PICTURES_OF_PEOPLE, PICTURES_OF_UNKNOWN_PEOPLE, PICTURES_OF_A_LIST = 6_000, 3_000, 500
INDEXED = 20_000  # faces and files that the first page finds, 100 bytes each; of more, only people
LETTERS = 40  # names that lead to the pages of people
# Named faces that a tenth of the budget's strangers reach are to be checked.
NEAR_THE_LIMIT = 0.1
NAMES_TO_CHECK = 12  # in the sentence that leads to them
MEANINGS = {
    str(Reason.NO_FACE): "no face found",
    str(Reason.EMPTY): "empty file",
    str(Reason.NOT_A_PHOTO): "not a photo",
    str(Reason.UNSUPPORTED_FORMAT): "a format that is not read",
    str(Reason.UNREADABLE): "broken, or may not be read",
    str(Reason.VANISHED): "gone before it was opened",
    str(Reason.TOO_LARGE): "over the size limit",
    str(Reason.TOO_SMALL): "too few pixels",
    str(Reason.FACE_TOO_SMALL): "face too small to compare",
    str(Reason.LOW_QUALITY): "face too poor to compare",
}


_START, _END = '<script type="application/json" id="people-shown">', "</script>"
_EARLIER_START = '<script type="application/json" id="faces">'  # an object with the key "people"
# A face, or a photo without faces. `photo`: by `PhotoColumn`; `face_index`: -1 for a photo; `kind`,
# `reason`, `best`, `runner_up` and the probabilities: as in `FaceDecisions`; `check`: named so near
# the limit that it should be checked; `taken`: the best person is named in the same photo;
# `picture`: by `Pages`, -1 for none.
ROW = np.dtype(
    [
        *(("photo", "<i4"), ("face_index", "<i4"), ("kind", "i1"), ("reason", "i1")),
        *(("check", "?"), ("taken", "?"), ("best", "<i4"), ("runner_up", "<i4")),
        *(("probability", "<f4"), ("runner_up_probability", "<f4")),
        *(("quality", "<f4"), ("picture", "<i4")),
    ]
)


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
    rows["check"] = is_near & (decisions.reason != pages.CONFIRMED)
    name_in_photo = photo * (len(named.people) + 1) + decisions.best
    rows["taken"] = np.isin(name_in_photo, name_in_photo[decisions.named])
    empty = np.flatnonzero(np.diff(photos.starts) == 0)
    files = np.zeros(len(empty), ROW)
    files["photo"], files["kind"] = first_photo + empty, pages.FILE
    files["reason"] = [CODES[photos.reasons[place]] for place in empty.tolist()]
    for name in ("best", "runner_up"):
        files[name] = NOBODY
    files["face_index"] = files["picture"] = -1
    return np.concatenate([rows[~photos.faces["forgotten"]], files])


class Report:
    """The pages of a run over photos below `root`: `add` all blocks, then the rest, then `write`.

    `budget`: the share of strangers that the run may name.
    """

    def __init__(self, root: Path, budget: float) -> None:
        self._root = root
        self._near = NEAR_THE_LIMIT * budget
        self._photos = pages.PhotoColumn(root)
        self._blocks: list[np.ndarray] = []
        self._people: Sequence[str] = ()
        self._groups: list[np.ndarray] = []  # rows of unknown faces, by unknown person
        self._group_names: list[str] = []
        self._alone: np.ndarray | None = None

    def add(self, named: NamedBlock) -> None:
        """Add the photos of a block; all blocks have the same `people`."""
        self._blocks.append(rows_of(named, len(self._photos), self._near))
        self._photos.add(named)
        self._people = named.people

    def add_unknown_people(self, found: "UnknownPeople") -> None:
        """Add the people without a name; the remaining unknown faces were seen once.

        The rows of `found.faces` are the unknown faces of all blocks, in order.
        """
        self._groups = [np.asarray(person.rows, np.int64) for person in found.people]
        self._group_names = [person.name for person in found.people]
        self._alone = np.asarray(found.alone, np.int64)

    def write(
        self, folder: Path, store: FaceStore, summary: Summary, gallery: GalleryPlace, out: Path
    ) -> None:
        """Write report.html and the pages below report/ into `folder`.

        Args:
            store: has the pictures of the faces.
            gallery: has the pictures of people that a face may show; it and `out` are in the
                command that the first page proposes.
        """
        writer = pages.Pages(self._photos, self._people)
        sections = [section for section in self._sections.values() if len(section.rows)]
        writer.load_pictures(sections, store)
        (folder / REPORT_PAGES).mkdir()
        design = _design()
        template = design.get_template("page.html.j2")
        for section in sections:
            for page in range(1, len(section.cuts) + 1):
                content = template.render(
                    section=section,
                    page=page,
                    range=section.range_of(page),
                    body=writer.listing(section, page),
                    people=people_block(writer.people_of(section, page)),
                )
                _write(folder / REPORT_PAGES / f"{section.key}-{page}.html", content)
        template = design.get_template("report.html.j2")
        first = template.render(self._first_page(writer, summary, gallery, out))
        _write(folder / REPORT_FILE, first)

    @cached_property
    def _rows(self) -> np.ndarray:
        rows = np.concatenate([np.zeros(0, ROW), *self._blocks])
        self._blocks.clear()
        return rows

    @cached_property
    def _sections(self) -> dict[str, pages.Section]:
        kind, reason = self._rows["kind"], self._rows["reason"]
        unknown = np.flatnonzero((kind == UNKNOWN) & (reason != pages.AMBIGUOUS))
        alone = unknown if self._alone is None else unknown[self._alone]
        is_unusable = (kind == REJECTED) & (reason != pages.IGNORED) | (kind == pages.FILE)
        found = (
            self._named_people(kind == IDENTIFIED),
            self._list("ambiguous", "Ambiguous", (kind == UNKNOWN) & (reason == pages.AMBIGUOUS)),
            self._unknown_people(unknown),
            self._list("unknown", "Unknown, seen once", alone),
            self._list("ignored", "Ignored", reason == pages.IGNORED),
            self._unusable(is_unusable),
        )
        return {section.key: section for section in found}

    def _named_people(self, chosen: np.ndarray) -> pages.Section:
        rows = self._rows[chosen]
        sure = np.where(rows["reason"] == pages.CONFIRMED, 2.0, rows["probability"])
        codes, group, counts = np.unique(rows["best"], return_inverse=True, return_counts=True)
        names = [self._people[code] for code in codes.tolist()]
        order = sorted(range(len(names)), key=lambda one: (names[one].casefold(), names[one]))
        rank = np.argsort(order)
        rows = rows[np.lexsort((sure, rank[group]))]
        counts = counts[order]
        notes = [f"in {counted(count, 'photo')}" for count in counts.tolist()]
        most = np.sort(np.argsort(-counts, kind="stable")[:CARDS])
        return pages.Section(
            "people", "People", rows, _starts(counts), [names[one] for one in order], notes,
            most.tolist(), IN_FRONT, PICTURES_OF_PEOPLE,
        )  # fmt: skip

    def _unknown_people(self, unknown: np.ndarray) -> pages.Section:
        counts = np.array([len(group) for group in self._groups], np.int64)
        places = unknown[np.concatenate([np.zeros(0, np.int64), *self._groups])]
        rows, group = self._rows[places], np.repeat(np.arange(len(counts)), counts)
        rows = rows[np.lexsort((-rows["quality"], group))]
        notes = [f"in {count:,} photos" for count in counts.tolist()]
        return pages.Section(
            "unknown-people", "Unknown people", rows, _starts(counts), self._group_names, notes,
            range(min(CARDS_OF_UNKNOWN, len(counts))), IN_FRONT_OF_UNKNOWN,
            PICTURES_OF_UNKNOWN_PEOPLE, captioned=False,
        )  # fmt: skip

    def _list(self, key: str, title: str, chosen: np.ndarray) -> pages.Section:
        rows = self._rows[chosen]
        rows = rows[np.argsort(-np.nan_to_num(rows["probability"]), kind="stable")]
        return pages.Section(
            key, title, rows, _starts([len(rows)]), [""], [""], [0], IN_FRONT_OF_A_LIST,
            PICTURES_OF_A_LIST,
        )  # fmt: skip

    def _unusable(self, chosen: np.ndarray) -> pages.Section:
        rows = self._rows[chosen]
        reasons = list(map(str, REASONS))
        rank = np.argsort(np.argsort(reasons, kind="stable"))
        rows = rows[np.lexsort((rank[rows["reason"]], rows["kind"]))]
        both = rows["kind"].astype(np.int64) * len(reasons) + rows["reason"]
        starts = np.flatnonzero(np.diff(both, prepend=-1))
        counts = np.diff(np.append(starts, len(rows)))
        names, notes = [], []
        for row, count in zip(rows[starts], counts.tolist(), strict=True):
            reason = reasons[row["reason"]]
            names.append(MEANINGS.get(reason, reason.replace("_", " ")))
            what = "file" if row["kind"] == pages.FILE else "face"
            notes.append(f"{reason} · {counted(count, what)}")
        return pages.Section(
            "unusable", "Not usable", rows, _starts(counts), names, notes, range(len(names)),
            IN_FRONT_OF_A_LIST // 3, PICTURES_OF_A_LIST,
        )  # fmt: skip

    def _first_page(
        self, writer: pages.Pages, summary: Summary, gallery: GalleryPlace, out: Path
    ) -> dict[str, Any]:
        sections = self._sections
        people, ambiguous = sections["people"], sections["ambiguous"]
        guessed = pages.shown_people(ambiguous.rows[ambiguous.front(0)])
        enrolled = _enrolled_pictures(gallery, {self._people[one] for one in guessed.tolist()})
        captioned = [section.rows for section in sections.values() if section.captioned]
        everybody = pages.shown_people(np.concatenate(captioned))
        indexed = sum(len(section.rows) for section in sections.values()) <= INDEXED
        shown = [section for section in sections.values() if len(section.rows)]
        address = storage_of(gallery).address
        return {
            "summary": summary,
            "sections": sections,
            "card": writer.card,
            "guesses": list(writer.guesses(ambiguous, enrolled)),
            "promise": promise(summary),
            "to_check": self._to_check(),
            "names_to_check": NAMES_TO_CHECK,
            "pages_of_people": _by_name(people),
            "folder": valid_unicode(stores.shown(self._root)),
            "gallery": valid_unicode(address),
            "started": f"{datetime.fromisoformat(summary.started):%Y-%m-%d %H:%M} UTC",
            "where": f"--gallery {_quoted(address)} --out {_quoted(str(out.resolve()))}",
            "people": people_block(self._people[one] for one in everybody.tolist()),
            "indexed": indexed,
            "index": script_json([writer.index(section, indexed) for section in shown]),
        }

    def _to_check(self) -> list[tuple[str, str]]:
        people = self._sections["people"]
        rows = np.flatnonzero(people.rows["check"])
        groups = np.unique(np.searchsorted(people.starts, rows, "right") - 1)
        least = people.rows["probability"][people.starts[groups]]
        on_front = set(people.on_front)
        return [
            (people.names[group], f"#card-{group}" if group in on_front else people.link(group))
            for group in groups[np.argsort(least, kind="stable")].tolist()
        ]


def _starts(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _by_name(people: pages.Section) -> list[tuple[str, str]]:
    """Return names, evenly spread, that lead to the pages of people; none if one page has all."""
    groups = np.searchsorted(people.starts, people.cuts[1:], "right") - 1
    firsts = np.unique(np.concatenate([[0], groups]).astype(int))
    chosen = firsts[:: max(1, -(-len(firsts) // LETTERS))].tolist()
    return [(people.names[one], people.link(one)) for one in chosen] if len(chosen) > 1 else []


@cache  # `faceops review` and a served flow write reports again and again
def _design() -> Any:
    """Return the templates with style, script and their digests: pages run no other script."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    design = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    design.filters |= {"number": "{:,}".format, "probability": pages.probability_text}
    for name, file in (("style", "report.css"), ("script", "report.js")):
        text = (here / file).read_text("utf-8")
        design.globals |= {name: text, f"{name}_digest": digest(text)}
    return design


def _write(path: Path, content: str) -> None:
    path.write_bytes(content.encode("utf-8", "backslashreplace"))


def _quoted(text: str) -> str:
    return shlex.quote(valid_unicode(text))


def _enrolled_pictures(gallery: GalleryPlace, people: Collection[str]) -> Mapping[str, bytes]:
    found = {}
    for person, png in portraits(gallery, people).items():
        crop = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        found[person] = thumbnail(crop)
    return found


def people_block(people: Iterable[str]) -> str:
    """Return the element that lists all people whom a page names or guesses, see `people_on`."""
    return _START + script_json(sorted(people)) + _END


def people_on(page: Path) -> list[str]:
    """Return all people that a page names or guesses; none if there is no page."""
    if not page.is_file():
        return []
    text = page.read_text("utf-8")
    for start in (_START, _EARLIER_START):
        _, found, rest = text.partition(start)
        if found:
            content = json.loads(rest.partition(_END)[0])
            return list(content["people"] if isinstance(content, dict) else content)
    return []


def script_json(content: object) -> str:
    """Return JSON that cannot end the script element around it."""
    from jinja2.utils import htmlsafe_json_dumps

    return str(htmlsafe_json_dumps(content, ensure_ascii=False, separators=(",", ":")))


def digest(text: str) -> str:
    """Return how a content security policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
