"""Pictures for claims 1 to 9: what segmentation is, and how it was done without networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from minimask import classical
from minimask.autograd import no_grad
from minimask.tools.textbook.claims.pictures.canvas import (
    BLUE,
    GREEN,
    RED,
    bars,
    colored,
    frame,
    legend,
    panels,
    show,
    title,
)
from minimask.tools.textbook.claims.pixel_networks import PixelNetwork, scene_of_pixels, train_on
from minimask.tools.textbook.claims.scenes import disk, scene
from minimask.tools.textbook.claims.segmentation import bright_disk, touching_disks


def instances() -> Figure:
    """1: a class map, and two sets of instances that have it."""
    disks = touching_disks()
    whole = np.logical_or.reduce(disks)
    upper = whole & (np.arange(64)[:, None] < 32)
    figure, (a, b, c) = panels(3)
    show(a, colored([whole]), "class map: one part")
    show(b, colored(list(disks)), "instances: these two ...")
    show(c, colored([upper, whole & ~upper]), "... or these? The map is the same")
    return figure


def boxes_and_shapes() -> Figure:
    """2: generated objects in their boxes, with the share that is filled."""
    figure, axes = panels(3)
    for index, each in enumerate(axes):
        sample = scene(index)
        show(each, sample.image)
        for mask, box in zip(sample.masks, sample.boxes, strict=True):
            frame(each, box, "white", linewidth=2.6)
            frame(each, box, BLUE)
            share = mask.sum() / np.prod(box[2:] - box[:2])
            place: dict[str, Any] = {"fontsize": 8, "color": "white", "backgroundcolor": BLUE}
            each.text(box[0] + 1, box[1] + 1, f"{share:.0%}", va="top", **place)
    axes[1].set_title("share of each box that is object", fontsize=9)
    return figure


def threshold() -> Figure:
    """3: Otsu's threshold in the histogram, and what it parts."""
    gray, _ = bright_disk(np.random.default_rng(0), 16)
    value = classical.otsu(gray)
    figure, (a, b, c) = panels(3)
    show(a, gray, "image")
    b.hist(gray.ravel(), bins=50, color=BLUE)
    b.axvline(value, color=RED)
    title(b, f"histogram, threshold {value:.0f}")
    show(c, gray > value, "above it")
    return figure


def peaks() -> Figure:
    """5: the rule of the smaller peak, on a small and on a large object."""
    figure, axes = panels(3, 2)
    for row, (radius, name) in enumerate(((14, "small"), (29, "large"))):
        gray, _ = bright_disk(np.random.default_rng(2), radius)
        a, b, c = axes[3 * row : 3 * row + 3]
        show(a, gray, f"{name} object")
        b.hist(gray.ravel(), bins=32, color=BLUE)
        title(b, "gray values")
        show(c, classical.smaller_peak(gray), "the smaller peak's pixels")
    return figure


def edges() -> Figure:
    """6: edges, what they enclose, and what a gap does."""
    gray, _ = bright_disk(np.random.default_rng(3), 18, noise=4.0)
    edge = classical.edges(gray, 0.4)
    gap = edge.copy()
    gap[:, 31:33] = False
    figure, axes = panels(4, width=2.1)
    for each, image, text in zip(
        axes,
        (gray, edge, classical.enclosed(edge), classical.enclosed(gap)),
        ("image", "edges", "enclosed", "enclosed, with a gap"),
        strict=True,
    ):
        show(each, image, text)
    return figure


