"""The rules: what the challenger must show, each with the sentence that tells of its breach."""

from faceops.release.gate.paired_bootstrap import Difference
from faceops.release.gate.verdict import Rule


def no_loss(name: str, difference: Difference, tolerance: float, people: int) -> Rule:
    """Non-inferiority: the interval of the difference must leave no loss above `tolerance`.

    Not to have shown a loss is not enough: on few people nothing can be shown.
    """
    holds = difference.low >= -tolerance - 1e-9
    reason = ""
    if not holds:
        told = (
            f"{name}: {difference.challenger:.4f} against {difference.champion:.4f}, "
            f"{difference.gain:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
        )
        if difference.high < 0:
            reason = f"{told}; worse, and not by chance, and {tolerance:g} may be lost."
        elif difference.gain < -tolerance:
            reason = f"{told}; more than the {tolerance:g} that may be lost."
        else:
            reason = (
                f"{told}; on {people} people a loss of more than {tolerance:g} cannot be ruled "
                "out: give the gate more people, or allow more."
            )
    return Rule(
        name,
        f"no loss above {tolerance:g}",
        holds,
        difference.champion,
        difference.challenger,
        difference.gain,
        difference.low,
        difference.high,
        reason,
    )


def keeps_promise(budget: float, champion: float, challenger: float, low: float) -> Rule:
    """The share of strangers named at the release's own threshold must not lie above its budget.

    `low` is the lower end of the challenger's interval.
    """
    holds = low <= budget
    reason = (
        f"it promises to name at most {budget:g} of strangers and named {challenger:.4f} of them "
        f"(at least {low:.4f}): its thresholds do not hold on these people; calibrate it on more."
    )
    return Rule(
        "strangers named",
        f"within its own budget of {budget:g}",
        holds,
        champion,
        challenger,
        reason="" if holds else reason,
    )


def at_most(name: str, unit: str, champion: float, challenger: float, ratio: float,
            limit: float) -> Rule:  # fmt: skip
    """Return the rule that `ratio` (challenger over champion) stays below `limit`."""
    holds = ratio <= limit
    reason = (
        f"{name}: {challenger:.4g} {unit} against {champion:.4g}, {ratio:.2f} times, and "
        f"{limit:g} times are allowed."
    )
    return Rule(
        f"{name}, {unit}",
        f"at most {limit:g} times",
        holds,
        champion,
        challenger,
        challenger - champion,
        reason="" if holds else reason,
    )


def people_known(told: list[str]) -> Rule:
    """Return the rule that it is known of both whom they were made from; `told` says of whom not.

    Else a photo that one of them was trained on would speak for it.
    """
    return Rule(
        "unseen people",
        "known of both whom they were made from",
        not told,
        None,
        None,
        reason="; ".join(told) + (": no comparison can be fair." if told else ""),
    )


def enough_people(people: int, least: int) -> Rule:
    """Return the rule that there are `least` people whom neither has seen."""
    holds = people >= least
    reason = (
        f"{people} people are left whom neither release was made from, and gate.min_people is "
        f"{least}; give the gate photos of more."
    )
    return Rule("people", f"at least {least}", holds, None, None, reason="" if holds else reason)
