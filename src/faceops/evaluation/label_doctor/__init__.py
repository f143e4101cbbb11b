"""Which labels of a set of photos are probably wrong, in order of suspicion."""
