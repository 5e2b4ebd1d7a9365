"""A server is asked before a push: whether the candidate loads, answers and agrees."""
