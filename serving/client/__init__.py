"""Clients: prediction by a model server, or by a SavedModel on this machine."""
