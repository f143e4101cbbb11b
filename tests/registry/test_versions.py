"""What a version's page says: beside the champion, and the gate's verdict in its place."""

from faceops.registry.versions import Version, VersionDetails, describe, with_verdict

METRICS = {"evaluate.verification.accuracy": 0.98, "evaluate.people": 40.0}
CHAMPION = VersionDetails(
    Version(7, ("champion",), "run", "old", "", "", ""),
    tags={"data": "d", "contract_id": "old"},
    description="",
    params={"train.seed": "1", "train.flip": "False"},
    metrics={"evaluate.verification.accuracy": 0.97},
)


def test_beside_the_champion_stand_the_figures_and_what_was_changed() -> None:
    params = {"train.seed": "2", "train.flip": "False"}
    text = describe(METRICS, params, {"data": "d", "contract_id": "new"}, CHAMPION)
    assert text.splitlines()[0] == "accuracy 0.9800"
    assert "| accuracy | 0.9800 | 0.9700 |" in text
    assert "| train.seed | `2` | `1` |" in text
    assert "train.flip" not in text
    assert "| photos | as the champion's | |" in text
    assert "| contract id | others | |" in text


def test_the_first_release_has_nobody_beside_it() -> None:
    text = describe(METRICS, {}, {"data": "d"}, None)
    assert "champion" not in text
    assert "## Gate" not in text


def test_a_verdict_takes_the_place_of_the_one_before_and_leaves_the_rest() -> None:
    before = describe(METRICS, {}, {"data": "d"}, CHAMPION)
    once = with_verdict(before, "**Refused**: too slow\n")
    again = with_verdict(once, "**Passed**: by \\1 and 2\n")
    assert "too slow" in once
    assert "too slow" not in again
    assert again.count("## Gate") == 1
    assert again == before.replace(
        "Not measured yet: `faceops release gate` compares it with the champion.",
        "**Passed**: by \\1 and 2",
    )
    assert with_verdict("headline\n\nmore", "v") == "headline\n\n## Gate\n\nv\n\nmore"
