"""The loader: the same batches from any step with any number of threads, and clean ends."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

from minimask.data.loader import Loader, LoadError
from minimask.data.sample import Sample
from minimask.data.shapes import Shapes
from minimask.data.transforms import Compose, Flip, Photometric, RandomCrop
from minimask.tools.cli import sentence


class Numbered:
    """Ten images of one pixel whose id says which they are; counts what is read."""

    classes = ("thing",)
    category_ids = (1,)

    def __init__(self, count: int = 10, broken: int | None = None) -> None:
        self.count = count
        self.broken = broken
        self.reads = 0

    def __len__(self) -> int:
        return self.count

    def describe(self, index: int) -> str:
        return f"folder/{index}.png"

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        if index == self.broken:
            raise KeyError("no such thing")
        empty = np.zeros(0, np.int64)
        image = np.zeros((1, 1, 3), np.uint8)
        masks = np.zeros((0, 1, 1), bool)
        return Sample(image, np.zeros((0, 4), np.float32), empty, masks, image_id=index)


def ids(batches) -> list[list[int]]:
    return [[sample.image_id for sample in batch] for batch in batches]


def loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("minimask-loader")]


def wait_until(condition) -> bool:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_late_start_sees_what_the_whole_run_sees(threads):
    transform = Compose(Flip(), RandomCrop(50), Photometric())
    shapes = Shapes(7, 64, seed=1)
    with Loader(shapes, 3, transform, seed=5, total_steps=8, threads=0) as loader:
        whole = list(loader)
    with Loader(
        shapes, 3, transform, seed=5, start_step=3, total_steps=8, threads=threads
    ) as loader:
        late = list(loader)
    assert len(whole) == 8 and len(late) == 5
    for a, b in zip(whole[3:], late, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.image_id == y.image_id
            np.testing.assert_array_equal(x.image, y.image)
            np.testing.assert_array_equal(x.boxes, y.boxes)
            np.testing.assert_array_equal(x.masks, y.masks)
            assert x.image.flags.c_contiguous and x.masks.flags.c_contiguous


def test_every_epoch_shows_every_image_once_in_a_new_order():
    with Loader(Numbered(), 4, seed=2, total_steps=10) as loader:
        seen = [i for batch in ids(loader) for i in batch]
    epochs = [seen[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_seed_decides():
    def first(seed):
        return ids(Loader(Numbered(100), 8, seed=seed, total_steps=3, threads=0))

    assert first(0) == first(0)
    assert first(0) != first(1)


def test_a_data_set_without_end_is_read_in_order():
    with Loader(Shapes(size=32), 2, start_step=5, total_steps=8) as loader:
        assert ids(loader) == [[11, 12], [13, 14], [15, 16]]
    endless = Loader(Numbered(3), 2, total_steps=None)
    batches = iter(endless)
    assert [len(next(batches)) for _ in range(20)] == [2] * 20
    endless.close()


def test_equal_images_get_different_transforms():
    """One image four times in a batch, in two steps: eight different crops."""
    shapes = Shapes(1, 64)
    with Loader(shapes, 4, RandomCrop(20), total_steps=2) as loader:
        crops = [sample.image.tobytes() for batch in loader for sample in batch]
    assert len(set(crops)) == 8


def test_at_most_queue_size_batches_are_read_ahead():
    dataset = Numbered(1000)
    loader = Loader(dataset, 5, threads=2, queue_size=3)
    batches = iter(loader)
    assert wait_until(lambda: dataset.reads == 15)
    time.sleep(0.05)
    assert dataset.reads == 15
    next(batches)
    assert wait_until(lambda: dataset.reads == 20)
    time.sleep(0.05)
    assert dataset.reads == 20
    loader.close()


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_names_the_image(threads):
    loader = Loader(Numbered(10, broken=4), 2, threads=threads)
    with pytest.raises(LoadError, match=r"batch of step \d+: folder/4.png: KeyError") as caught:
        for _ in loader:
            pass
    assert isinstance(caught.value.__cause__, KeyError)
    assert wait_until(lambda: not loader_threads())


def test_an_error_in_a_transform_names_the_image():
    def fails(sample, rng):
        raise ValueError("cannot do it")

    with Loader(Numbered(1), 1, fails) as loader:
        with pytest.raises(LoadError, match=r"step 0: folder/0\.png: cannot do it"):
            next(iter(loader))


@pytest.mark.parametrize("threads", [0, 2])
def test_too_little_memory_is_not_the_image_s_fault(threads):
    """The sentence of the command line advises smaller batches where it sees a MemoryError."""

    def fails(sample, rng):
        np.empty(2**60, np.uint8)

    with Loader(Numbered(1), 1, fails, threads=threads) as loader:
        with pytest.raises(MemoryError, match=r"step 0: folder/0\.png: Unable to alloc") as caught:
            next(iter(loader))
    told = sentence(caught.value)
    assert told.startswith("not enough memory (reading the batch of step 0: folder/0.png")
    assert told.endswith("try a smaller --batch or smaller images")


def test_batches_before_the_broken_one_arrive():
    order = Loader(Numbered(10), 1, seed=0).indices
    broken = order(5)[0]
    with Loader(Numbered(10, broken=broken), 1, seed=0, threads=3) as loader:
        batches = iter(loader)
        assert [next(batches)[0].image_id for _ in range(5)] == [order(s)[0] for s in range(5)]
        with pytest.raises(LoadError):
            next(batches)
        with pytest.raises(StopIteration):
            next(batches)


def test_close_stops_the_threads():
    loader = Loader(Numbered(), 2, threads=3)
    batches = iter(loader)
    next(batches)
    assert loader_threads()
    loader.close()
    assert not loader_threads()
    with pytest.raises(StopIteration):
        next(batches)
    assert len(next(iter(loader))) == 2  # and it can start again
    loader.close()


def test_close_drops_what_was_not_started():
    class Slow(Numbered):
        def __getitem__(self, index: int) -> Sample:
            time.sleep(0.05)
            return super().__getitem__(index)

    dataset = Slow()
    loader = Loader(dataset, 1, threads=1, queue_size=8)
    batches = iter(loader)
    next(batches)
    loader.close()
    assert dataset.reads <= 4


def test_an_abandoned_iterator_stops_its_threads():
    def use() -> None:
        for _ in Loader(Numbered(), 2, threads=2):
            break

    use()
    gc.collect()
    assert wait_until(lambda: not loader_threads())


def test_a_finished_loader_has_no_threads():
    assert len(list(Loader(Numbered(), 2, total_steps=4, threads=2))) == 4
    assert wait_until(lambda: not loader_threads())


# A process started in the background may inherit that Ctrl-C is ignored; in a terminal it is not.
CTRL_C = """
import signal
import time

signal.signal(signal.SIGINT, signal.default_int_handler)
from minimask.data.loader import Loader
from minimask.data.shapes import Shapes

class Slow(Shapes):
    def __getitem__(self, index):
        time.sleep(0.1)
        return super().__getitem__(index)

for step, batch in enumerate(Loader(Slow(size=32), 4, threads=2)):
    if step == 1:
        print("running", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_the_process():
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    try:
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "KeyboardInterrupt" in stderr
    assert process.returncode != 0
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"threads": -1}, "threads"),
        ({"queue_size": 0}, "queue_size"),
        ({"seed": -3}, "seed"),
        ({"start_step": -1}, "start_step"),
    ],
)
def test_bad_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        Loader(Numbered(), **{"batch_size": 1, **options})


def test_no_images():
    with pytest.raises(ValueError, match="dataset: expected at least one image"):
        Loader(Numbered(0), 1)


def test_batches_are_balanced_over_a_long_run():
    """Batch size and data set size share no factor: still each image as often as any other."""
    with Loader(Numbered(7), 4, total_steps=70, threads=0) as loader:
        counts = Counter(i for batch in ids(loader) for i in batch)
    assert set(counts.values()) == {40}
