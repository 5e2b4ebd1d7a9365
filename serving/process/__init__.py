"""Standard streams, signals, ports and cores of a process."""
