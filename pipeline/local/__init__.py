"""A run on this machine: its events, its log and what it prints in the end."""
