"""The one place that names a feature or a split."""

# Raw features, as ExampleGen writes them.
IMAGE = "image"  # bytes [1]: the encoded file, as found
LABEL = "label"  # bytes [1]: the class name
PATH = "path"  # bytes [1]: relative to the data folder, with "/"
DIGEST = "digest"  # bytes [1]: hex sha256 of the file
BRIGHTNESS = "brightness"  # float32 [1]: mean grey level over all pixels and channels, 0 to 255

# What the Embedder adds.
EMBEDDING_SIZE = 2048
EMBEDDING = "embedding"  # float32 [EMBEDDING_SIZE]: of the frozen base

# Transformed features, as the transform graph gives them.
PIXELS = "pixels"  # float32 [batch, image_size, image_size, 3]: ready for ResNet50
LABEL_INDEX = "label_index"  # int64 [batch, 1]: position in the class list

TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")
