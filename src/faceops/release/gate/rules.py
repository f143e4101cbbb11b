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


def keeps_promise(
    budget: float, champion: float, challenger: float, low: float, high: float
) -> Rule:
    """The share of strangers named at its own threshold must not be shown to exceed its budget.

    That the budget is kept was shown when the thresholds were measured, on more people than are
    left here; so here it takes proof that it is broken. `low` and `high` are the ends of the
    interval of the challenger's share.
    """
    holds = low <= budget
    reason = (
        f"it promises to name at most {budget:g} of strangers and named {challenger:.4f} of them "
        f"(at least {low:.4f}): its thresholds do not hold on these people; calibrate it on more."
    )
    return Rule(
        "strangers named, at its own thresholds",
        f"not shown to exceed its budget of {budget:g} ({low:.4f} to {high:.4f})",
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


def groups_judged(stated: str, people: int) -> Rule:
    """Return the broken rule that no group of the CSV `stated` has `people` known people."""
    return Rule(
        "worst group's DIR",
        "a group to judge",
        False,
        None,
        None,
        reason=f"no group of gate.slices = {stated} has {people} known people among these photos; "
        "give the gate more people, lower gate.min_slice_people, or empty gate.slices.",
    )


def still_offers_int8(champion: bool, challenger: bool) -> Rule:
    """Return the rule that int8 is offered where the champion offers it: somebody may run on it."""
    holds = challenger or not champion
    return Rule(
        "int8",
        "offered where the champion offers it",
        holds,
        float(champion),
        float(challenger),
        reason=""
        if holds
        else "the champion offers an int8 embedder and this release none: whoever runs with "
        "--precision int8 could not use it; see its build/quantise/quantise.json.",
    )


def enough_people(people: int, least: int) -> Rule:
    """Return the rule that there are `least` people whom neither has seen."""
    holds = people >= least
    reason = (
        f"{people} people are left whom neither release was made from, and gate.min_people is "
        f"{least}; give the gate photos of more."
    )
    return Rule("people", f"at least {least}", holds, None, None, reason="" if holds else reason)
