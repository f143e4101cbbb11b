"""The decisions that the page sends: what each carries, what it does, and how it is said.

One class a decision; its address is /api/ and its name in `DECISIONS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from faceops.base.errors import UsageError, counted
from faceops.gallery.journal import Ignored
from faceops.review.album import Album

KEY = r"[0-9a-f]{64}\.[0-9]{1,6}"
SHA256 = r"[0-9a-f]{64}"
UNKNOWN = r"unknown-[0-9]{1,9}"

_MOST_FACES = 10_000
_Key = Annotated[str, StringConstraints(pattern=f"^{KEY}$")]
_Sha256 = Annotated[str, StringConstraints(pattern=f"^{SHA256}$")]
_Unknown = Annotated[str, StringConstraints(pattern=f"^{UNKNOWN}$")]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Pixels = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]


Choices = Mapping[str, Mapping[str, object]]
_ALL_THE_SAME: Choices = {"Do it all the same": {"trust": True}}
_ONE_OR_TWO: Choices = {"One person": {"same": "one"}, "Two people": {"same": "two"}}


@dataclass(frozen=True)
class Answer:
    batch: str  # with which it can be undone; "" if it cannot
    said: str  # what was decided, a short sentence
    asks: str = ""  # why nothing was done: a question
    # Its answers, each with what the decision then says besides
    choices: Choices = field(default_factory=lambda: _ALL_THE_SAME)
    person: str = ""  # the name of a person who was renamed or merged, in the gallery


class Decision(BaseModel):
    model_config = ConfigDict(extra="forbid")
    forgets: ClassVar[bool] = False  # the browser has to drop the pictures that it keeps

    def apply(self, album: Album) -> Answer:
        """Carry it out. Raises FaceOpsError: it cannot be done."""
        raise NotImplementedError


class _OfFaces(Decision):
    keys: Annotated[list[_Key], Field(min_length=1, max_length=_MOST_FACES)]

    @property
    def faces(self) -> str:
        return counted(len(self.keys), "face")


class Confirm(_OfFaces):
    """The faces are this person's, who is `listed` if the name was not typed."""

    person: _Name
    listed: bool = False
    trust: bool = False

    def apply(self, album: Album) -> Answer:
        if not self.trust and (question := album.doubt(self.keys, self.person)):
            return Answer("", "", question)
        batch = album.confirm(self.keys, self.person, self.listed)
        return Answer(batch, f"{self.faces} confirmed as {self.person}")


class Refuse(_OfFaces):
    """The faces are not this person's."""

    person: _Name

    def apply(self, album: Album) -> Answer:
        return Answer(album.refuse(self.keys, self.person), f"{self.faces}: not {self.person}")


class Ignore(_OfFaces):
    """Nobody is to be asked about the faces."""

    kind: Ignored

    def apply(self, album: Album) -> Answer:
        return Answer(album.ignore(self.keys, self.kind), f"{self.faces} ignored")


class Split(_OfFaces):
    def apply(self, album: Album) -> Answer:
        return Answer(album.split(self.keys), f"{self.faces} split off")


class Draw(Decision):
    """The box in a photo shows this person."""

    photo_id: _Sha256
    box: tuple[_Pixels, _Pixels, _Pixels, _Pixels]
    person: _Name

    def apply(self, album: Album) -> Answer:
        batch = album.draw(self.photo_id, self.box, self.person)
        return Answer(batch, f"{self.person} marked by hand")


class Undo(Decision):
    batch: Annotated[str, StringConstraints(min_length=1, max_length=64)]

    def apply(self, album: Album) -> Answer:
        return Answer(album.undo(self.batch), "The decision is undone")


class NameGroup(Decision):
    """All faces of an unknown person, of whom `faces` were shown, are this person's."""

    unknown: _Unknown
    person: _Name
    trust: bool = False
    faces: int | None = None

    def apply(self, album: Album) -> Answer:
        done = album.name_group(self.unknown, self.person, self.trust, self.faces)
        return Answer(done.batch, f"{self.unknown} is {self.person}", done.question)


class MergeGroups(Decision):
    """Two unknown people are one; `faces` of the first were shown."""

    one: _Unknown
    other: _Unknown
    faces: int | None = None

    def apply(self, album: Album) -> Answer:
        batch = album.merge_groups(self.one, self.other, self.faces)
        return Answer(batch, f"{self.one} and {self.other} are one person")


class MergePeople(Decision):
    """Two people are one, the second."""

    gone: _Name
    kept: _Name
    trust: bool = False

    def apply(self, album: Album) -> Answer:
        done = album.merge_people(self.gone, self.kept, self.trust)
        said = f"{self.gone} is {self.kept}"
        return Answer(done.batch, said, done.question, person=done.person)


class Rename(Decision):
    """A person has another name; who else has it is the `same` one person, or another of two."""

    old: _Name
    new: _Name
    same: Literal["one", "two", ""] = ""
    trust: bool = False

    def apply(self, album: Album) -> Answer:
        if self.same == "one":
            return MergePeople(gone=self.old, kept=self.new, trust=self.trust).apply(album)
        done = album.rename(self.old, self.new, self.same == "two")
        said = f"{self.old} is called {self.new}"
        return Answer(done.batch, said, done.question, _ONE_OR_TWO, done.person)


class ChoosePicture(Decision):
    person: _Name
    key: _Key

    def apply(self, album: Album) -> Answer:
        batch = album.choose_picture(self.person, self.key)
        return Answer(batch, f"{self.person} has another picture")


class Forget(Decision):
    """Everything about a person is removed."""

    forgets: ClassVar[bool] = True
    person: _Name
    typed: str = Field(max_length=200)

    def apply(self, album: Album) -> Answer:
        if self.typed.strip() != self.person:
            raise UsageError(f"Type the name as it stands there to forget {self.person}.")
        album.forget(self.person)
        return Answer("", f"{self.person} is forgotten")


class DropEnrolled(Decision):
    crop_id: _Sha256

    def apply(self, album: Album) -> Answer:
        return Answer(album.drop_enrolled(self.crop_id), "The enrolled face is dropped")


DECISIONS: dict[str, type[Decision]] = {
    "confirm": Confirm,
    "refuse": Refuse,
    "ignore": Ignore,
    "split": Split,
    "draw": Draw,
    "undo": Undo,
    "name_group": NameGroup,
    "merge_groups": MergeGroups,
    "merge_people": MergePeople,
    "rename": Rename,
    "choose_picture": ChoosePicture,
    "forget": Forget,
    "drop_enrolled": DropEnrolled,
}


def parse(name: str, body: bytes) -> Decision:
    """Return the decision `name` of a JSON body. Raises UsageError: it is not one."""
    try:
        return DECISIONS[name].model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise UsageError(f"{where} is wrong: {first['msg']}.") from None
