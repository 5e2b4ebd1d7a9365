"""Clients: ask a server by its API, or a SavedModel on this machine."""
