"""From aligned face to embedding: backbones, losses, samplers, miners, training."""
