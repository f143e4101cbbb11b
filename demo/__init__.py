"""The demo: the main job on synthetic people."""
