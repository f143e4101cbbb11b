"""The summary of a run that begins: what it was asked for, and what it decides by."""

import secrets
from datetime import UTC, datetime
from pathlib import Path

from faceops.gallery.person_name import valid_unicode
from faceops.gallery.store import Gallery
from faceops.identification.settings import IdentifySettings
from faceops.identification.summary import Summary
from faceops.release.bundle import Bundle


def begun(
    photos_dir: Path,
    gallery: Gallery,
    bundle: Bundle,
    settings: IdentifySettings,
) -> Summary:
    """Return the summary of a run that begins now, with an id of its own and no counts yet."""
    thresholds, enrolled = bundle.release.thresholds, len(gallery.faces)
    budget = settings.budget or thresholds.default_budget
    started = datetime.now(UTC)
    return Summary(
        run_id=f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        photos_folder=valid_unicode(str(photos_dir.resolve())),
        started=started.isoformat(timespec="seconds"),
        release=bundle.name,
        release_note=bundle.note,
        contract_id=bundle.release.contract_id,
        budget=budget,
        threshold=thresholds.for_search(budget, enrolled) if enrolled else None,
        threshold_measured=bool(enrolled) and thresholds.search_is_measured(budget, enrolled),
        runner_up_margin=thresholds.runner_up_margin,
        gallery_people=len(gallery.people),
        gallery_faces=enrolled,
        detail=settings.detail,
        annotate=settings.annotate,
        xmp=settings.xmp,
        keep_crops=settings.keep_crops,
        keep_runs=settings.keep_runs,
        checked=started.isoformat(timespec="seconds"),
    )
