"""Evaluator: evaluates a candidate on the test split and compares the candidate with the live version."""
