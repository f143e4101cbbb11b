"""Classification heads: a softmax over people; thrown away after training."""
