"""Remove a person from everything that FaceOps wrote, and prove it by searching for what went."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from faceops.errors import FaceOpsError
from faceops.gallery.folder_lock import folder_lock
from faceops.gallery.former_names import keys_of_person
from faceops.gallery.outputs import outputs_of
from faceops.gallery.person_name import person_key
from faceops.gallery.store import Gallery
from faceops.identification.forget_output import ForgottenOutput, forget_in_output
from faceops.identification.forget_rows import NamedFace
from faceops.identification.traces import Searched, search_traces


@dataclass
class Forgetting:
    """What was removed, and what a search for it still found (`proof.found` is to be empty).

    `unreachable` are output folders that could not be looked into: they may still hold the person.
    """

    person: str
    gallery_faces: int
    outputs: list[ForgottenOutput]
    proof: Searched
    unreachable: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is left in any place that was written to."""
        return not self.unreachable and not self.proof.found


def forget_everywhere(gallery_dir: Path, person: str, more: tuple[Path, ...] = ()) -> Forgetting:
    """Remove `person`, in any spelling, from the gallery and all outputs named from it.

    `person` is any name that they have or had: all of them go.

    The gallery goes last, and only when every output was cleaned: until then the call can be made
    again.

    Args:
        more: further output folders, such as those of an earlier version.

    Raises:
        UsageError: there is no gallery.
        FaceOpsError: nobody of that name in the gallery or its outputs; a folder is in use,
            damaged or cannot be written.
    """
    Gallery.open(gallery_dir)  # before the lock, which would make the folder
    with folder_lock(gallery_dir):
        gallery = Gallery.open(gallery_dir, crops=True)
        keys = keys_of_person(gallery.aliases, person)
        is_person = lambda name: person_key(name) in keys  # noqa: E731
        gone = [face for face in gallery.faces if is_person(face.person)]
        places = dict.fromkeys([*outputs_of(gallery_dir), *(path.resolve() for path in more)])
        there = [place for place in places if place.is_dir()]
        enrolled = [NamedFace(face.photo_id, face.photo, face.box) for face in gone]
        outputs = _forget_in_outputs(there, is_person, enrolled)
        if not gone and not any(output.touched for output in outputs):
            raise FaceOpsError(f"{person} is not in the gallery {gallery_dir}.")
        rest = gallery.without(lambda face: is_person(face.person)).with_aliases(
            {old: new for old, new in gallery.aliases.items() if old not in keys}
        )
        rest.save()
        secrets = [face.embedding.tobytes() for face in gone] + [face.crop for face in gone]
        for output in outputs:
            secrets += [part for one in output.removed for part in one.parts]
        proof = search_traces([gallery_dir, *there], is_person, secrets)
    return Forgetting(
        person=gone[0].person if gone else person,
        gallery_faces=len(gone),
        outputs=[output for output in outputs if output.touched],
        proof=proof,
        unreachable=[str(place) for place in places if not place.is_dir()],
    )


def _forget_in_outputs(
    places: Iterable[Path], is_person: Callable[[str], bool], enrolled: Iterable[NamedFace]
) -> list[ForgottenOutput]:
    """Clean every output that can be cleaned, before any error is raised."""
    done, errors = [], []
    for place in places:
        try:
            done.append(forget_in_output(place, is_person, enrolled))
        except FaceOpsError as error:
            errors.append(str(error))
    if errors:
        raise FaceOpsError("\n".join([*errors, "The gallery keeps the person until then."]))
    return done
