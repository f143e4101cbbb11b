"""Bring the sidecars of photos up to date while they are named."""

from collections.abc import Iterator

from faceops.base.errors import FaceOpsError
from faceops.identification.engine import NamedPhoto
from faceops.identification.sidecar_place import Sidecars
from faceops.identification.summary import Summary
from faceops.identification.xmp_sidecar import NamedRegion, write_sidecar


def with_sidecars(photos: Iterator[NamedPhoto], summary: Summary) -> Iterator[NamedPhoto]:
    """Write each photo's sidecar and pass the photo on; `summary` counts and keeps what failed."""
    sidecars = Sidecars()
    for named in photos:
        if named.photo.size != (0, 0):  # it could be opened
            regions = [
                NamedRegion(face.box, decision.person)
                for face, decision in zip(named.photo.faces, named.decisions, strict=True)
                if decision.person is not None
            ]
            try:
                summary.sidecars_written += write_sidecar(
                    sidecars.of(named.path), regions, named.photo.size, named.photo.orientation
                )
            except FaceOpsError as error:
                summary.sidecar_errors.append(str(error))
        yield named
