"""Container image of TensorFlow Serving: the version that the files in `serving/deploy/` and the documentation name."""

IMAGE = "tensorflow/serving:2.21.0"
