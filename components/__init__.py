"""Components of the TFX pipeline, one folder each, and the modules that several components share."""

import os

# Overrides ~/.keras/keras.json: only Keras on TensorFlow exports a SavedModel for TensorFlow Serving.
os.environ["KERAS_BACKEND"] = "tensorflow"
