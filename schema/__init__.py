"""Data contract: feature names and `schema.pbtxt`; and the errors that a user can act on."""
