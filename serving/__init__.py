"""Serving: signatures, pushed versions, prediction, model server. Imports TensorFlow, never TFX."""
