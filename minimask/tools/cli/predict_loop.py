"""Images one batch after the other: read, searched, handed to a writer; bad ones are left out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Predict = Callable[[list[tuple[Path, "np.ndarray"]]], Any]  # files and images to what is there


def predict_all(
    predict: Predict,
    files: list[Path],
    writer: Any,
    batch: int,
    read: dict[str, Any],
    progress: bool,
) -> list[Path]:
    """Read, predict and write a batch at a time; returns the files that could not be done."""
    from tqdm import tqdm

    failed: list[Path] = []
    with tqdm(total=len(files), desc="predicting", unit="image", disable=not progress) as bar:
        for start in range(0, len(files), batch):
            group = files[start : start + batch]
            readable = list(_read(group, read, failed, bar))
            for some in _that_fit(predict, readable, failed, bar):
                for (path, image), detections in some:
                    writer.add(path, image, detections)
            bar.update(len(group))
    return failed


def _read(
    files: list[Path], read: dict[str, Any], failed: list[Path], bar: Any
) -> Iterator[tuple[Path, np.ndarray]]:
    from minimask.data import read_image

    for path in files:
        try:
            yield path, read_image(path, **read)
        except Exception as error:  # whatever is wrong with one must not stop the others
            failed.append(path)
            bar.write(f"minimask: {_sentence(path, error)}; left out", file=sys.stderr)


def _that_fit(
    predict: Predict, images: list[tuple[Path, np.ndarray]], failed: list[Path], bar: Any
) -> Iterator[Any]:
    """Images with what was found in them: all at once, or one by one if that needs less memory."""
    try:
        yield list(zip(images, predict(images), strict=True))
    except MemoryError as error:
        if len(images) > 1:
            for alone in images:
                yield from _that_fit(predict, [alone], failed, bar)
            return
        ((path, _),) = images
        failed.append(path)
        bar.write(
            f"minimask: {path}: not enough memory ({error}); cut it into tiles, or save it "
            "smaller; left out",
            file=sys.stderr,
        )


def _sentence(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: {error.strerror}"
    text = str(error) or type(error).__name__
    return text if str(path) in text else f"{path}: {text}"
