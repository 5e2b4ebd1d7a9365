"""Does peak memory grow with the bytes of the images? `graft run` on few and on many of 250 kB.

Run: .venv/bin/python benchmarks/memory.py [--few 200] [--many 2000]
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
CLASSES = ("dark", "light")
SIDE = 640  # noise of this size compresses to some 250 kB
OPTIONS = "--weights random --image-size 64 --head-epochs 1 --fine-tune-epochs 1 --fine-tune-from conv5_block3"


def write_images(folder: pathlib.Path, count: int) -> float:
    """Writes photographs of noise, all different; returns their mean size in bytes."""
    random = np.random.default_rng(0)
    for index in range(count):
        label = CLASSES[index % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 128, (SIDE, SIDE, 3)) + 128 * (label == "light")
        Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{index}.jpg", quality=88)
    return sum(path.stat().st_size for path in folder.rglob("*.jpg")) / count


def peak_rss(folder: pathlib.Path, out: pathlib.Path) -> int:
    """Runs the pipeline in a fresh workspace; returns the peak resident memory of that process in bytes."""
    command = [sys.executable, str(ROOT), "run", "--data", str(folder), "--out", str(out), *OPTIONS.split()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"graft run failed with status {status}: see {out / 'graft.log'}")
    return usage.ru_maxrss * 1024


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--many", type=int, default=2000)
    arguments = parser.parse_args()
    result = {}
    for name in ("few", "many"):
        count = getattr(arguments, name)
        with tempfile.TemporaryDirectory() as folder:
            size = write_images(pathlib.Path(folder, "data"), count)
            peak = peak_rss(pathlib.Path(folder, "data"), pathlib.Path(folder, "out"))
        print(f"{count:6d} images of {size / 1000:.0f} kB: peak {peak / 1e6:,.0f} MB", flush=True)
        result[name] = {"images": count, "mean_bytes": round(size), "peak_bytes": peak}
    result["ratio"] = round(result["many"]["peak_bytes"] / result["few"]["peak_bytes"], 3)
    print(f"ratio {result['ratio']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
