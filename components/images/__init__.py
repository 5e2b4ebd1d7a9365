"""Files of images: what they are, whether they are sound, and their pixels. Knows nothing of the rest."""
