"""Stage validate: every photo opened once, held against the expectations."""

import sys
from collections import Counter
from pathlib import Path

from faceops.base.files import write_json
from faceops.base.parallel import usable_cpus
from faceops.config.params_file import read_params
from faceops.dataset.expectations import stop_on_hard_failures
from faceops.dataset.manifest import ACCEPTED, REJECTED, manifest_table, write_manifest
from faceops.dataset.quarantine import write_quarantine_list
from faceops.dataset.validate import check_photos, validate_photos
from faceops.photos.open_photo import PhotoLimits
from faceops.stages import run_stage

DATA, OUT, DOCS = Path("data"), Path("build/validate"), Path("reports/data_docs")


def main() -> None:
    """Read the photos below data/photos; write build/validate/ and reports/data_docs/."""
    params = read_params(Path("params.yaml")).validate_
    limits = PhotoLimits(
        max_pixels=int(params.max_megapixels * 1e6),
        max_bytes=int(params.max_megabytes * 1e6),
        min_side=params.min_side,
    )
    processes = usable_cpus()
    validated = validate_photos(DATA, limits, params.formats, params.near_duplicate_bits, processes)
    rows = validated.rows
    outcomes = check_photos(rows, params.min_photos, params.max_rejected_share, params.hard, DOCS)
    rejected = [row for row in rows if row["status"] == REJECTED]
    reasons = Counter(row["reason"] for row in rejected)
    report = {
        "photos": len(rows),
        "accepted": len(rows) - len(rejected),
        "rejected": len(rejected),
        "people": len({row["person"] for row in rows if row["status"] == ACCEPTED}),
        "reasons": dict(reasons),
        "formats": dict(Counter(name for name in validated.formats if name)),
        "expectations": {outcome.name: outcome.as_dict() for outcome in outcomes},
    }
    write_manifest(manifest_table(rows), OUT / "manifest.parquet")
    write_quarantine_list(rejected, OUT / "quarantine.csv")
    write_json(OUT / "validation.json", report)
    for warning in stop_on_hard_failures(outcomes, str(OUT / "validation.json")):
        print(warning, file=sys.stderr)
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    print(
        f"validate: {report['accepted']} photos of {report['people']} people accepted"
        + (f"; set aside: {told}" if told else "")
    )


if __name__ == "__main__":
    run_stage(main)
