"""Stage validate: open every photo once and check the expectations."""

import shutil
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from faceops.base.errors import UsageError
from faceops.base.files import atomic_folder, write_json
from faceops.base.work import usable_cpus
from faceops.dataset import data_folder
from faceops.dataset.expectations import check_photos, stop_on_hard_failures
from faceops.dataset.validate import validate_photos
from faceops.photos.formats import PhotoLimits
from faceops.stages import DATA, INPUTS, MANIFEST, run_stage, stage_params

OUT, DOCS = Path("build/validate"), Path("build/data_docs")
PEOPLE_LISTS = tuple(
    DATA / "protocols/lfw" / name for name in ("peopleDevTrain.txt", "peopleDevTest.txt")
)


def main() -> None:
    """Read the photos below data/photos; write build/validate/ and build/data_docs/."""
    all_params = stage_params()
    params = all_params.validate_
    copy_inputs(all_params.evaluate.slices)
    limits = PhotoLimits(
        max_pixels=int(params.max_megapixels * 1e6),
        max_bytes=int(params.max_megabytes * 1e6),
        min_side=params.min_side,
    )
    processes = usable_cpus()
    rows = validate_photos(DATA, limits, params.formats, params.near_duplicate_bits, processes)
    results = check_photos(rows, params, DOCS)
    rejected = [row for row in rows if row["status"] == data_folder.REJECTED]
    reasons = Counter(row["reason"] for row in rejected)
    report = {
        "photos": len(rows),
        "accepted": len(rows) - len(rejected),
        "rejected": len(rejected),
        "people": len({row["person"] for row in rows if row["status"] == data_folder.ACCEPTED}),
        "reasons": dict(reasons),
        "formats": dict(Counter(row["format"] for row in rows if row["format"])),
        "expectations": {result.name: asdict(result) for result in results},
    }
    data_folder.write_manifest(data_folder.manifest_table(rows), MANIFEST)
    data_folder.write_quarantine_list(rejected, OUT / "quarantine.csv")
    write_json(OUT / "validation.json", report)
    details = f"{OUT / 'validation.json'} and the pages in {DOCS / 'validations'}"
    for warning in stop_on_hard_failures(results, details):
        print(warning, file=sys.stderr)
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    print(
        f"validate: {report['accepted']} photos of {report['people']} people accepted"
        + (f"; rejected: {counts}" if counts else "")
    )


def copy_inputs(slices: str) -> None:
    """Copy the small files of data/ that later stages read to build/validate/inputs.

    The stages depend on the copies: a new photo in data/album then reruns none of them.

    Raises UsageError: `slices` (evaluate.slices, "" for none) is not a file.
    """
    reviewed = (DATA / data_folder.REVIEWED_FILE, DATA / data_folder.HARD_NEGATIVES_FILE)
    files = [path for path in (*PEOPLE_LISTS, *reviewed) if path.is_file()]
    if slices:
        if not Path(slices).is_file():
            raise UsageError(f"evaluate.slices = {slices} does not exist; name a CSV file.")
        files.append(Path(slices))
    with atomic_folder(INPUTS) as folder:
        data_folder.write_sources(folder, data_folder.read_sources(DATA))
        for path in files:
            shutil.copyfile(path, folder / path.name)


if __name__ == "__main__":
    run_stage(main)
