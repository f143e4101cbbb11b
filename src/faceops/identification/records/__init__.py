"""Identification records and the output folder of a run."""
