"""What the frozen base makes of each image, once for all runs."""
