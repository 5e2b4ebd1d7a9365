"""How commands print, fall silent and end."""
