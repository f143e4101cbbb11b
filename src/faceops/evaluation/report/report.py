"""The evaluation report as one HTML page, and the sections it shares with the model card."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.evaluation.mistakes import MistakenPair
from faceops.evaluation.report import document as doc
from faceops.evaluation.report import identification_sections as identification
from faceops.evaluation.report import quality_sections as quality
from faceops.evaluation.report import verification_sections as verification

_COMMIT = "recorded in release.json when the bundle is assembled"


def use_section(facts: doc.Facts) -> doc.Section:
    """Return the intended and the excluded uses."""
    return doc.Section("use", "Intended use", [doc.Text(line) for line in facts.about.use])


def seen_section(facts: doc.Facts) -> doc.Section:
    """Return the data that the model was trained and calibrated on."""
    data = facts.figures.get("data")
    new = (
        "The people in the figures below were in neither training nor validation of this pipeline. "
        "A pretrained weight may have seen them."
        if data is None
        else f"{data['seen']['told'].rstrip('.')}."
    )
    return doc.Section(
        "seen", "Training and calibration data", [doc.Bullets([*facts.about.seen, new])]
    )


def licences_section(facts: doc.Facts) -> doc.Section:
    """Return the terms of every weight."""
    note = (
        "None of these licences covers the rights in the photos that a weight was trained on, or "
        "replaces the consent of the people who are enrolled."
    )
    return doc.Section("licences", "Licences", [doc.Bullets([*facts.about.licences, note])])


def lineage_section(facts: doc.Facts) -> doc.Section:
    """Return which model, code and data the figures belong to."""
    rows = [[name, value or _COMMIT] for name, value in facts.about.lineage]
    data = facts.figures.get("data")
    if data:
        left_out = ", ".join(f"{n:,} {why}" for why, n in data["without_face"].items())
        rows += [
            ["Evaluated on", f"{data['folder']}: {data['photos']:,} photos of "
             f"{data['people']:,} people, {data['faces']:,} faces"],
            ["Photos without a face", left_out or "none"],
            ["Overlap with its training data", data["seen"]["told"]],
        ]  # fmt: skip
    return doc.Section("lineage", "Lineage", [doc.Table(["item", "value"], rows)])


def card_sections(facts: doc.Facts) -> list[doc.Section]:
    """Return the sections of the model card (Mitchell et al. 2019) in order."""
    return [
        use_section(facts),
        seen_section(facts),
        doc.summary_section(facts),
        identification.budget_section(facts),
        verification.thresholds_section(facts),
        quality.robustness_section(facts),
        quality.groups_section(facts),
        quality.limits_section(facts),
        licences_section(facts),
    ]


def report_sections(facts: doc.Facts, pictured: bool) -> list[doc.Section]:
    """Return the sections of the report; `pictured`: pictures of pairs are available."""
    has_lfw = any(key in facts.figures for key in ("lfw_view1", "lfw_view2"))
    return [
        identification.budget_section(facts),
        doc.summary_section(facts),
        verification.thresholds_section(facts),
        verification.pairs_section(facts),
        verification.verifier_section(facts),
        identification.identification_section(facts),
        quality.robustness_section(facts),
        quality.groups_section(facts),
        *([verification.lfw_section(facts)] if has_lfw else []),
        quality.mistakes_section(facts, pictured),
        *([quality.map_section()] if pictured else []),
        quality.training_section(facts),
        use_section(facts),
        seen_section(facts),
        quality.limits_section(facts),
        licences_section(facts),
        lineage_section(facts),
    ]


TEMPLATE = "report.html.j2"
_KINDS = {
    doc.Text: "text",
    doc.Bullets: "bullets",
    doc.Table: "table",
    doc.Picture: "picture",
    doc.Pairs: "pairs",
}
_PHOTO_QUALITY = 82


def page(facts: doc.Facts, pairs: Sequence[MistakenPair], folder: Path) -> str:
    """Return the HTML page; pictures are read from `folder`, every name is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["kind"] = lambda part, kind: _KINDS[type(part)] == kind
    sections = [_with_pictures(section, folder) for section in report_sections(facts, bool(pairs))]
    text = environment.get_template(TEMPLATE).render(
        about=facts.about,
        what="release" if facts.thresholds else "embedder",
        figures=facts.figures,
        headline=identification.budget_sentence(facts),
        tiles=_tiles(facts),
        sections=sections,
        pairs=pairs,
        source=lambda file: picture_source(folder / file),
        photo=photo_source,
    )
    # File names may contain bytes that are not UTF-8.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def picture_source(path: Path) -> str:
    """Return the picture as a data URI; a large one is converted to JPEG."""
    if path.stat().st_size < 1 << 18:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return _jpeg(Image.open(path).convert("RGB"))


def photo_source(crop: np.ndarray | None) -> str | None:
    """Return a crop uint8 (H, W, 3) as a data URI of about 4 kB."""
    return None if crop is None else _jpeg(Image.fromarray(np.asarray(crop)))


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_PHOTO_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _with_pictures(section: doc.Section, folder: Path) -> doc.Section:
    def is_there(part: doc.Part) -> bool:
        return not isinstance(part, doc.Picture) or (folder / part.file).is_file()

    return replace(section, parts=[part for part in section.parts if is_there(part)])


def _tiles(facts: doc.Facts) -> list[tuple[str, str]]:
    """Return (name, value) of the figures at the top of the page."""
    figures = facts.figures
    tiles = []
    for name, protocol, key in (
        ("strangers named", "open_set", "fpir"),
        ("known people named correctly", "open_set", "dir"),
        ("TAR at FAR 0.001", "verification", "tar_at_far_0.001"),
        ("rank-1", "closed_set", "rank_1"),
        ("LFW View 1 accuracy", "lfw_view1", "accuracy"),
        ("LFW View 2 accuracy", "lfw_view2", "accuracy"),
    ):
        value = figures.get(protocol, {}).get(key)
        if value is not None:
            tiles.append((name, f"{value:.2%}"))
    return [*tiles, ("people", f"{figures['people']:,}"), ("photos", f"{figures['photos']:,}")]
