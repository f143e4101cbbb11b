"""What a model is for, what it has seen, its licences, and where it comes from."""

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Bullets, Section, Table, Text

_COMMIT = "release.json has it once the bundle is put together"


def use_section(facts: Facts) -> Section:
    """What it is for, and what not."""
    return Section("use", "What it is for", [Text(line) for line in facts.about.use])


def seen_section(facts: Facts) -> Section:
    """The data it was trained and calibrated on, and whether the people of the figures are new."""
    data = facts.figures.get("data")
    new = (
        "Nobody in the figures below was in training or validation of this pipeline. Whether an "
        "outside weight has seen them cannot be ruled out."
        if data is None
        else f"{data['seen']['told'].rstrip('.')}."
    )
    return Section("seen", "What it has seen", [Bullets([*facts.about.seen, new])])


def licences_section(facts: Facts) -> Section:
    """The terms of every weight."""
    note = (
        "None of these licences clears the rights in the photos that a weight was trained on, nor "
        "replaces the consent of the people who are enrolled."
    )
    return Section("licences", "Licences", [Bullets([*facts.about.licences, note])])


def lineage_section(facts: Facts) -> Section:
    """Which model, code and data the figures belong to."""
    rows = [[name, value or _COMMIT] for name, value in facts.about.lineage]
    data = facts.figures.get("data")
    if data:
        left_out = ", ".join(f"{n:,} {why}" for why, n in data["without_face"].items())
        rows += [
            ["Evaluated on", f"{data['folder']}: {data['photos']:,} photos of "
             f"{data['people']:,} people, {data['faces']:,} faces"],
            ["Photos without a face", left_out or "none"],
            ["Whom it has seen of them", data["seen"]["told"]],
        ]  # fmt: skip
    return Section("lineage", "Lineage", [Table(["what", "which"], rows)])
