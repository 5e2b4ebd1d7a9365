"""Embeddings of the images by the frozen base, computed once for all runs."""
