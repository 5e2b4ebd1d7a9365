"""The configuration: its keys, where they are read from, and their reference."""
