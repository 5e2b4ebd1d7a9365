"""Images as people see them: decoded by Pillow, and with heat maps over them."""
