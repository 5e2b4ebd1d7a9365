"""What ends a run before the training: nothing new, data that is unfit, or drift."""
