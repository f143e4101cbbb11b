"""Take back that faces were forgotten, so that a person who is enrolled again is named again."""

import json
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.base.locks import folder_lock
from faceops.gallery.folder import has_content, output_folders
from faceops.gallery.store import Gallery
from faceops.identification.records.output_folder import STATE_FILE, SUMMARY_FILE
from faceops.identification.state.forgotten_places import remove_mark
from faceops.identification.state.schema import open_state


def readmit(gallery_dir: Path, mark: str, more: tuple[Path, ...] = ()) -> dict[Path, int]:
    """Give back the faces of the forgetting with this mark; return how many by output folder.

    Their photos are opened anew by the next run into each.

    Raises:
        UsageError: there is no gallery.
        FaceOpsError: no output has the mark; an output is in use, damaged or cannot be written.
    """
    Gallery.open(gallery_dir)
    places = dict.fromkeys(
        [*output_folders(gallery_dir).folders, *(path.resolve() for path in more)]
    )
    lifted = {}
    for out in places:
        if has_content(out) and (out / STATE_FILE).is_file():
            with folder_lock(out):
                lifted[out] = _lift(out, mark)
    if not any(lifted.values()):
        raise FaceOpsError(
            f"no output of the gallery {gallery_dir} has the mark {mark}; people forget printed it."
        )
    return {out: count for out, count in lifted.items() if count}


def _lift(out: Path, mark: str) -> int:
    path = out / STATE_FILE
    try:
        with open_state(path) as db:
            count = remove_mark(db, mark)
            if count:
                _let_the_next_run_decide(out)
    except (OSError, ValueError) as error:
        raise FaceOpsError(f"{out} cannot be changed ({error}); mend that.") from None
    return count


def _let_the_next_run_decide(out: Path) -> None:
    path = out / SUMMARY_FILE
    if path.is_file():
        content = json.loads(path.read_text("utf-8"))
        content["decided_by"] = ""
        write_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
