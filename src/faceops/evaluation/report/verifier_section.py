"""Is the probability right, and why this verifier and this calibration?"""

from typing import Any

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Part, Picture, Section, Table, Text, absent
from faceops.evaluation.shown import shown_interval, shown_share

TITLE = "The probability"


def verifier_section(facts: Facts) -> Section:
    """Calibration on test people; the choices of the verify stage, on validation people."""
    if facts.thresholds is None:
        why = "Nothing was calibrated: a score of this model is no probability."
        return absent("probability", TITLE, why)
    error = facts.figures.get("verification", {}).get("calibration_error")
    parts: list[Part] = [
        Text("The protocol that was run holds no probability against truth.", "absent")
    ]
    if error is not None:
        told = (
            f"Expected calibration error {shown_share(error)}: by so much a stated probability is "
            "off on average, over all pairs of test people. Pairs of one person weigh as much as "
            "pairs of two, and among them every person as much as another. "
            "Nearly all pairs lie near 0 or 1, so the mean says little of what lies between: look "
            "at the picture."
        )
        parts = [Text(told), Picture("calibration.png", "Stated probability against what was so")]
    if facts.verify is None:
        why = "How the verifier was chosen is told in the report of the pipeline's own evaluation."
        parts.append(Text(why, "absent"))
    else:
        parts += _choices(facts.verify)
    return Section("probability", TITLE, parts)


def _choices(verify: dict[str, Any]) -> list[Part]:
    far, rates = verify["compared_at_far"], verify["tar"]
    kept = "the linear layer" if verify["kind"] == "linear" else "the plain distance"
    calibration = verify["calibration"]
    rows = [["linear layer", shown_share(rates["linear"]), ""],
            ["plain distance", shown_share(rates["distance"]), ""],
            ["gain of the layer", shown_share(verify["gain"]),
             shown_interval(verify["gain_interval"])]]  # fmt: skip
    parts: list[Part] = [
        Text(
            f"Kept: {kept}. The linear layer on squared differences is kept only where it beats "
            f"the plain distance on the {verify['people']:,} validation people, the same people "
            "resampled for both."
        ),
        Table(["verifier", f"TAR at FAR {far:g}", "95 %"], rows, "On validation people"),
    ]
    worth = calibration["held_out"]
    if not worth:
        why = f"Calibrated by {calibration['method']}: too few people to hold any out for a choice."
        return [*parts, Text(why, "absent")]
    rows = [
        [name + (" (chosen)" if name == calibration["method"] else ""),
         shown_share(figures["log_loss"]), shown_share(figures["expected_error"])]
        for name, figures in sorted(worth.items(), key=lambda item: item[1]["log_loss"])
    ]  # fmt: skip
    caption = f"Held out: {calibration['folds_of_people']} folds of validation people"
    return [*parts, Table(["calibration", "log-loss, nats", "expected error"], rows, caption)]
