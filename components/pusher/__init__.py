"""The last step: a SavedModel becomes a version in the serving folder."""
