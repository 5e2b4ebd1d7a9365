"""`./graft check`, and what a run decides in the same way before it reads an image."""
