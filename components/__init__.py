"""The machine learning: one file a component, named after it."""

import os

# Whatever ~/.keras/keras.json says: a SavedModel for TensorFlow Serving comes from Keras on TensorFlow.
os.environ["KERAS_BACKEND"] = "tensorflow"
