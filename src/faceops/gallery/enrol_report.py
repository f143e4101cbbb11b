"""What an enrolment did, for the user: counts, photos that were not enrolled and why."""

from dataclasses import dataclass, field

from faceops.base.reasons import Reason
from faceops.photos.photo_error import PhotoError

NOTES = {
    Reason.NO_FACE: "no face was found; give a photo that shows the face from the front",
    Reason.FACE_TOO_SMALL: "the face is too small; give a larger photo or a closer one",
    Reason.BLURRED: "the face is blurred; give a sharper photo",
    Reason.EXTREME_POSE: "the face is turned away; give a photo that shows it from the front",
    Reason.LOW_QUALITY: "the face is dark or has little contrast; give a better photo",
    Reason.DUPLICATE: "the same photo is enrolled for this person already",
}


@dataclass(frozen=True)
class Flag:
    """A photo that was not enrolled, and why; `note` says what to do about it."""

    photo: str
    person: str
    reason: Reason
    note: str


@dataclass(frozen=True)
class Moved:
    """A photo that lies in the folder of `person` now, whose face `before` had until now."""

    photo: str
    person: str
    before: str


@dataclass
class EnrolReport:
    """What an enrolment did; counts of photos, people by name.

    `spellings` are, by the name that is shown, the others under which a person was met; `aliases`,
    by the name of a folder, the person who once had that name and has the folder's photos now.
    """

    enrolled: int = 0
    unchanged: int = 0
    pruned: int = 0
    photos_opened: int = 0
    flags: list[Flag] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    people: dict[str, int] = field(default_factory=dict)  # faces a person, the whole gallery
    spellings: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    contract_id: str = ""
    release: str = ""


def note_of(error: PhotoError) -> str:
    """Return what the user is told about a file that cannot be used."""
    return f"the file {error.sentence.rstrip('.')}"
