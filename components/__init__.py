"""The machine learning: one file a component, named after it."""
