"""The configuration: keys, loading, and reference."""
