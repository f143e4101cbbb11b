"""The data set: where labelled photos come from, what is expected of them, who trains."""
