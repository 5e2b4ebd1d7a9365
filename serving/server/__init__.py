"""The built-in model server: the API of TensorFlow Serving, for one machine. Knows nothing of images or of Graft."""
