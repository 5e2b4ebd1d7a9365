"""The contract of the data: feature names, `schema.pbtxt`, and the errors a user can act on."""
