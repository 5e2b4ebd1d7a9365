"""Runs of a workspace: found by name, and listed. Imports no TensorFlow."""
