"""The faces on the report's page: captions, groups, and which of them get a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from faceops.base.reasons import Reason
from faceops.identification.engine.decide import Decision
from faceops.identification.unknown.numbers import FaceKey

MIN_GUESS = 0.05  # probability below which the nearest person is mere chance


class Guess(NamedTuple):
    """A person that a face may show."""

    person: str
    probability: float


class ShownFace(NamedTuple):
    """A face; or a photo without faces, which has only `photo`.

    Attributes:
        photo: the path below the root, as text.
        rank: sort key, the largest first; a probability or a quality.
        key: finds its picture.
        named: whether it was given the name of its heading.
        guesses: persons that an unnamed face may show, the most probable first.
        remark: any other text.
    """

    photo: str
    rank: float = 0.0
    key: FaceKey | None = None
    named: bool = False
    guesses: tuple[Guess, ...] = ()
    remark: str = ""

    @property
    def caption(self) -> str:
        """The text under the picture, without the photo's path."""
        if self.named:
            return probability_text(self.rank)
        if not self.guesses:
            return self.remark
        names = " or ".join(guess.person for guess in self.guesses)
        tail = f", {self.remark}" if self.remark else ""
        return f"{names}? {probability_text(self.guesses[0].probability)}{tail}"


def probability_text(probability: float) -> str:
    """Return a probability with three digits; never as 1, since nothing is certain."""
    return ">.999" if probability >= 0.9995 else f"{probability:.3f}".removeprefix("0")


def shown_face(photo: str, key: FaceKey, decision: Decision, taken: set[str]) -> ShownFace:
    """Return a face by its decision; `taken` are the names given in its photo."""
    best, runner_up = decision.best, decision.runner_up
    if best is None:
        return ShownFace(photo, key=key, remark=str(decision.reason or "").replace("_", " "))
    if decision.person is not None:
        return ShownFace(photo, best.probability, key, named=True)
    guesses = tuple(Guess(one.person, one.probability) for one in (best, runner_up) if one)
    remark = ""
    if decision.reason is not Reason.AMBIGUOUS:
        guesses = guesses[:1] if best.probability >= MIN_GUESS else ()
        remark = "" if guesses else "nobody near"
    elif best.person in taken:
        guesses, remark = guesses[:1], "already in this photo"
    return ShownFace(photo, best.probability, key, guesses=guesses, remark=remark)


@dataclass
class Group:
    """Faces under one heading: all are counted, those in `faces` are listed.

    `front` are the indices in `faces` of those visible at once, the others are in a list that
    opens; `pictured` are the indices of all with a picture.
    """

    name: str = ""
    count: int = 0
    faces: list[ShownFace] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    pictured: list[int] = field(default_factory=list)

    def arrange(self, pictures: int, in_front: int) -> None:
        """Sort the faces and choose which get a picture.

        Named faces are listed with the least probable first, because these need a look, and the
        most probable are in front; other faces are listed by rank, and the first are in front.
        """
        self.faces.sort(key=lambda face: face.rank if face.named else -face.rank)
        indices = range(len(self.faces))
        if self.faces and self.faces[0].named:
            indices = indices[::-1]
        self.front = list(indices[: min(pictures, in_front)])
        rest = sorted(indices[len(self.front) :])
        self.pictured = [*self.front, *rest[: pictures - len(self.front)]]

    @property
    def hidden(self) -> int:
        """The number of faces that are not in front."""
        return self.count - len(self.front)


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
