"""Does peak memory grow with the bytes of the images? `graft run` on few and on many of 250 kB.

The peak is the most resident memory of the one process that Graft runs in.

Run: .venv/bin/python -m benchmarks.memory [--images 200 1000 4000]
"""

import argparse
import json
import pathlib
import tempfile

from benchmarks.graft_run import TO_THE_END, run_graft
from benchmarks.photographs_folder import write_noise

OPTIONS = "--weights random --image-size 64 --head-epochs 1 --fine-tune-epochs 1 --fine-tune-from conv5_block3"
SIZE = (640, 640)  # noise of this size compresses to some 250 kB


def measure_peak(count: int) -> dict[str, int]:
    """Runs the pipeline on that many images in a fresh workspace."""
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "data")
        write_noise(data, count, size=SIZE, grain=1)
        mean = sum(path.stat().st_size for path in data.rglob("*.jpg")) // count
        peak = run_graft(data, pathlib.Path(folder, "out"), *OPTIONS.split(), *TO_THE_END).peak_bytes
    return {"images": count, "mean_bytes": mean, "peak_bytes": peak}


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[200, 1000, 4000], help="how many, in rising order")
    rows = []
    for count in parser.parse_args().images:
        rows.append(row := measure_peak(count))
        size, peak = row["mean_bytes"] / 1000, row["peak_bytes"] / 1e6
        print(f"{count:6d} images of {size:.0f} kB: peak {peak:,.0f} MB", flush=True)
    ratio = round(rows[-1]["peak_bytes"] / rows[0]["peak_bytes"], 3)
    print(f"ratio of the last to the first {ratio}")
    print(json.dumps({"runs": rows, "ratio": ratio}))


if __name__ == "__main__":
    main()
