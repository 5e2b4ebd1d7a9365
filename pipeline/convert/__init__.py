"""`./graft convert`: images that TensorFlow cannot read become some that it can."""
