"""Standard streams, signals and ports of a process."""
