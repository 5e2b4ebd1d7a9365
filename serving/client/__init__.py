"""Those who ask: of a server by its API, or of a SavedModel here."""
