"""The workspace: layout, lock, database, manifests, pushed models and repair."""
