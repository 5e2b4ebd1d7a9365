"""How well a candidate does, by itself and beside the live version."""
