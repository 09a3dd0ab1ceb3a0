"""What `minimask train` looks at before the first step: the data, and a GPU's memory."""

from __future__ import annotations

from typing import Any

import typer

from minimask.train.settings import RunSettings


def look_at(dataset: Any, val: Any) -> None:
    """Say in one line each what is doubtful about annotated images, and refuse what cannot be.

    Raises:
        ValueError: there is nothing to learn from, or an image is not what the annotations say.
    """
    from minimask.data.annotated import AnnotatedImages
    from minimask.data.look import look
    from minimask.data.soundness import raise_errors

    said: set[str] = set()  # both may be of the same files
    for data in (dataset, val):
        if not isinstance(data, AnnotatedImages):
            continue
        findings = look(data)
        errors = [finding for finding in findings if finding.severity == "error"]
        if data is val:  # a validation set may be empty
            errors = [e for e in errors if e.file != str(data.path)]
        raise_errors(errors, data.path)
        for sentence in map(str, findings):
            if sentence not in said:
                typer.echo(sentence, err=True)
            said.add(sentence)


def memory_needed(settings: RunSettings, model: Any, dataset: Any) -> str:
    """What a step needs on the GPU, from the first image's size; DeviceError if it is too much."""
    from minimask.models.transform import resized_size
    from minimask.train import memory
    from minimask.train.stages import recompute

    image = dataset[0].image
    sizes = model.min_size
    largest = max(sizes) if isinstance(sizes, tuple | list) else sizes
    given = image.shape[0], image.shape[1]
    height, width = resized_size(*given, largest, model.max_size, model.convention)
    recompute(model, settings.train.checkpoint_stages)
    states = 1 if settings.train.optimizer == "sgd" else 2
    return memory.check(model, settings.train.batch, height, width, states)
