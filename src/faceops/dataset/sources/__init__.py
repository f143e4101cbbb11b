"""Where labelled photos come from: a file a source, each lists (person, photo)."""
