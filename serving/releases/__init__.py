"""Releases: versions in a serving folder, their labels and their records."""
