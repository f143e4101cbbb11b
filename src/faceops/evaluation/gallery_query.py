"""Gallery against queries of known and unknown people: what happens to a face that is searched.

Of known people's photos, how many get the right name (identification rate) and how many any name
(TPR); of unknown people's, how many get one (FPR): all at the release's threshold, on the
galleries of the open-set protocol. `OpenSet.curve` has the same rates at every threshold.
"""

from typing import Any

from faceops.evaluation.bootstrap import share_interval
from faceops.evaluation.open_set import OpenSet


def gallery_query_figures(result: OpenSet, seed: int) -> dict[str, Any]:
    """Return the rates with intervals over people.

    `accuracy` is the mean of two rates, right names among known and no name among unknown, so
    that it does not depend on how many of each there are. Without a release's thresholds only
    the area under TPR against FPR is there.
    """
    figures: dict[str, Any] = {
        "detection_auc": result.detection_auc,
        "known_queries": int(result.known.sum()),
        "unknown_queries": int((~result.known).sum()),
    }
    if result.threshold is None:
        return figures
    for name, outcome, asked in (
        ("identification_rate", result.identified, result.known),
        ("true_positive_rate", result.named, result.known),
        ("false_positive_rate", result.named, ~result.known),
    ):
        figures[name] = float(outcome[asked].mean())
        figures[f"{name}_interval"] = share_interval(outcome[asked], result.person[asked], seed)
    figures["accuracy"] = (figures["identification_rate"] + 1 - figures["false_positive_rate"]) / 2
    return figures
