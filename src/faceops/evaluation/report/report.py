"""The evaluation report as one HTML page, and the sections it shares with the model card."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.evaluation.mistakes import MistakenPair
from faceops.evaluation.report.document import (
    Bullets,
    Facts,
    Pairs,
    Picture,
    Section,
    Table,
    Text,
    summary_section,
)
from faceops.evaluation.report.identification_sections import (
    identification_section,
    promise_in_words,
    promise_section,
)
from faceops.evaluation.report.quality_sections import (
    groups_section,
    limits_section,
    map_section,
    mistakes_section,
    robustness_section,
    training_section,
)
from faceops.evaluation.report.verification_sections import (
    lfw_section,
    pairs_section,
    thresholds_section,
    verifier_section,
)

_COMMIT = "recorded in release.json when the bundle is assembled"


def use_section(facts: Facts) -> Section:
    """Return what the model is for, and what not."""
    return Section("use", "Intended use", [Text(line) for line in facts.about.use])


def seen_section(facts: Facts) -> Section:
    """Return the data that the model was trained and calibrated on."""
    data = facts.figures.get("data")
    new = (
        "The people in the figures below were in neither training nor validation of this pipeline. "
        "A pretrained weight may have seen them."
        if data is None
        else f"{data['seen']['told'].rstrip('.')}."
    )
    return Section("seen", "Training and calibration data", [Bullets([*facts.about.seen, new])])


def licences_section(facts: Facts) -> Section:
    """Return the terms of every weight."""
    note = (
        "None of these licences covers the rights in the photos that a weight was trained on, or "
        "replaces the consent of the people who are enrolled."
    )
    return Section("licences", "Licences", [Bullets([*facts.about.licences, note])])


def lineage_section(facts: Facts) -> Section:
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
    return Section("lineage", "Lineage", [Table(["item", "value"], rows)])


def card_sections(facts: Facts) -> list[Section]:
    """Return the sections of the model card (Mitchell et al. 2019) in order."""
    makers = (
        *(use_section, seen_section, summary_section, promise_section, thresholds_section),
        *(robustness_section, groups_section, limits_section, licences_section),
    )
    return [make(facts) for make in makers]


def report_sections(facts: Facts, pictured: bool) -> list[Section]:
    """Return the sections of the report; `pictured`: pictures of pairs are available."""
    sections = [
        make(facts)
        for make in (
            *(promise_section, summary_section, thresholds_section, pairs_section),
            *(verifier_section, identification_section, robustness_section, groups_section),
        )
    ]
    if any(key in facts.figures for key in ("lfw_view1", "lfw_view2")):
        sections.append(lfw_section(facts))
    sections.append(mistakes_section(facts, pictured))
    if pictured:
        sections.append(map_section(facts))
    return sections + [
        make(facts)
        for make in (
            *(training_section, use_section, seen_section, limits_section),
            *(licences_section, lineage_section),
        )
    ]


TEMPLATE = "report.html.j2"
_KINDS = {Text: "text", Bullets: "bullets", Table: "table", Picture: "picture", Pairs: "pairs"}
_PHOTO_QUALITY = 82


def page(facts: Facts, pairs: Sequence[MistakenPair], folder: Path) -> str:
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
        promise=promise_in_words(facts),
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


def _with_pictures(section: Section, folder: Path) -> Section:
    parts = [
        part
        for part in section.parts
        if not isinstance(part, Picture) or (folder / part.file).is_file()
    ]
    return Section(section.key, section.title, parts)


def _tiles(facts: Facts) -> list[tuple[str, str]]:
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
