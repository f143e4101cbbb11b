"""XMP sidecars with face regions and names."""
