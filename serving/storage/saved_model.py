"""Names in the folder of a SavedModel. Imports no TensorFlow."""

import os

SAVED_MODEL = "saved_model.pb"
EXTRA_ASSETS = "assets.extra"  # TensorFlow Serving ignores unknown files in this folder
WARMUP_REQUESTS = os.path.join(EXTRA_ASSETS, "tf_serving_warmup_requests")  # name that TensorFlow Serving looks for
