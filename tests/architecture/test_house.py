"""The code stays within the limits of `python -m tests.house`."""

import ast

from tests.house import code_lines, static_measures


def test_the_code_is_within_its_limits():
    assert [str(measure) for measure in static_measures() if measure.exceeded] == []


def test_docstrings_comments_and_blank_lines_are_no_code():
    text = '"""Module."""\n\n# comment\nimport os\n\nx = """a\nb"""\n'
    assert code_lines(text, ast.parse(text)) == {4, 6, 7}
