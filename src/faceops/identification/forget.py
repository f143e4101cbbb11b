"""Remove a person from everything that FaceOps wrote, and prove it by searching for what went."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.locks import folder_lock
from faceops.gallery.former_names import keys_of_person
from faceops.gallery.outputs import Outputs, is_there, outputs_of, state_gone
from faceops.gallery.person_name import person_key, valid_unicode
from faceops.gallery.store import Gallery
from faceops.identification.forget_output import ForgottenOutput, forget_in_output
from faceops.identification.forget_rows import NamedFace
from faceops.identification.forget_sidecars import ForgottenSidecars, forget_sidecars
from faceops.identification.forgotten_places import new_mark
from faceops.identification.traces import Searched, search_traces


@dataclass
class Forgetting:
    """What was removed, and what a search for it still found (`proof.found` is to be empty).

    `mark` is that of the faces' places in the outputs, which stay (see `readmit`). `unreachable`
    are folders that could not be looked into: they may still hold the person.
    """

    person: str
    gallery_faces: int
    outputs: list[ForgottenOutput]
    sidecars: ForgottenSidecars
    proof: Searched
    mark: str
    unreachable: list[str] = field(default_factory=list)

    @property
    def touched(self) -> bool:
        """Whether the person was found anywhere."""
        return bool(self.gallery_faces or self.outputs or self.sidecars.entries)

    @property
    def complete(self) -> bool:
        """Whether nothing is left in any place that was written to."""
        return not self.unreachable and not self.proof.found


def forget_everywhere(
    gallery_dir: Path, person: str, more: tuple[Path, ...] = (), gone: tuple[Path, ...] = ()
) -> Forgetting:
    """Remove `person`, in any spelling, from the gallery and from all that was named from it.

    `person` is any name that they have or had: all of them go. The gallery goes last, and only
    when every output was cleaned: until then the call can be made again. No run can write into an
    output from before it is cleaned until the gallery is saved. While a folder or a sidecar cannot
    be read, the gallery keeps the earlier names, without any face: they are needed later.

    Args:
        more: further output folders, such as those of an earlier version.
        gone: folders of results or photos that are stated to be gone for good.

    Raises:
        UsageError: there is no gallery; a folder of `gone` is there.
        FaceOpsError: nobody of that name anywhere; a folder is in use, damaged or cannot be
            written.
    """
    Gallery.open(gallery_dir)  # before the lock, which would make the folder
    with folder_lock(gallery_dir), ExitStack() as locks:
        for folder in gone:
            state_gone(gallery_dir, folder)
        gallery = Gallery.open(gallery_dir, crops=True)
        keys = keys_of_person(gallery.aliases, person)
        is_person = lambda name: person_key(name) in keys  # noqa: E731
        faces = [face for face in gallery.faces if is_person(face.person)]
        enrolled = [NamedFace(face.photo_id, face.photo, face.box) for face in faces]
        known = outputs_of(gallery_dir)
        places = [*dict.fromkeys([*known.folders, *(path.resolve() for path in more)])]
        there = [place for place in places if is_there(place)]
        mark = new_mark()
        clean = lambda out: forget_in_output(out, is_person, enrolled, mark)  # noqa: E731
        outputs = _in_outputs(there, clean, locks)
        sidecars = forget_sidecars(_sidecar_folders(known, outputs), is_person)
        unreachable = [
            *(valid_unicode(str(place)) for place in places if place not in there),
            *sidecars.unreachable,
        ]
        rest = gallery.without(lambda face: is_person(face.person))
        if not unreachable and not sidecars.found:
            aliases = {old: new for old, new in gallery.aliases.items() if old not in keys}
            rest = rest.with_aliases(aliases)
        rest.save()
        late = [place for place in outputs_of(gallery_dir).folders if place not in places]
        try:
            outputs += _in_outputs(late, clean, locks)
        except FaceOpsError:
            gallery.save()  # they were named from the gallery of before
            raise
        secrets = [face.embedding.tobytes() for face in faces] + [face.crop for face in faces]
        secrets += [part for output in outputs for one in output.removed for part in one.parts]
        proof = search_traces([gallery_dir, *there, *late], is_person, secrets)
    proof.files += sidecars.files
    proof.found += sidecars.found
    done = Forgetting(
        person=faces[0].person if faces else person,
        gallery_faces=len(faces),
        outputs=[output for output in outputs if output.touched],
        sidecars=sidecars,
        proof=proof,
        mark=mark,
        unreachable=unreachable,
    )
    if done.complete and not done.touched and not gone:
        raise FaceOpsError(
            f"{person} is not in the gallery {gallery_dir}, nor in anything named from it."
        )
    return done


def _in_outputs(
    places: Iterable[Path], clean: Callable[[Path], ForgottenOutput], locks: ExitStack
) -> list[ForgottenOutput]:
    """Lock and clean every output that can be, before any error is raised."""
    done, errors = [], []
    for place in places:
        try:
            locks.enter_context(folder_lock(place))
            done.append(clean(place))
        except FaceOpsError as error:
            errors.append(str(error))
    if errors:
        raise FaceOpsError("\n".join([*errors, "The gallery keeps the person until then."]))
    return done


def _sidecar_folders(known: Outputs, outputs: Iterable[ForgottenOutput]) -> list[Path]:
    """Return the folders of photos with sidecars that are there, or are not stated to be gone."""
    gone = {valid_unicode(str(place)) for place in known.gone}
    stated = [place for output in outputs for place in output.sidecars_beside]
    places = dict.fromkeys([*known.sidecars, *stated])
    return [place for place in places if is_there(place) or valid_unicode(str(place)) not in gone]
