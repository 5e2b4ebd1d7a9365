"""Transfer learning as articles write it, in plain Keras: what `against_keras_script.py` measures Graft against.

`train` is the script: a folder of class folders in, a saved model out. `evaluate` prints the accuracy of that model.

Run: .venv/bin/python -m benchmarks.keras_script train photos/train cats.keras
     .venv/bin/python -m benchmarks.keras_script evaluate photos/test cats.keras
"""

import argparse
import json

import keras
from keras.applications.resnet50 import ResNet50, preprocess_input
from keras.layers import Dense
from keras.optimizers import Adam
from tensorflow.keras.preprocessing.image import DirectoryIterator, ImageDataGenerator


def read(folder: str, arguments: argparse.Namespace, shuffle: bool) -> DirectoryIterator:
    """Batches of images and label indices."""
    return ImageDataGenerator(preprocessing_function=preprocess_input).flow_from_directory(
        folder,
        target_size=(arguments.image_size, arguments.image_size),
        batch_size=arguments.batch_size,
        class_mode="sparse",
        shuffle=shuffle,
        seed=arguments.seed,
    )


def train(arguments: argparse.Namespace) -> None:
    """Trains the head, then everything, and saves the model."""
    keras.utils.set_random_seed(arguments.seed)
    images = read(arguments.folder, arguments, shuffle=True)
    shape = (arguments.image_size, arguments.image_size, 3)
    weights = None if arguments.weights == "random" else arguments.weights
    base = ResNet50(include_top=False, weights=weights, pooling="avg", input_shape=shape)
    base.trainable = False

    inputs = keras.Input(shape)
    # Inference mode also while fine-tuning, see https://keras.io/guides/transfer_learning
    outputs = base(inputs, training=False)
    for units in (1024, 1024, 1024, 512):
        outputs = Dense(units, activation="relu")(outputs)
    model = keras.Model(inputs, Dense(images.num_classes, activation="softmax")(outputs))

    compile_model(model, 1e-3, arguments)
    model.fit(images, epochs=arguments.epochs[0])

    base.trainable = True
    compile_model(model, 1e-5, arguments)
    model.fit(images, epochs=arguments.epochs[1])
    model.save(arguments.model)


def compile_model(model: keras.Model, learning_rate: float, arguments: argparse.Namespace) -> None:
    """Compiles for either phase."""
    jit_compile = "auto" if arguments.jit == "auto" else False
    model.compile(Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=jit_compile)


def evaluate(arguments: argparse.Namespace) -> None:
    """Prints the accuracy on a folder as JSON."""
    images = read(arguments.folder, arguments, shuffle=False)
    scores = keras.models.load_model(arguments.model).evaluate(images, verbose=0, return_dict=True)
    print(json.dumps({"images": images.samples, "accuracy": scores["accuracy"]}))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "evaluate"))
    parser.add_argument("folder", help="class folders")
    parser.add_argument("model", help="a file *.keras")
    parser.add_argument(
        "--weights", default="imagenet", help="imagenet, random, or a file for ResNet50 without its top"
    )
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, nargs=2, default=[5, 5], metavar=("HEAD", "FINE_TUNE"))
    parser.add_argument("--jit", choices=("auto", "off"), default="auto", help="XLA; auto is Keras' default")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(arguments) if arguments.command == "train" else evaluate(arguments)


if __name__ == "__main__":
    main()
