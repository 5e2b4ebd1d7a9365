"""The configuration, the chain of components, the local runner and the command line."""

CONFIG_FILE = "graft.toml"  # what `init` writes and `run` reads where one stands
