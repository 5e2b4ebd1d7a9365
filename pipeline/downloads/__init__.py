"""Downloads: weights of the base and sample data."""
