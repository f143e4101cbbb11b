"""The state that results from the entries of a journal: whom each face shows, and all names."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from faceops.dataset.names import person_key
from faceops.faces.detector import MAX_OVERLAP, Box, best_overlap, best_pairs, box_overlap
from faceops.gallery.journal import TRUSTED, Action, Entry, new_person
from faceops.gallery.storage import GalleryPlace, storage_of

# Least overlap of two boxes of the same face; the detector finds no two faces that overlap more.
# Of 305 faces that were detected again at another detail, 3 overlapped their earlier box by 0.4 to
# 0.5, none by 0.2 to 0.4.
SAME_PLACE = MAX_OVERLAP


def scaled_box(box: Box, size: tuple[int, int], to: tuple[int, int]) -> Box:
    """Return a box of a photo of `size`, width and height, in a copy of the size `to`."""
    across, down = to[0] / size[0], to[1] / size[1]
    x, y, width, height = box
    return x * across, y * down, width * across, height * down


@dataclass
class Place:
    """The valid decisions about a face of a photo."""

    box: Box  # as of the first decision about the face
    size: tuple[int, int]  # of the upright photo, pixels
    person: str = ""  # id of the person whom it shows, see `Decisions.current`; "" if not decided
    refused: set[str] = field(default_factory=set)  # ids of people whom it does not show
    ignored: str = ""  # an `Ignored`, or ""
    trusted: bool = False  # the face is the person's although it is unlike the person's other faces
    entry: str = ""  # id of the entry that set `person` or `ignored`
    made: list[Entry] = field(default_factory=list)  # the valid entries about the face, by time

    def apply(self, entry: Entry, box: Box) -> None:
        """Apply a further entry; `box` is its box in this photo."""
        self.made.append(entry)
        if entry.action == Action.REFUSE:
            self.refused.add(entry.person)
            if self.person == entry.person:
                self.person = self.entry = ""
        elif entry.action == Action.IGNORE:
            self.person, self.ignored, self.entry = "", entry.detail, entry.id
        else:
            self.person, self.ignored, self.entry = entry.person, "", entry.id
            self.trusted = entry.detail == TRUSTED
            self.refused.discard(entry.person)
            if entry.action == Action.DRAW:
                self.box = box

    @property
    def is_open(self) -> bool:
        return not (self.person or self.refused or self.ignored)


class Decisions:
    """The state that results from the entries of a journal; `add` applies further ones."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: dict[str, Entry] = {}
        self._of_photo: dict[str, list[Entry]] = defaultdict(list)
        self._links: dict[str, list[Entry]] = defaultdict(list)  # by both photos
        self._of_people: list[Entry] = []
        self._undoes: dict[str, Entry] = {}
        self._undone_by: dict[str, list[str]] = defaultdict(list)
        self._undone: set[str] = set()  # entries that do not count
        self._places: dict[str, list[Place]] = {}
        self._names: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self._into: dict[str, str] = {}
        self._pictures: dict[str, tuple[str, Box]] = {}
        self._ids: dict[str, str] = {}
        self._had: dict[str, str] = {}
        self.add(entries)

    @classmethod
    def load(cls, gallery: GalleryPlace) -> "Decisions":
        """Return those of a gallery's journal, if it has one. Raises: as `Journal.entries`."""
        return cls(storage_of(gallery).journal().entries())

    def __bool__(self) -> bool:
        return bool(self.entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """Apply further entries, which are later than those before; known ones are skipped."""
        people_changed = False
        for entry in entries:
            if entry.id in self.entries:
                continue
            if entry.action == Action.UNDO:
                # Only earlier ones: imported entries may undo each other.
                if entry.detail in self.entries:
                    self._undoes[entry.id] = self.entries[entry.detail]
                    self._undone_by[entry.detail].append(entry.id)
                    self._update_undone(entry.detail)
            elif entry.action == Action.SAME:
                for photo_id in (entry.photo_id, entry.detail):
                    self._links[photo_id].append(entry)
                    self._of_photo[photo_id] += []  # its photo has decisions now
            elif entry.photo_id and entry.action != Action.PICTURE:
                self._of_photo[entry.photo_id].append(entry)
            else:
                self._of_people.append(entry)
            self.entries[entry.id] = entry
            about = self.subject(entry)
            if about.photo_id:
                for photo_id in self._linked(about.photo_id, lambda _: True):
                    self._places.pop(photo_id, None)
            people_changed |= not about.photo_id or about.action == Action.PICTURE
        if people_changed:
            self._update_people()

    def made(self) -> list[str]:
        """Return the ids of the entries made by people, in order: all but `SAME`, made by runs."""
        return [one.id for one in self.entries.values() if one.action != Action.SAME]

    def subject(self, entry: Entry) -> Entry:
        """Return the entry that a chain of undos begun by `entry` is about; else `entry`."""
        while (about := self._undoes.get(entry.id)) is not None:
            entry = about
        return entry

    def holds(self, entry: str) -> bool:
        """Return whether the entry with this id is valid: not undone, or its undo was undone."""
        return entry not in self._undone

    def _update_undone(self, entry: str) -> None:
        while True:
            is_undone = any(map(self.holds, self._undone_by[entry]))
            if is_undone == (entry in self._undone):
                return
            self._undone ^= {entry}
            if (about := self._undoes.get(entry)) is None:
                return
            entry = about.id

    def photos(self) -> Collection[str]:
        """Return the photos with decisions, by photo_id."""
        return self._of_photo.keys()

    def same_content(self, photo_id: str) -> set[str]:
        """Return the photos with the same content as this one, which is one of them."""
        return self._linked(photo_id, self.holds)

    def _linked(self, photo_id: str, counts: Callable[[str], bool]) -> set[str]:
        found, waiting = {photo_id}, [photo_id]
        while waiting:
            for entry in self._links.get(waiting.pop(), ()):
                if counts(entry.id):
                    waiting += {entry.photo_id, entry.detail} - found
                    found |= {entry.photo_id, entry.detail}
        return found

    def _of_content(self, photo_id: str) -> Iterator[tuple[Entry, Box, tuple[int, int]]]:
        """Yield all entries about faces of the photo's content, with box and size in this photo.

        Undone entries are included.
        """
        photos = self.same_content(photo_id)
        if len(photos) == 1:
            entries = self._of_photo.get(photo_id, [])
        else:
            every = [entry for one in photos for entry in self._of_photo.get(one, ())]
            entries = sorted(every, key=lambda entry: (entry.time, entry.id))
        about = (*self._links.get(photo_id, ()), *entries)
        sizes = [one.size for one in about if one.photo_id == photo_id and all(one.size)]
        for entry in entries:
            if entry.box is None:
                continue
            if entry.photo_id == photo_id or not sizes or not all(entry.size):
                yield entry, entry.box, entry.size
            else:
                yield entry, scaled_box(entry.box, entry.size, sizes[0]), sizes[0]

    def places(self, photo_id: str) -> list[Place]:
        """Return the faces of a photo that have valid decisions."""
        if photo_id not in self._of_photo:
            return []
        if photo_id not in self._places:
            places: list[Place] = []
            for entry, box, size in self._of_content(photo_id):
                if not self.holds(entry.id):
                    continue
                at = best_overlap(box, (place.box for place in places), SAME_PLACE)
                if at is None:
                    at = len(places)
                    places.append(Place(box, size))
                if (person := self.current(entry.person)) != entry.person:
                    entry = replace(entry, person=person)  # a later one may name who they are now
                places[at].apply(entry, box)
            self._places[photo_id] = [place for place in places if not place.is_open]
        return self._places[photo_id]

    def about_face(self, photo_id: str, box: Box) -> list[Entry]:
        """Return all entries about the face, also those that were undone."""
        return [
            entry
            for entry, place, _ in self._of_content(photo_id)
            if box_overlap(place, box) >= SAME_PLACE
        ]

    def match(self, photo_id: str, boxes: Sequence[Box]) -> list[Place | None]:
        """Return for each box the `Place` that overlaps it best, each place for one box only."""
        places = self.places(photo_id)
        given = best_pairs(
            (overlap, row, at)
            for at, place in enumerate(places)
            for row, box in enumerate(boxes)
            if (overlap := box_overlap(place.box, box)) >= SAME_PLACE
        )
        return [places[given[row]] if row in given else None for row in range(len(boxes))]

    def current(self, person: str) -> str:
        """Return the id of the person that this one was merged into, else the same id."""
        return _last(self._into, person)

    def name(self, person: str) -> str:
        """Return the person's name, unique in a gallery; "" for a person without one."""
        return self._names.get(self.current(person), "")

    def own_name(self, person: str) -> str:
        """Return the name that the person had before being merged into another one."""
        return self._names.get(person, "")

    def people(self) -> dict[str, str]:
        """Return the names of the people whom entries name, by id."""
        return {
            person: name for person, name in self._names.items() if self.current(person) == person
        }

    def decided_people(self) -> set[str]:
        """Return the names of the people with a valid decision other than a recorded name."""
        names = {
            self.name(entry.person)
            for entry in self.entries.values()
            if (entry.batch or entry.action != Action.NAME) and self.holds(entry.id)
        }
        return names - {""}

    def merges(self) -> list[Entry]:
        """Return the entries that merge people, by time, also undone ones."""
        return [entry for entry in self._of_people if entry.action == Action.MERGE]

    def merges_of(self, person: str) -> list[Entry]:
        """Return the valid entries that merge the person with this id into another, by time."""
        return [one for one in self.merges() if one.person == person and self.holds(one.id)]

    def names_of(self, person: str) -> list[str]:
        """Return the names that entries gave to the person with this id, by time."""
        named = (entry for entry in self._of_people if entry.action == Action.NAME)
        return [entry.detail for entry in named if entry.person == person]

    def shown_name(self, name: str) -> str:
        """Return the name under which a person of the gallery is shown, which two may share."""
        return self._shown.get(self._ids.get(person_key(name), ""), name)

    def person_named(self, name: str) -> str:
        """Return the id of the person who has this name, or else had it last; "" if nobody did.

        Any spelling is accepted. A former holder may be merged into another person, see `current`.
        A name that was undone counts if the person has an earlier one again.
        """
        return self.person_with_key(person_key(name))

    def person_with_key(self, key: str) -> str:
        """Return the same by the key of the name."""
        return self._ids.get(key) or self._had.get(key, "")

    def picture(self, name: str) -> tuple[str, Box] | None:
        """Return photo_id and box of the face that was chosen as the picture of a person."""
        return self._pictures.get(self.person_id(name)) if self._pictures else None

    def person_id(self, name: str) -> str:
        """Return the id of the person who has this name now, in any spelling.

        A person without entries gets an id derived from the name, so that two machines give the
        same one, or a random one if that id belongs to a person who was renamed since.
        """
        key = person_key(name)
        known = self._ids.get(key)
        if known is not None:
            return known
        derived = sha256(b"faceops person " + key.encode()).hexdigest()[:16]
        return new_person() if derived in self._names else derived

    def naming(self, name: str) -> tuple[str, list[Entry]]:
        """Return the id of the person `name`, and the entries that the journal needs to know it."""
        person = self.person_id(name)
        if self._names.get(person):
            return person, []
        return person, [Entry(Action.NAME, person=person, detail=name)]

    def _update_people(self) -> None:
        names: dict[str, str] = {}
        shown: dict[str, str] = {}
        into: dict[str, str] = {}
        pictures: dict[str, tuple[str, Box]] = {}
        named_at: dict[str, int] = {}
        for at, entry in enumerate(self._of_people):
            if not self.holds(entry.id):
                continue
            if entry.action == Action.NAME:
                names[entry.person], named_at[entry.person] = entry.detail, at
                shown.pop(entry.person, None)
            elif entry.action == Action.PICTURE:
                if entry.box:
                    pictures[entry.person] = entry.photo_id, entry.box
            elif entry.action == Action.SHOW:
                shown[entry.person] = entry.detail
            else:
                # Two machines may merge the same two people in opposite directions: the later wins.
                into.pop(entry.person, None)
                if _last(into, entry.detail) == entry.person:
                    into.pop(entry.detail)
                into[entry.person] = entry.detail
        if into != self._into:
            self._places.clear()
        self._names, self._shown, self._into = names, shown, into
        self._pictures = {self.current(person): place for person, place in pictures.items()}
        self._ids = {person_key(name): person for person, name in self.people().items()}
        self._had = {
            person_key(entry.detail): entry.person
            for at, entry in enumerate(self._of_people)
            if entry.action == Action.NAME
            and (latest := named_at.get(entry.person)) is not None
            and self.holds(entry.id) == (at <= latest)
        }


def digest_of(entries: Iterable[str]) -> str:
    """Return the sha256 of ids of entries, in their order."""
    return sha256(" ".join(entries).encode()).hexdigest()


def _last(into: Mapping[str, str], person: str) -> str:
    while (following := into.get(person)) is not None:
        person = following
    return person
