"""The model card of a release, written from its contract and its evaluation (Mitchell 2019)."""

from typing import Any

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.markdown import markdown
from faceops.evaluation.report.section import Section, Text
from faceops.evaluation.report.sections import card_sections
from faceops.release.about_model import about_release
from faceops.release.contract import Release
from faceops.weights.catalogue import Weight


def model_card(release: Release, figures: dict[str, Any], catalogue: dict[str, Weight]) -> str:
    """Return the card as Markdown.

    `figures` are those of `faceops.evaluation.evaluate`; `catalogue` states the terms of each
    outside weight. The same arguments give the same text.
    """
    facts = Facts(about_release(release, catalogue), figures, release.thresholds)
    contract = (
        f"Contract id {release.contract_id}. Whatever stores embeddings of this release pins it."
    )
    which = Section("which", "Which release", [Text(contract)])
    return markdown("Model card: FaceOps release", [which, *card_sections(facts)])
