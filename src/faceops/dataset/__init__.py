"""The data set: sources of labelled photos, their validation, and the split of the people."""
