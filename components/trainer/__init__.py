"""Trainer: trains the head (phase 1), and then the last blocks of the base with the head (phase 2)."""
