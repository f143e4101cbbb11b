"""Name the people in folders of photos: the batch engine, its records and their writers."""
