"""What the gate demands, and the sentence for each breach."""

from faceops.gate.paired_bootstrap import Difference
from faceops.gate.rules import (
    at_most,
    enough_people,
    keeps_promise,
    no_loss,
    people_known,
    still_offers_int8,
)


def test_a_gain_passes_and_so_does_a_loss_that_is_surely_small() -> None:
    assert no_loss("DIR", Difference(0.9, 0.95, 0.01, 0.09), 0.01, 50).passed
    assert no_loss("DIR", Difference(0.9, 0.899, -0.004, 0.002), 0.01, 50).passed


def test_a_loss_beyond_chance_is_called_that() -> None:
    rule = no_loss("DIR", Difference(0.9, 0.8, -0.15, -0.05), 0.01, 50)
    assert not rule.passed
    assert "worse, and not by chance" in rule.reason


def test_too_few_people_to_rule_a_loss_out_is_no_pass() -> None:
    rule = no_loss("TAR", Difference(0.9, 0.9, -0.05, 0.05), 0.01, 8)
    assert not rule.passed
    assert "on 8 people a loss of more than 0.01 cannot be ruled out" in rule.reason


def test_a_broken_promise_is_told_with_its_budget() -> None:
    assert keeps_promise(0.01, 0.0, 0.02, 0.004, 0.03).passed
    rule = keeps_promise(0.01, 0.0, 0.05, 0.03, 0.07)
    assert "at most 0.01 of strangers and named 0.0500" in rule.reason


def test_slower_or_larger_than_allowed_is_refused() -> None:
    assert at_most("size", "MiB", 10, 14, 1.4, 1.5).passed
    assert "2.00 times, and 1.5 times are allowed" in at_most("size", "MiB", 10, 20, 2, 1.5).reason


def test_int8_must_not_be_lost() -> None:
    assert still_offers_int8(False, False).passed
    assert still_offers_int8(True, True).passed
    assert "--precision int8" in still_offers_int8(True, False).reason


def test_nothing_is_compared_where_it_is_not_known_who_was_trained_on() -> None:
    assert people_known([]).passed
    assert "no comparison can be fair" in people_known(["version 1 was made elsewhere"]).reason
    assert not enough_people(7, 20).passed
