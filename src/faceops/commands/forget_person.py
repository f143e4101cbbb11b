"""`faceops people forget` and `readmit`: what they print."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceops.identification.forget import Forgetting

# What removing does not reach.
NOT_COVERED = (
    "photos, and names in the names of files and folders: they are yours",
    "the folder that the person was enrolled from: enrolling it again brings the person back",
    "sidecars that were moved out of the photos' folders, and names that others wrote into them",
    "faces that never got the person's name: they are not known to be theirs",
    "copies of results that were made elsewhere, backups, and models trained on the photos",
)


def run_forget(args: argparse.Namespace) -> int:
    """Forget the person and print what was removed, what is left and what is not covered."""
    from faceops.identification.forget import forget_everywhere

    done = forget_everywhere(args.gallery, args.name, tuple(args.out), tuple(args.gone))
    if args.json:
        print(json.dumps(_as_json(done), ensure_ascii=False))
        return 0 if done.complete else 1
    print(
        f"{done.person}: {done.gallery_faces} faces with crops and embeddings removed from "
        f"{args.gallery}"
    )
    for output in done.outputs:
        print(
            f"{output.folder}: {output.rows} rows blanked, {output.cached_faces} cached faces, "
            f"{output.reports} reports and {output.pictures} drawn photos removed"
        )
    if done.sidecars.files:
        print(
            f"{done.sidecars.entries} entries removed from the {done.sidecars.files} sidecars "
            "beside the photos"
        )
    proof = done.proof
    print(
        f"searched {proof.files} files ({proof.megabytes:g} MB) for the name and for "
        f"{proof.secrets} embeddings and pictures: "
        + (f"found in {len(proof.found)} places" if proof.found else "nothing is left")
    )
    for place in proof.found:
        print(f"  still there: {place}")
    if any(output.cached_faces for output in done.outputs):
        print(
            "these faces stay without a name, even if the person is enrolled again; to take that "
            f"back: faceops people readmit {done.mark}"
        )
    for folder in done.unreachable:
        print(
            f"  not there now: {folder}; forget the person again when it is back, or state that it "
            "is gone for good: --gone DIR"
        )
    print("not covered:")
    for place in NOT_COVERED:
        print(f"  - {place}")
    return 0 if done.complete else 1


def run_readmit(args: argparse.Namespace) -> int:
    """Give the faces of one forgetting back and print how many."""
    from faceops.identification.readmit import readmit

    lifted = readmit(args.gallery, args.mark, tuple(args.out))
    if args.json:
        print(json.dumps({str(out): count for out, count in lifted.items()}))
        return 0
    for out, count in lifted.items():
        print(f"{out}: {count} faces given back; the next identify opens their photos again")
    return 0


def _as_json(done: "Forgetting") -> dict[str, object]:
    return {
        "person": done.person,
        "faces_removed": done.gallery_faces,
        "outputs": [
            {
                "folder": str(output.folder),
                "rows": output.rows,
                "cached_faces": output.cached_faces,
                "reports": output.reports,
                "pictures": output.pictures,
            }
            for output in done.outputs
        ],
        "mark": done.mark,
        "sidecars": {"files": done.sidecars.files, "entries": done.sidecars.entries},
        "searched": asdict(done.proof),
        "unreachable": done.unreachable,
        "not_covered": NOT_COVERED,
    }
