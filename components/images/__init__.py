"""Image files: formats, headers, limits and decoding. Imports nothing from the other folders."""
