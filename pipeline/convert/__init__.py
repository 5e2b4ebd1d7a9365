"""`./graft convert`: converts images that TensorFlow cannot read."""
