"""Names of the features and splits."""

# Raw features, written by ExampleGen.
IMAGE = "image"  # bytes [1]: content of the image file
LABEL = "label"  # bytes [1]: class name
PATH = "path"  # bytes [1]: relative to the data folder, with "/"
DIGEST = "digest"  # bytes [1]: hex sha256 of the file
BRIGHTNESS = "brightness"  # float32 [1]: mean of the uint8 pixels over all channels, 0 to 255

# Feature that the Embedder adds.
EMBEDDING_SIZE = 2048
EMBEDDING = "embedding"  # float32 [EMBEDDING_SIZE]: output of the frozen base

# Transformed features, from the transform graph.
PIXELS = "pixels"  # float32 [batch, image_size, image_size, 3]: input of ResNet50
LABEL_INDEX = "label_index"  # int64 [batch, 1]: index in the class list

TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")
