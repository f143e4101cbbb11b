"""The code stays within the limits of `python -m tests.house`."""

import pytest

from tests.house import Measure, code_lines, static_measures


@pytest.mark.parametrize("measure", static_measures(), ids=lambda measure: measure.name)
def test_the_code_is_within_its_limits(measure: Measure) -> None:
    assert measure.value <= measure.limit


def test_docstrings_comments_and_blank_lines_are_no_code() -> None:
    text = '"""Module."""\n\n# comment\nimport os\n\nx = """a\n\nb"""\n'
    assert code_lines(text) == {4, 6, 7, 8}
