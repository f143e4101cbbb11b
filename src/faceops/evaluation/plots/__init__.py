"""The pictures of an evaluation, one a file; the same numbers give the same bytes."""
