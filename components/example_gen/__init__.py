"""Data in: from a folder of images to examples, split and without duplicates."""
