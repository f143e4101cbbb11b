"""Review: the web page on which people decide about faces, and the training data of that."""
