"""Whom the faces of one photo are: the rule that names, or says why it does not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from faceops.base.reasons import Reason
from faceops.identification.candidates import Candidate
from faceops.identification.outcome import Outcome
from faceops.verification.log_odds import clipped_log_odds


@dataclass(frozen=True)
class Decision:
    """What was decided about one face.

    `best` is the most probable person and `runner_up` the next, as far as the face was compared;
    only when `outcome` is `identified` is `best` the person's name.
    """

    outcome: Outcome
    reason: Reason | None = None
    best: Candidate | None = None
    runner_up: Candidate | None = None

    @property
    def person(self) -> str | None:
        """The name, if one was given."""
        named = self.outcome is Outcome.IDENTIFIED and self.best is not None
        return self.best.person if named and self.best else None


def decide(
    candidates: Sequence[Sequence[Candidate]],
    refusals: Sequence[Reason | None],
    threshold: float,
    runner_up_margin: float,
    gallery_is_empty: bool = False,
) -> list[Decision]:
    """Return a decision for each face of one photo.

    A refused face is rejected. Else the best person is given when the probability reaches the
    threshold and leads the runner-up by the margin in log odds (in large galleries thresholds lie
    so near to 1 that differences of probabilities say little). Of two faces that would get one
    name, only the more probable gets it (of equal ones the earlier), the other is `ambiguous`.

    Args:
        candidates: for each face, the most probable person first.
        refusals: for each face, why it is not to be named at all, or None.
        threshold: smallest probability for a name.
        runner_up_margin: smallest lead over the runner-up, in log odds.
    """
    decisions = [
        _alone(found, refusal, threshold, runner_up_margin, gallery_is_empty)
        for found, refusal in zip(candidates, refusals, strict=True)
    ]
    holders: dict[str, int] = {}
    for index, decision in enumerate(decisions):
        if decision.person is None or decision.best is None:
            continue
        held = holders.get(decision.person)
        best = decisions[held].best if held is not None else None
        if best is None or decision.best.probability > best.probability:
            holders[decision.person] = index
    return [
        replace(decision, outcome=Outcome.UNKNOWN, reason=Reason.AMBIGUOUS)
        if decision.person is not None and holders[decision.person] != index
        else decision
        for index, decision in enumerate(decisions)
    ]


def _alone(
    found: Sequence[Candidate],
    refusal: Reason | None,
    threshold: float,
    margin: float,
    gallery_is_empty: bool,
) -> Decision:
    if refusal is not None:
        return Decision(Outcome.REJECTED, refusal)
    if gallery_is_empty or not found:
        return Decision(Outcome.UNKNOWN, Reason.GALLERY_EMPTY)
    best, runner_up = found[0], found[1] if len(found) > 1 else None
    if best.probability < threshold:
        return Decision(Outcome.UNKNOWN, Reason.BELOW_THRESHOLD, best, runner_up)
    if runner_up is not None and _lead(best, runner_up) < margin:
        return Decision(Outcome.UNKNOWN, Reason.AMBIGUOUS, best, runner_up)
    return Decision(Outcome.IDENTIFIED, None, best, runner_up)


def _lead(best: Candidate, runner_up: Candidate) -> float:
    return float(clipped_log_odds(best.probability) - clipped_log_odds(runner_up.probability))