def methods() -> Figure:
    """7: four methods on a plain and on a textured disk."""
    plain, _ = bright_disk(np.random.default_rng(4), 18, noise=4.0)
    textured = plain + 70 * np.sign(np.sin(np.arange(64) * 0.9))[None]
    figure, axes = panels(5, 2, width=1.75, height=2.0)
    for row, gray in enumerate((plain, textured)):
        start = np.zeros(gray.shape, bool)
        start[32, 32] = True
        group, _ = classical.k_means(gray.reshape(-1, 1), 2, np.random.default_rng(0))
        found = {
            "image": gray,
            "threshold": gray > classical.otsu(gray),
            "k-means": (group == group[32 * 64 + 32]).reshape(gray.shape),
            "region growing": classical.grow(start, np.abs(gray - gray[32, 32]) < 40),
            "edges": classical.enclosed(classical.edges(gray, 0.4)),
        }
        for each, (name, image) in zip(axes[5 * row :], found.items(), strict=False):
            show(each, image, name if row == 0 else "")
    return figure


def pixel_network() -> Figure:
    """8: an image, its class map, and what a tiny encoder and decoder have learned of it."""
    image, truth, sample = scene_of_pixels()
    network = PixelNetwork(5, np.random.default_rng(0))
    train_on(network, image, truth, 80)
    with no_grad():
        coarse = network.encode(image[None]).data[0].mean(axis=0)
        learned = network(image[None]).data[0].argmax(axis=0)
    figure, (a, b, c, d) = panels(4, width=2.1)
    show(a, sample.image, "image, 32 x 32")
    show(b, coarse, "encoder's map, 4 x 4 (mean)", cmap="viridis")
    show(c, learned, "decoder's classes", cmap="tab10", vmax=9)
    show(d, truth, "true classes", cmap="tab10", vmax=9)
    return figure


def sizes_of_output() -> Figure:
    """9: size that comes out of a network of stride 8, by the size that goes in."""
    network = PixelNetwork(2, np.random.default_rng(0))
    sides = np.arange(50, 82)
    with no_grad():
        out = [network(np.zeros((1, 3, s, s), np.float32)).shape[2] for s in sides]
    figure, (a,) = panels(1, width=5)
    a.plot(sides, sides, color="#9aa5b6", label="as it came in")
    a.step(sides, out, where="mid", color=BLUE, label="as it goes out")
    fits = [s for s, o in zip(sides, out, strict=True) if s == o]
    a.plot(fits, fits, "o", color=GREEN, label="equal: multiples of 8")
    a.set(xlabel="side of the image, pixels", ylabel="side of the class map, pixels")
    legend(a)
    return figure


def counting() -> Figure:
    """65: four cells as a class map, and as instances."""
    cells = [disk(64, 64, 14 + 12 * i, 32, 7) for i in range(4)]
    whole = np.logical_or.reduce(cells)
    figure, (a, b) = panels(2)
    count = len(classical.components(whole))
    show(a, colored([whole])[20:44], f"class map: {count} part")
    show(b, colored(cells)[20:44], f"instances: {len(cells)} cells")
    return figure


def k_means() -> Figure:
    """4: pixels of three colors, found again."""
    rng = np.random.default_rng(1)
    truth = np.zeros((48, 48), np.int64)
    truth[disk(48, 48, 14, 14, 9)] = 1
    truth[30:42, 26:44] = 2
    colors = np.array([(40, 60, 90), (200, 80, 60), (90, 190, 80)], float)
    image = colors[truth] + 15 * rng.standard_normal((48, 48, 3))
    group, inertia = classical.k_means(image.reshape(-1, 3), 3, rng)
    figure, (a, b, c) = panels(3)
    show(a, np.clip(image, 0, 255).astype(np.uint8), "image")
    show(b, colored([group.reshape(48, 48) == k for k in range(3)]), "three groups")
    names = [f"round {i + 1}" for i in range(len(inertia))]
    bars(c, names, [v / 1e6 for v in inertia], "{:.2f}")
    title(c, "inertia, millions: it falls")
    return figure


PICTURES = {
    1: instances,
    2: boxes_and_shapes,
    3: threshold,
    4: k_means,
    5: peaks,
    6: edges,
    7: methods,
    8: pixel_network,
    9: sizes_of_output,
    65: counting,
}
