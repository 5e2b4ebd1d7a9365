"""What is served: signatures, pushed versions, prediction. Imports TensorFlow, never TFX."""
