"""Photos: open one safely, walk folders, hash content."""
