"""Find what is wrong with any data set by reading every image of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from minimask.data.check import contents_line
from minimask.data.findings import Finding, errors_first
from minimask.data.sample import Dataset, Sample


def check_images(
    dataset: Dataset, *, annotated: Callable[[int], int] | None = None, threads: int = 2
) -> tuple[list[Finding], str]:
    """Read every image with its objects.

    Args:
        dataset: with an end.
        annotated: how many objects the files of an image hold, those without a pixel included.
        threads: that read images.

    Returns:
        Findings, errors first, and a line that says how much there is of everything.
    """
    findings: list[Finding] = []
    counts: Counter[str] = Counter()
    empty = []

    def read(index: int) -> Sample | Finding:
        name = dataset.describe(index)
        try:
            return dataset[index]
        except (ValueError, OSError) as error:
            message = str(error).removeprefix(f"{name}: ")
            return Finding("error", name, None, message, "put the right file there, or remove it")

    with ThreadPoolExecutor(threads) as pool:
        for index, sample in enumerate(pool.map(read, range(len(dataset)))):
            if isinstance(sample, Finding):
                findings.append(sample)
                continue
            counts.update(dataset.classes[label] for label in sample.labels)
            lost = annotated(index) - len(sample) if annotated else 0
            if lost:
                message = f"{lost} of {lost + len(sample)} masks show no pixel"
                advice = "draw the object, or remove the mask"
                findings.append(Finding("warning", dataset.describe(index), None, message, advice))
            if not len(sample):
                empty.append(dataset.describe(index))
    if empty:
        more = ", ..." if len(empty) > 1 else ""
        message = f"{len(empty)} of {len(dataset)} images show no object: {empty[0]}{more}"
        findings.append(Finding("note", empty[0], None, message, "nothing, if that is so"))
    return errors_first(findings), contents_line(len(dataset), len(empty), counts)
