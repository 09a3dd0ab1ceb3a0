"""Batches read beside training, in an order that can be taken up again at any step."""

from __future__ import annotations

import collections
import functools
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from minimask.data.sample import Dataset, Sample
from minimask.data.transforms import Transform, bind

# first number of the keys under `seed`: no two purposes share a stream of random numbers
ORDER, TRANSFORM = 1, 2


class LoadError(ValueError):
    """An item could not be read or transformed; the message names it."""


class Loader:
    """Batches of samples for training.

    The batch of step s depends only on `seed` and s: a run that starts at step 400 sees what an
    uninterrupted run sees from there on, whatever the number of threads.  A data set of n images
    is gone through in a new order in each epoch; a data set without end is read item by item.

    Threads prepare up to `queue_size` batches ahead.  They run NumPy and Pillow, and compiled
    kernels only through `minimask.kernels`, which admits one thread at a time.

        with Loader(dataset, 8, total_steps=1000) as loader:
            for samples in loader:
                ...

    Args:
        dataset: what to read; anything with `__getitem__`, and `__len__` unless it has no end.
        batch_size: samples per batch.
        transform: applied to each sample with its own random generator; one that needs a data
            set gets this one (`transforms.bind`).
        seed: of the order and the transforms.
        start_step: number of the first batch.
        total_steps: number of the step after the last; None: without end.
        threads: that read; 0: read in the caller's thread.
        queue_size: most batches waiting.

    Raises:
        ValueError: numbers out of range, or a data set without images.
        LoadError: while iterating, with the name of the item that failed.
        MemoryError: likewise, where memory did not suffice for it.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        transform: Transform | None = None,
        seed: int = 0,
        start_step: int = 0,
        total_steps: int | None = None,
        *,
        threads: int = 1,
        queue_size: int = 4,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("start_step", start_step, 0),
            ("threads", threads, 0),
            ("queue_size", queue_size, 1),
        ):
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, got {value}")
        try:
            self.size: int | None = len(dataset)
        except TypeError:
            self.size = None  # without end
        if self.size == 0:
            raise ValueError("dataset: expected at least one image, got none")
        self.dataset = dataset
        self.batch_size = batch_size
        self.transform = None if transform is None else bind(transform, dataset)
        self.seed = seed
        self.start_step = start_step
        self.total_steps = total_steps
        self.threads = threads
        self.queue_size = queue_size
        # weak: when nothing else refers to an iterator it goes, and its pool of threads with it
        self._running: weakref.WeakSet[_Ahead] = weakref.WeakSet()
        self._order = functools.lru_cache(maxsize=2)(
            functools.partial(_permutation, seed, self.size or 0)
        )

    def indices(self, step: int) -> list[int]:
        """Items of the data set that make up the batch of a step."""
        first = step * self.batch_size
        positions = range(first, first + self.batch_size)
        if self.size is None:
            return list(positions)
        return [int(self._order(p // self.size)[p % self.size]) for p in positions]

    def batch(self, step: int) -> list[Sample]:
        """Read the batch of a step, in this thread.

        Raises:
            LoadError: with the name of the item that failed.
        """
        return [self._read(step, slot, i) for slot, i in enumerate(self.indices(step))]

    def _read(self, step: int, slot: int, index: int) -> Sample:
        try:
            sample = self.dataset[index]
            if self.transform is not None:
                key = (TRANSFORM, step, slot)
                rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
                sample = self.transform(sample, rng)
            return sample.contiguous()
        except Exception as error:
            describe = getattr(self.dataset, "describe", None)
            name = describe(index) if describe else f"item {index}"
            if isinstance(error, MemoryError):  # not the item's fault: there is other advice
                text = f"{name}: {error}" if str(error) else name
                raise MemoryError(f"reading the batch of step {step}: {text}") from error
            text = f"{error}" if isinstance(error, ValueError | OSError) else f"{error!r}"
            text = text if name in text else f"{name}: {text}"
            raise LoadError(f"reading the batch of step {step}: {text}") from error

    def __iter__(self) -> Iterator[list[Sample]]:
        """Batches from `start_step` on."""
        self.close()
        if self.threads == 0:
            return self._in_this_thread()
        steps = range(self.start_step, 2**62 if self.total_steps is None else self.total_steps)
        ahead = _Ahead(self.batch, steps, self.threads, self.queue_size)
        self._running.add(ahead)
        return ahead

    def _in_this_thread(self) -> Iterator[list[Sample]]:
        step = self.start_step
        while self.total_steps is None or step < self.total_steps:
            yield self.batch(step)
            step += 1

    def close(self) -> None:
        """Stop the threads; iterating again starts new ones."""
        for ahead in list(self._running):
            ahead.close()
        self._running.clear()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Ahead(Iterator[list[Sample]]):
    """Batches in order, read ahead by threads."""

    def __init__(
        self, read: Callable[[int], list[Sample]], steps: range, threads: int, queue_size: int
    ) -> None:
        self._read = read
        self._steps = iter(steps)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="minimask-loader")
        self._waiting: collections.deque[Future[list[Sample]]] = collections.deque()
        for _ in range(queue_size):
            self._ask()

    def _ask(self) -> None:
        step = next(self._steps, None)
        if step is not None:
            self._waiting.append(self._threads.submit(self._read, step))

    def __next__(self) -> list[Sample]:
        if not self._waiting:
            self.close()
            raise StopIteration
        future = self._waiting.popleft()
        try:
            batch = future.result()  # an error in the thread is raised here
            self._ask()
        except BaseException:  # Ctrl-C too: threads left running would keep the process alive
            self.close()
            raise
        return batch

    def close(self) -> None:
        """Drop what was not started; wait for what was."""
        self._waiting.clear()
        self._steps = iter(range(0))
        self._threads.shutdown(cancel_futures=True)


def _permutation(seed: int, size: int, epoch: int) -> np.ndarray:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(ORDER, epoch)))
    return rng.permutation(size)
