"""Gates that end a run before the training: no new images, unfit data, or drift."""
