"""`./graft check`, and the checks that a run makes before it reads an image."""
