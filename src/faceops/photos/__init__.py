"""Photos: open one safely, list those in a folder."""
