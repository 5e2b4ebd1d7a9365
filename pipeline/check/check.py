"""Reads a folder as a run would, and predicts the run's classes, splits, problems and disk. Writes nothing."""

import dataclasses
import math
import pathlib
import re

from components.example_gen import ingest, layout
from components.example_gen.duplicates import Record
from components.example_gen.lineage import read_salt
from components.example_gen.reading import read_images
from components.gates.data_checks import check_data, find_warnings
from components.records.ingest import IngestSummary
from components.records.quarantine import LeftOut
from components.transform.pixels import Augmentation
from pipeline.check.classes import resolve_classes
from pipeline.check.start import EarlyProblems, estimate_needed
from pipeline.config.config import Config
from pipeline.workspace.disk import measure_free_space
from pipeline.workspace.workspace import Workspace
from serving.releases import versions

_EMBEDDING_BYTES = 8 << 10  # 2048 float32
_BFLOAT16_BYTES = 2
_CHANNELS = {1: 64, 2: 256, 3: 512, 4: 1024, 5: 2048}  # channels of the output, by stage
_NARROW = 3  # ratio of the sides; squeezed to a square, such an image shows little


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of the kept images, in pixels.

    Attributes:
        smallest, median, largest: (width, height), ordered by area and then by width: the smallest and the largest are
            equal only if all are.
        enlarged: number of images with a side shorter than `image_size`.
        narrow: paths of images with one side more than three times as long as the other.
    """

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    enlarged: int
    narrow: list[str]


@dataclasses.dataclass(frozen=True)
class Disk:
    """Disk space in bytes: needed by a run, used by split features for phase 2 if there is room, and free."""

    needed: int
    split_features: int
    free: int


@dataclasses.dataclass(frozen=True)
class Findings:
    """Findings about a folder.

    Attributes:
        listing: files of the folder.
        read: number of files that were read; smaller than that of all files for a sample.
        report: counts of the read files, as ExampleGen would write them.
        left_out: read files that a run would leave out.
        sizes: sizes of the kept images; None if no image is kept.
        early: reasons why a run would stop before it reads an image.
        bad_images: reasons in the images why a run would stop; not looked for in a sample, or after other reasons in
            the data.
        warnings: warnings that a run would print.
        disk: disk space that a run needs.
        live: number of the live version, whose classes and salt a run takes over; or None.
    """

    listing: layout.Listing
    read: int
    report: IngestSummary
    left_out: list[LeftOut]
    sizes: Sizes | None
    early: EarlyProblems
    bad_images: list[str]
    warnings: list[str]
    disk: Disk
    live: int | None

    @property
    def is_sample(self) -> bool:
        """True if some files were not read."""
        return self.read < len(self.listing.files)

    @property
    def data_problems(self) -> list[str]:
        """Reasons in the data why a run would stop, with what to do."""
        return self.early.data + self.bad_images

    @property
    def problems(self) -> list[str]:
        """All reasons why a run would stop."""
        return self.data_problems + self.early.other


def inspect(config: Config, listing: layout.Listing, early: EarlyProblems, sample: int = 0) -> Findings:
    """Reads the images of a folder, as a run with this configuration would.

    Args:
        config: the user's configuration.
        listing: files of the configured window.
        early: problems of the listing and the workspace, from `find_early`.
        sample: the most files to read, spread over all; 0 to read all.
    """
    workspace = Workspace(pathlib.Path(config.out))
    live = versions.find_live(str(workspace.model_dir(config.model_name)))
    files = _spread(listing.files, sample)
    records = read_images(files, config.data, config.max_megapixels, len(files), orientation=config.orientation)
    decided = ingest.decide(listing, records, config.split_ratios, read_salt(live))
    report, left_out = ingest.summarize(decided), ingest.list_left_out(decided)
    whole = len(files) == len(listing.files)
    bad_images: list[str] = []
    if whole and not early.data:
        classes = resolve_classes(config, listing, live)
        bad_images = check_data(report, left_out, classes, config.max_bad_fraction, config.min_accuracy)
    return Findings(
        listing=listing,
        read=len(files),
        report=report,
        left_out=left_out,
        sizes=_measure(decided.kept, config.image_size),
        early=early,
        bad_images=bad_images,
        warnings=find_warnings(report, config.orientation) if whole else [],
        disk=_estimate_disk(listing, config, workspace),
        live=live.number if live else None,
    )


def _spread(files: tuple[layout.ImageFile, ...], most: int) -> tuple[layout.ImageFile, ...]:
    """Returns `most` files at equal distances by path, or all if there are fewer: each class keeps its share."""
    if not most or most >= len(files):
        return files
    return tuple(files[index * len(files) // most] for index in range(most))


def _measure(kept: list[Record], image_size: int) -> Sizes | None:
    if not kept:
        return None
    ordered = sorted(kept, key=lambda r: (r.width * r.height, r.width))
    smallest, median, largest = (
        (r.width, r.height) for r in (ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1])
    )
    narrow = [r.path for r in kept if max(r.width, r.height) > _NARROW * min(r.width, r.height)]
    enlarged = sum(min(r.width, r.height) < image_size for r in kept)
    return Sizes(smallest, median, largest, enlarged, narrow)


def _estimate_disk(listing: layout.Listing, config: Config, workspace: Workspace) -> Disk:
    images = len(listing.files)
    needed = estimate_needed(listing, workspace) + images * _EMBEDDING_BYTES
    return Disk(needed, images * _measure_split_features(config), measure_free_space(config.out))


def _measure_split_features(config: Config) -> int:
    """Returns the bytes of split features that a run keeps for each image, for phase 2 to start from."""
    if not config.fine_tune_epochs or config.trunk_gb == 0 or Augmentation(**config.augmentation.model_dump()).is_on:
        return 0
    shape = find_split_shape(config.fine_tune_from, config.image_size)
    return _BFLOAT16_BYTES * math.prod(shape) if shape else 0


def find_split_shape(fine_tune_from: str, image_size: int) -> tuple[int, ...]:
    """Returns the shape of the split features, [height, width, channels]; () if phase 2 trains all layers.

    Computes it from ResNet50's stages (He et al. 2015, table 1), because Keras takes seconds to import and to build.

    Args:
        fine_tune_from: first trained stage, block or layer, as in the configuration.
        image_size: side of the images in pixels.
    """
    found = re.match(r"conv([2-5])(?:_block(\d))?", fine_tune_from)
    if not found:
        return ()
    stage, block = int(found[1]), int(found[2] or 1)
    before = stage - (block == 1)  # stage of the block before; 1 is the pooling
    side = image_size
    for _ in range(max(2, before)):  # conv1 and pool1 halve the sides, and so do stages 3 to 5, rounding up
        side = -(-side // 2)
    return side, side, _CHANNELS[before]
