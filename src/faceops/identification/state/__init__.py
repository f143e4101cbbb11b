"""The state of an output folder: faces found by earlier runs."""
