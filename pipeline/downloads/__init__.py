"""Downloads before a run: weights and sample data."""
