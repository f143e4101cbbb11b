"""What the page knows of a face, and the faces under one heading."""

from dataclasses import dataclass, field
from typing import NamedTuple

from faceops.base.reasons import Reason
from faceops.identification.decide import Decision
from faceops.identification.unknown_numbers import FaceKey

# Below it the nearest person is mere chance, and a guess would only mislead.
WORTH_A_GUESS = 0.05
ALREADY_THERE = "already in this photo"


class Guess(NamedTuple):
    """A person that a face may be."""

    person: str
    probability: float


class ShownFace(NamedTuple):
    """A face, or a photo without any: then there is only `photo`.

    Attributes:
        photo: the path below the root, as text.
        rank: faces are listed by it, the largest first; a probability or a quality.
        key: by which its picture is found.
        named: whether it has the name of its heading.
        guesses: whom an unnamed face is near to, the nearest first.
        remark: anything else there is to say.
    """

    photo: str
    rank: float = 0.0
    key: FaceKey | None = None
    named: bool = False
    guesses: tuple[Guess, ...] = ()
    remark: str = ""

    @property
    def caption(self) -> str:
        """What stands under the picture, without the photo's path."""
        if self.named:
            return probability_text(self.rank)
        if not self.guesses:
            return self.remark
        names = " or ".join(guess.person for guess in self.guesses)
        tail = f", {self.remark}" if self.remark else ""
        return f"{names}? {probability_text(self.guesses[0].probability)}{tail}"


def probability_text(probability: float) -> str:
    """Return a probability as shown: what is not certain is never shown as 1."""
    return ">.999" if probability >= 0.9995 else f"{probability:.3f}".removeprefix("0")


def shown_face(photo: str, key: FaceKey, decision: Decision, taken: set[str]) -> ShownFace:
    """Return a face as decided; `taken` are the names given in its photo."""
    best, other = decision.best, decision.runner_up
    if best is None:
        return ShownFace(photo, key=key, remark=str(decision.reason or "").replace("_", " "))
    near = [Guess(one.person, one.probability) for one in (best, other) if one is not None]
    if decision.person is not None:
        return ShownFace(photo, best.probability, key, named=True)
    if decision.reason is not Reason.AMBIGUOUS:
        near = [guess for guess in near[:1] if guess.probability >= WORTH_A_GUESS]
        return ShownFace(photo, best.probability, key, guesses=(*near,), remark=_far(near))
    if best.person in taken:
        return ShownFace(photo, best.probability, key, guesses=(near[0],), remark=ALREADY_THERE)
    return ShownFace(photo, best.probability, key, guesses=(*near,))


def _far(near: list[Guess]) -> str:
    return "" if near else "nobody near"


@dataclass
class Group:
    """Faces under one heading: all are counted, those in `faces` are listed.

    `front` are the places in `faces` of those that are seen at once, the others wait in a list
    that opens; `pictured` are the places of all with a picture.
    """

    name: str = ""
    count: int = 0
    faces: list[ShownFace] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    pictured: list[int] = field(default_factory=list)

    def arrange(self, pictures: int, in_front: int) -> None:
        """Order the faces and choose which get a picture.

        Named faces are listed with the least sure first, since these are to be looked at, and
        the surest stand in front; others are listed by rank, and the first stand in front.
        """
        self.faces.sort(key=lambda face: face.rank if face.named else -face.rank)
        places = range(len(self.faces))
        if self.faces and self.faces[0].named:
            places = places[::-1]
        self.front = list(places[: min(pictures, in_front)])
        rest = sorted(places[len(self.front) :])
        self.pictured = [*self.front, *rest[: pictures - len(self.front)]]

    @property
    def hidden(self) -> int:
        """How many are not in front."""
        return self.count - len(self.front)
