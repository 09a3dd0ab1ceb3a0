"""Changes of an image's colors; boxes and masks stay as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from minimask.data.sample import Sample


@dataclass(frozen=True)
class Photometric:
    """Change brightness, contrast, saturation and hue at random.

    All four are linear in RGB, so they are one 3 x 4 matrix and the pixels are touched once.

    Args:
        brightness: factor between 1 - brightness and 1 + brightness.
        contrast: the same for the distance from the image's mean grey.
        saturation: the same for the distance from each pixel's own grey.
        hue: turn around the grey axis by up to this share of the circle, either way.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.03

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply to a sample."""
        from PIL import Image

        turn = rng.uniform(-1, 1, 4) * (self.brightness, self.contrast, self.saturation, self.hue)
        grey = float(sample.image[::4, ::4].mean())
        matrix = np.empty((3, 4))
        matrix[:, :3] = _rotation(2 * np.pi * turn[3]) @ _saturation(1 + turn[2])
        matrix[:, :3] *= (1 + turn[0]) * (1 + turn[1])
        matrix[:, 3] = -grey * (1 + turn[0]) * turn[1]
        picture = Image.fromarray(np.ascontiguousarray(sample.image))
        changed = picture.convert("RGB", tuple(matrix.ravel().tolist()))
        return replace(sample, image=np.asarray(changed))


def _saturation(factor: float) -> np.ndarray:
    """(3, 3) matrix that scales the distance from a pixel's luma."""
    luma = np.array([0.299, 0.587, 0.114])
    return factor * np.eye(3) + (1 - factor) * np.ones((3, 1)) * luma


def _rotation(angle: float) -> np.ndarray:
    """(3, 3) matrix that turns colors around the grey axis (1, 1, 1)."""
    cos, sin = np.cos(angle), np.sin(angle) / np.sqrt(3)
    third = (1 - cos) / 3
    return np.array(
        [
            [cos + third, third - sin, third + sin],
            [third + sin, cos + third, third - sin],
            [third - sin, third + sin, cos + third],
        ]
    )
