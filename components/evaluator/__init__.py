"""Evaluates a candidate, by itself and beside the live version."""
