"""Comparison of two runs or versions, for `./graft compare`. Imports no TensorFlow."""
