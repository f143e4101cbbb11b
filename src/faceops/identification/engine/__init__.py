"""Extract faces from photos and decide who they are."""
