"""Which sections the report has and which the card; both are made by the same functions."""

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.groups_section import groups_section
from faceops.evaluation.report.identification_section import identification_section
from faceops.evaluation.report.lfw_section import lfw_section
from faceops.evaluation.report.limits_section import limits_section
from faceops.evaluation.report.mistakes_section import (
    map_section,
    mistakes_section,
    training_section,
)
from faceops.evaluation.report.pairs_section import pairs_section
from faceops.evaluation.report.promise_section import promise_section
from faceops.evaluation.report.robustness_section import robustness_section
from faceops.evaluation.report.section import Section
from faceops.evaluation.report.summary_section import summary_section
from faceops.evaluation.report.thresholds_section import thresholds_section
from faceops.evaluation.report.use_section import (
    licences_section,
    lineage_section,
    seen_section,
    use_section,
)
from faceops.evaluation.report.verifier_section import verifier_section


def card_sections(facts: Facts) -> list[Section]:
    """Return the sections of a model card (Mitchell et al. 2019), in its order."""
    makers = (
        *(use_section, seen_section, summary_section, promise_section, thresholds_section),
        *(robustness_section, groups_section, limits_section, licences_section),
    )
    return [make(facts) for make in makers]


def report_sections(facts: Facts, pictured: bool) -> list[Section]:
    """Return the sections of the report; `pictured` says whether pairs can be shown."""
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
