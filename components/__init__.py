"""The machine learning: one folder a component, named after it, and what they share."""

import os

# Whatever ~/.keras/keras.json says: a SavedModel for TensorFlow Serving comes from Keras on TensorFlow.
os.environ["KERAS_BACKEND"] = "tensorflow"
