"""What does a server cost beside a call in the same process?

The built-in server, and TensorFlow Serving where it is on PATH, in a process of their own, asked by 1, 8 and 32 clients
over gRPC and REST, with and without batching; beside them the loaded SavedModel, called on the same encoded images one
by one and in batches of 8. Then versions are swapped under load, and requests of a megabyte are sent; both watch the
memory. Ratios count: all of it shares the cores.

Run: .venv/bin/python -m benchmarks.serving --model DIR [--data PHOTOS] [--seconds 8]
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import requests
import tensorflow as tf

from serving.client.client import Client, connect
from serving.client.launch import ROOT, RunningServer, find_binary, start_server
from serving.export import signatures
from serving.releases import versions

CLIENTS = (1, 8, 32)
BATCH = 8
SWAPS = 50
LARGE_REQUESTS = 1000
FLAGS = {
    "no batching": [],
    "batching": [
        "--enable_batching=true",
        f"--batching_parameters_file={ROOT}/serving/deploy/batching.config",
    ],
}


def main() -> None:
    """Prints tables and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of versions, as serving/graft in a workspace")
    parser.add_argument("--data", help="folder of JPEGs; without it, noise")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each row")
    parser.add_argument("--only", choices=["load", "swaps", "large"])
    arguments = parser.parse_args()
    images = read_images(arguments.data)
    results = {}
    if arguments.only in (None, "load"):
        results["load"] = measure_load(arguments.model, images, arguments.seconds)
    if arguments.only in (None, "swaps"):
        results["swaps"] = measure_swaps(arguments.model, images)
    if arguments.only in (None, "large"):
        results["large"] = measure_large_requests(arguments.model)
    print(json.dumps(results))


def read_images(data: str | None) -> list[bytes]:
    """64 encoded images."""
    if data:
        return [path.read_bytes() for path in sorted(pathlib.Path(data).rglob("*.jpg"))[:64]]
    noise = np.random.default_rng(0).integers(0, 256, (64, 240, 320, 3), np.uint8)
    return [tf.io.encode_jpeg(image).numpy() for image in noise]


def measure_load(model: str, images: list[bytes], seconds: float) -> list[dict]:
    """Throughput and latency of each way to ask."""
    path = versions.find_live(model).path
    loaded = tf.saved_model.load(path)
    call = loaded.signatures[signatures.SERVING]
    rows = []
    print(f"{'':44}images/s  of batched  p50 ms  of a call   p95    p99")

    def show(name: str, images_a_second: float, latencies: list[float]) -> dict:
        p50, p95, p99 = (1e3 * float(np.percentile(latencies, q)) for q in (50, 95, 99))
        rows.append({"name": name, "images_s": images_a_second, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99})
        batched, single = rows[min(1, len(rows) - 1)]["images_s"], rows[0]["p50_ms"]
        of_batched, of_call = images_a_second / batched, p50 / single
        rows[-1] |= {"of_batched": of_batched, "of_call": of_call}
        print(f"{name:44}{images_a_second:8.1f}  {of_batched:10.3f}  {p50:6.1f}  {of_call:9.3f}  {p95:6.1f} {p99:6.1f}")
        return rows[-1]

    for name, size in (("in process, one by one", 1), (f"in process, batches of {BATCH}", BATCH)):
        show(name, *drive(1, size, seconds, images, lambda batch: call(image_bytes=tf.constant(batch))))
    for server_name, binary in (("built-in", None), ("TF Serving", find_binary())):
        if server_name != "built-in" and not binary:
            continue
        for batching, flags in FLAGS.items():
            with start_server("graft", model, binary, flags) as server:
                for protocol, client in make_clients(server).items():
                    for count in CLIENTS:
                        name = f"{server_name}, {protocol}, {batching}, {count} clients"
                        show(name, *drive(count, 1, seconds, images, client))
    return rows


def make_clients(server: RunningServer) -> dict[str, Callable[[list[bytes]], object]]:
    """A function for each protocol that asks for some images; safe for threads."""
    by_grpc = connect(f"grpc://{server.grpc_address}")
    local = threading.local()

    def ask_by_rest(batch: list[bytes]) -> object:
        if not hasattr(local, "client"):
            local.client = connect(server.rest_address)  # requests' sessions are for one thread
        return local.client.predict_on_batch(batch)

    return {"gRPC": by_grpc.predict_on_batch, "REST": ask_by_rest}


