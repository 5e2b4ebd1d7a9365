"""The configuration, the chain of components, the local runner and the command line."""

CONFIG_FILE = "graft.toml"  # `init` writes this file, and `run` reads it from the current folder
