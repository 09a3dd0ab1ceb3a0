"""How long a file of 170 MB takes to read, and how much memory, in every container.

    python benchmarks/large_weights.py

damaged_weights.py puts the lines into its page.
"""

from __future__ import annotations

import json
import pathlib
import pickle
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests" / "weights")]

import made_files as made  # noqa: E402  (found by the line above)

READ = """
import json, resource, sys, time
from minimask.weights import read_weights
from minimask.weights.readers import content, npz, pickles, safetensors, torch_zip
if sys.argv[2] == "hdf5":
    import h5py
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
before = peak()
start, cpu = time.perf_counter(), time.process_time()
arrays = read_weights(sys.argv[1])
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(json.dumps([seconds, cpu, peak() - before, len(arrays)]))
"""


def resnet50() -> dict[str, np.ndarray]:
    """Arrays of the number and sizes of a Mask R-CNN on ResNet-50, 176 MB."""
    rng = np.random.default_rng(0)
    shapes = [(1024, 12544), (1024, 1024), (91, 1024), (364, 1024), (64, 3, 7, 7)]
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for _ in range(blocks):
            shapes += [(width, 4 * width, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            shapes += [(width,)] * 8 + [(4 * width,)] * 4
    shapes += [(256, 256, 3, 3)] * 10 + [(256, 2048, 1, 1), (256, 1024, 1, 1)]
    return {
        f"layer{i}.weight": rng.standard_normal(shape, np.float32) for i, shape in enumerate(shapes)
    }


def write_all(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The same arrays in every container."""
    from safetensors.numpy import save_file

    arrays = resnet50()
    save_file(arrays, folder / "safetensors")
    with (folder / "npz").open("wb") as file:
        np.savez(file, **arrays)
    with (folder / "npz deflated").open("wb") as file:
        np.savez_compressed(file, **arrays)
    for protocol in (2, 4):
        with (folder / f"pickle {protocol}").open("wb") as file:
            pickle.dump({"model": arrays}, file, protocol)
    content, storages, counts = {}, {}, {}
    for i, (name, array) in enumerate(arrays.items()):
        strides = tuple(s // 4 for s in array.strides)
        stored = made.Storage("FloatStorage", str(i), array.size)
        content[name] = made.tensor(stored, array.shape, strides)
        storages[str(i)] = memoryview(array).cast("B")
        counts[str(i)] = (array.size, array.tobytes())
    made.write_zip(folder / "torch zip", content, storages)
    made.write_legacy(folder / "torch old", content, counts)
    try:
        made.keras(folder / "hdf5", {f"{n.replace('.', '_')}/k:0": a for n, a in arrays.items()})
    except ModuleNotFoundError:
        pass
    return {path.name: path for path in sorted(folder.iterdir())}


def measured() -> list[str]:
    """A line of the table for every container."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in write_all(pathlib.Path(folder)).items():
            words = [sys.executable, "-c", READ, str(path), kind]
            for _ in range(2):
                done = subprocess.run(words, capture_output=True, text=True, check=True)
            seconds, cpu, peak, _ = json.loads(done.stdout)
            size = path.stat().st_size
            times = f"{seconds:.2f} | {cpu:.2f}"
            lines.append(f"| {kind} | {size / 1e6:.0f} MB | {times} | {peak / size:.2f} |")
    return lines


if __name__ == "__main__":
    print("\n".join(measured()))
