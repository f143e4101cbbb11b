"""Faces: detect, refine landmarks, align, crop, judge quality."""
