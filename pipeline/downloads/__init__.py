"""What comes from the network before a run: weights and sample data."""
