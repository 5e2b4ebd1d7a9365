"""Names of the weights of a base, in a module that does not import TensorFlow."""

RANDOM, IMAGENET = "random", "imagenet"
NOTOP_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"  # as in keras.applications.resnet
