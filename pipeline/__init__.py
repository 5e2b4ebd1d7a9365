"""The configuration, the chain of components, the local runner and the command line."""
