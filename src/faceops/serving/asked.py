"""What a request asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from faceops.base.errors import UsageError
from faceops.release.served_interface import ANSWERS, DEFAULTS

MOST_DETAIL = 20_000  # pixels


@dataclass(frozen=True)
class Asked:
    """The parameters of a request.

    Attributes:
        answer: one of `ANSWERS`.
        budget: share of strangers that may be given a name; None: the release's default.
        detail: see `FaceFinder`.
    """

    answer: str
    budget: float | None
    detail: int

    @classmethod
    def of(cls, params: Mapping[str, Any] | None) -> "Asked":
        """Return what `params` ask for; what they leave out is as `DEFAULTS` has it.

        Raises:
            UsageError: a value is wrong.
        """
        given = {**DEFAULTS, **(params or {})}
        answer, budget, detail = given["answer"], given["budget"], given["detail"]
        if answer not in ANSWERS:
            raise UsageError(f"the parameter answer is {answer!r}; ask for {_or(ANSWERS)}.")
        if budget != 0 and not 0 < budget < 1:
            raise UsageError(
                f"the parameter budget is {budget:g}; give a share of strangers between 0 and 1, "
                "or 0 for the release's default."
            )
        if not 0 <= detail <= MOST_DETAIL:
            raise UsageError(
                f"the parameter detail is {detail}; give pixels from 0 to {MOST_DETAIL}."
            )
        return cls(answer, float(budget) or None, int(detail))


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
