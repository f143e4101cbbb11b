"""What stage quantise hands on: the int8 embedder and its section of release.json, or neither."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file, write_json
from faceops.release.contract import EMBEDDER_INT8, Int8, Release

OFFER_FILE = "int8.json"


class Offer(BaseModel):
    """The content of int8.json: `int8` is None where none is offered for release `made_from`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_from: str  # contract id of float32
    int8: Int8 | None


def write_offer(folder: Path, offer: Offer, embedder: bytes) -> None:
    """Write `folder`: int8.json and, where it is offered, the file `embedder`.

    Raises:
        FaceOpsError: it cannot be written.
    """
    (folder / EMBEDDER_INT8).unlink(missing_ok=True)
    if offer.int8 is not None:
        write_file(folder / offer.int8.file, embedder)
    write_json(folder / OFFER_FILE, offer.model_dump(mode="json"))


def with_int8(release: Release, folder: Path) -> Release:
    """Return `release` with the int8 that `folder` offers; as it is where there is no folder.

    Raises:
        FaceOpsError: the offer is damaged, or was made for another embedder.
    """
    path = folder / OFFER_FILE
    if not path.is_file():
        return release
    try:
        offer = Offer.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise FaceOpsError(f"{path} cannot be read ({reason}); run the quantise stage.") from None
    if offer.made_from != release.contract_id:
        raise FaceOpsError(
            f"{path} was made for contract {offer.made_from[:12]}, the release has "
            f"{release.contract_id[:12]}; run `dvc repro` to its end first."
        )
    return release.model_copy(update={"int8": offer.int8})
