"""Embedder: runs images through the frozen base, once for all runs."""
