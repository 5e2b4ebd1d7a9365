"""The training: the head, and then the last blocks of the base."""
