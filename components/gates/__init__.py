"""Gates that end a run before the training: nothing new, unfit data, or drift."""
