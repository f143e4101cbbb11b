"""Faces: detect, refine landmarks, align, crop, measure quality."""
