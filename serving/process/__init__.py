"""Terminal, signals and ports of a process."""
