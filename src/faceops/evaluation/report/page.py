"""The report: one HTML page that needs no other file and no network."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.evaluation.mistake_sheets import Pair
from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.promise_section import promise_in_words
from faceops.evaluation.report.section import Bullets, Pairs, Picture, Section, Table, Text
from faceops.evaluation.report.sections import report_sections

TEMPLATE = "report.html.j2"
_KINDS = {Text: "text", Bullets: "bullets", Table: "table", Picture: "picture", Pairs: "pairs"}
_PHOTO_QUALITY = 82


def page(facts: Facts, pairs: Sequence[Pair], folder: Path) -> str:
    """Return the page; pictures are read from `folder`, and every name in it is escaped."""
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
    # Names from the outside world may hold what no encoding can.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def picture_source(path: Path) -> str:
    """Return the picture as a data URI; one of photos shrinks to a JPEG."""
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
    """Return the few figures at the top, with their names."""
    figures = facts.figures
    told = []
    for name, protocol, key in (
        ("strangers named", "open_set", "fpir"),
        ("known people named rightly", "open_set", "dir"),
        ("TAR at FAR 0.001", "verification", "tar_at_far_0.001"),
        ("rank-1", "closed_set", "rank_1"),
        ("LFW View 1 accuracy", "lfw_view1", "accuracy"),
        ("LFW View 2 accuracy", "lfw_view2", "accuracy"),
    ):
        value = figures.get(protocol, {}).get(key)
        if value is not None:
            told.append((name, f"{value:.2%}"))
    told += [("people", f"{figures['people']:,}"), ("photos", f"{figures['photos']:,}")]
    return told
