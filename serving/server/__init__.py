"""Built-in model server: the API of TensorFlow Serving on one machine, for any SavedModel."""
