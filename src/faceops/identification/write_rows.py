"""Write the rows of a run while its photos come in, and tell all who count them."""

from collections.abc import Iterator
from pathlib import Path

from faceops.gallery.person_name import valid_unicode
from faceops.identification.drift import DriftMeter
from faceops.identification.engine import NamedPhoto
from faceops.identification.part_clock import PartClock
from faceops.identification.record_writers import RecordWriters
from faceops.identification.records import records_of
from faceops.identification.report.report import Report
from faceops.identification.summary import Summary
from faceops.identification.unchanged import FolderDigest
from faceops.identification.unknown_people import UnknownFaces


def write_rows(
    photos: Iterator[NamedPhoto],
    root: Path,
    folder: Path,
    summary: Summary,
    clock: PartClock,
    unknown: UnknownFaces,
    meter: DriftMeter,
) -> tuple[Report, list[Path]]:
    """Write the rows of all photos into `folder` while they come in, and count them.

    Returns the report, which has seen all photos, and the paths at which no file could be read.
    """
    report, files, unread = Report(root), FolderDigest(summary.xmp), list[Path]()
    below = len(root.as_posix().rstrip("/")) + 1
    with RecordWriters(folder) as writers:
        for photo in photos:
            path = valid_unicode(photo.path.as_posix()[below:])
            rows = records_of(
                summary.run_id,
                path,
                photo.photo,
                photo.decisions,
                summary.release,
                summary.contract_id,
            )
            with clock.part("write"):
                writers.write(rows)
                summary.add(photo)
                report.add(path, photo)
                unknown.add(photo)
                meter.add(photo)
                files.add_named(photo)
            if photo.file is None:
                unread.append(photo.path)
        with clock.part("write"):
            writers.flush()
    summary.saw = files.hexdigest()
    return report, unread
