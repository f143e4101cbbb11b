"""Tests that share a costly fixture run in one worker, or it is made once in each."""

import pytest


def test_workers_keep_the_tests_of_a_file_together(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("only `--dist loadgroup` keeps groups")
    # The scheduler knows a group by what its plugin adds to the test's id.
    assert request.node.nodeid.endswith("test_shared_fixtures.py")
