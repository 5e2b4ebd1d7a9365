"""What a process of ours has to do with its terminal, signals and ports."""
