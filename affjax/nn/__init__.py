"""Flax NNX layers: convolutions, affine convolution, normalisation, blocks."""