def drive(
    clients: int, size: int, seconds: float, images: list[bytes], ask: Callable[[list[bytes]], object]
) -> tuple[float, list[float]]:
    """Lets some threads ask one request after the other; images a second, and the latencies in seconds."""
    latencies: list[float] = []
    end = [0.0]
    begin = threading.Barrier(clients + 1)

    def work(offset: int) -> None:
        position = offset * 7
        for _ in range(2):
            ask([images[(position + i) % len(images)] for i in range(size)])
        begin.wait()
        while time.perf_counter() < end[0]:
            batch = [images[(position + i) % len(images)] for i in range(size)]
            start = time.perf_counter()
            ask(batch)
            latencies.append(time.perf_counter() - start)
            position += size

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(clients)]
    for thread in threads:
        thread.start()
    end[0] = float("inf")
    begin.wait()
    start = time.perf_counter()
    end[0] = start + seconds
    for thread in threads:
        thread.join()
    return len(latencies) * size / (time.perf_counter() - start), latencies


def measure_swaps(model: str, images: list[bytes]) -> dict:
    """Swaps versions under the load of 8 clients."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        base = pathlib.Path(folder, "graft")
        source = versions.find_live(model).path
        shutil.copytree(source, base / "1")
        server = stack.enter_context(start_server("graft", str(base), find_binary(), FLAGS["batching"]))
        failed: list[str] = []
        answered: dict[int, int] = {}
        with under_load(server, images, failed, answered):
            memory = [swap(server, source, base, number) for number in range(2, SWAPS + 2)]
    growth = memory[-1] / memory[4]
    print(
        f"{SWAPS} swaps under 8 clients: {sum(answered.values())} requests of {len(answered)} versions answered, ",
        end="",
    )
    print(f"{len(failed)} failed; memory {memory[4]:.0f} MB after swap 5, {memory[-1]:.0f} after {SWAPS}: {growth:.3f}")
    return {"requests": sum(answered.values()), "failed": failed[:5], "memory_mb": memory, "growth": growth}


def swap(server: RunningServer, source: str, base: pathlib.Path, number: int) -> float:
    """Puts the next version in, waits until it has taken over and the one before is gone; the memory in MB then."""
    shutil.copytree(source, base / ".staging", copy_function=os.link)
    (base / ".staging").rename(base / str(number))
    with connect(f"grpc://{server.grpc_address}") as client:
        while read_states(client, number) != ("AVAILABLE", "END"):
            time.sleep(0.1)
    shutil.rmtree(base / str(number - 1))
    time.sleep(1)
    return server.memory_bytes / 1e6


def read_states(client: Client, number: int) -> tuple[str | None, str | None]:
    """Of a version and of the one before it."""
    states = {int(row["version"]): row["state"] for row in client.status()}
    return states.get(number), states.get(number - 1)


@contextlib.contextmanager
def under_load(
    server: RunningServer, images: list[bytes], failed: list[str], answered: dict[int, int]
) -> Iterator[None]:
    """Lets 8 clients ask, and checks that an answer is that of one version."""
    stop = threading.Event()
    lock = threading.Lock()

    def work(offset: int) -> None:
        from tensorflow_serving.apis import predict_pb2

        with connect(f"grpc://{server.grpc_address}") as client:
            while not stop.is_set():
                request = predict_pb2.PredictRequest(model_spec=client._spec)
                request.inputs[signatures.IMAGE_BYTES].CopyFrom(tf.make_tensor_proto([images[offset]], tf.string))
                try:
                    number = client._prediction.Predict(request, timeout=60).model_spec.version.value
                    with lock:
                        answered[number] = answered.get(number, 0) + 1
                except Exception as error:
                    failed.append(str(error))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(8)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def measure_large_requests(model: str) -> dict:
    """Sends bodies of a megabyte: an image with a tail that decoders pass over."""
    image = read_images(None)[0]
    image += bytes(750_000 - len(image))
    with start_server("graft", model, find_binary()) as server:
        client = connect(server.rest_address)
        memory = []
        for number in range(LARGE_REQUESTS):
            client.predict_on_batch([image])
            if number % (LARGE_REQUESTS // 10) == LARGE_REQUESTS // 10 - 1:
                memory.append(server.memory_bytes / 1e6)
        requests.get(f"{server.rest_address}/v1/models/graft", timeout=10)
    growth = memory[-1] / statistics.median(memory[:3])
    shown = ", ".join(f"{value:.0f}" for value in memory)
    print(f"{LARGE_REQUESTS} REST requests of 1 MB: memory after each tenth {shown} MB: {growth:.3f}")
    return {"memory_mb": memory, "growth": growth}


if __name__ == "__main__":
    main()
