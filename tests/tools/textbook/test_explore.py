"""The explorer's geometry against the kernels, its measurements, figures, panel and command."""

from __future__ import annotations

import io
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from minimask.data.shapes import Shapes
from minimask.kernels import roi_align
from minimask.tools.cli import make_app
from minimask.tools.textbook import explore
from minimask.tools.textbook.explore import (
    MAPS,
    OPERATIONS,
    STRIDES,
    Scene,
    animation,
    bins,
    consequences,
    figure,
    mask_bound,
    misalignment,
    pool,
)
from minimask.tools.textbook.explore.operations import (
    ROI_ALIGN,
    ROI_ALIGN_SHIFTED,
    ROI_POOL,
    ROI_WARP,
    Operation,
)
from minimask.tools.textbook.explore.values import table

ODD_BOXES = [
    (60.4, 41.7, 171.3, 139.9),
    (-30.0, -20.0, 60.0, 70.0),  # half outside
    (400.0, 300.0, 500.0, 380.0),  # outside
    (50.0, 50.0, 50.0, 50.0),  # without area
    (160.0, 120.0, 90.0, 60.0),  # inverted
    (-600.0, -500.0, 900.0, 700.0),  # around the image
    (64.0, 32.0, 128.0, 96.0),  # on cells
    (0.0, 0.0, 0.05, 0.05),
]
SAMPLED = [ROI_WARP, ROI_ALIGN_SHIFTED, ROI_ALIGN]


def scenes() -> list[Scene]:
    rng = np.random.default_rng(3)
    found = [Scene(box=box, ratio=ratio) for box in ODD_BOXES for ratio in (0, 1, 2, 3)]
    for _ in range(20):
        x, y, w, h = rng.uniform((-20, -20, 0, 0), (200, 150, 150, 120))
        stride, size = int(rng.choice(STRIDES)), int(rng.integers(1, 9))
        box = (float(x), float(y), float(x + w), float(y + h))
        found.append(Scene(box=box, stride=stride, size=size, ratio=int(rng.integers(0, 4))))
    return found


@pytest.mark.parametrize("operation", SAMPLED, ids=lambda o: o.name)
def test_weights_are_those_of_the_kernels(operation: Operation) -> None:
    for scene in scenes():
        rows, columns = bins.of_scene(scene, operation)
        pooled = pool(scene, operation)
        values = rows.weights @ scene.features()[0, 0] @ columns.weights.T
        np.testing.assert_allclose(values, pooled.values, rtol=0, atol=1e-9, err_msg=str(scene))
        gradient = np.outer(rows.weights.sum(0), columns.weights.sum(0))
        np.testing.assert_allclose(gradient, pooled.gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("operation", SAMPLED, ids=lambda o: o.name)
def test_samples_interpolate_to_the_kernels_values(operation: Operation) -> None:
    """On a ramp a sample reads its own place, so a bin's value is the mean of its samples' places.

    The map's cells are read at their centers, and constant beyond the outermost; away from there.
    """
    for scene in (Scene(ratio=ratio, size=size) for ratio in (0, 1, 2, 3) for size in (2, 5)):
        _, columns = bins.of_scene(scene, operation)
        expected = columns.samples.mean(axis=1) * scene.stride
        values = pool(scene, operation, "ramp").values
        np.testing.assert_allclose(values, np.broadcast_to(expected, values.shape), atol=1e-9)
        edges = columns.edges
        assert np.all(columns.samples > edges[:, :1]) and np.all(columns.samples < edges[:, 1:])


def test_roi_pool_takes_the_largest_of_the_cells_in_its_bins() -> None:
    for scene in scenes():
        rows, columns = bins.of_scene(scene, ROI_POOL)
        pooled = pool(scene, ROI_POOL)
        values = scene.features()[0, 0]
        for p, (y0, y1) in enumerate(rows.edges.astype(int)):
            for q, (x0, x1) in enumerate(columns.edges.astype(int)):
                cells = values[y0:y1, x0:x1]
                expected = cells.max() if cells.size else 0
                assert pooled.values[p, q] == expected, scene
        read = np.outer(rows.weights.any(axis=0), columns.weights.any(axis=0))
        assert not pooled.gradient[~read].any()


def test_the_gradient_of_one_bin_is_its_own() -> None:
    scene = Scene(size=4)
    for operation in OPERATIONS:
        whole = np.zeros(scene.shape)
        for p, q in np.ndindex(4, 4):
            only = np.zeros((4, 4))
            only[p, q] = 1
            whole += pool(scene, operation, grad=only).gradient
        np.testing.assert_allclose(whole, pool(scene, operation).gradient, atol=1e-12)
    only = np.zeros((4, 4))
    only[1, 2] = 1
    assert np.count_nonzero(pool(scene, ROI_POOL, grad=only).gradient) == 1


def test_the_ideal_is_the_limit_of_many_samples() -> None:
    for box in ((60.4, 41.7, 171.3, 139.9), (9.0, 9.0, 240.0, 180.0), (100.0, 80.0, 101.0, 170.0)):
        scene = Scene(box=box, size=3)
        many = roi_align(
            scene.features(), scene.rois(), 3, spatial_scale=scene.scale, sampling_ratio=400
        )
        np.testing.assert_allclose(bins.ideal(scene), many[0, 0], rtol=0, atol=2e-5)


def test_roi_align_is_exact_on_a_ramp_inside_the_map() -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        stride = int(rng.choice(STRIDES))
        low = rng.uniform(stride / 2, 90, 2)
        high = low + rng.uniform(1, (255 - 110 - stride, 191 - 110 - stride))
        size, ratio = int(rng.integers(1, 15)), int(rng.integers(0, 5))
        box = tuple(float(x) for x in (*low, *high))
        scene = Scene(box=box, stride=stride, size=size, ratio=ratio)
        for map, axis in (("ramp", 0), ("ramp-y", 1)):
            low_edge, high_edge = box[axis], box[axis + 2]
            centers = low_edge + (high_edge - low_edge) * (np.arange(size) + 0.5) / size
            expected = centers[None, :] if axis == 0 else centers[:, None]
            np.testing.assert_allclose(bins.ideal(scene, map) - expected, 0, atol=1e-9)
            np.testing.assert_allclose(pool(scene, ROI_ALIGN, map).values - expected, 0, atol=1e-6)
    shifted = pool(Scene(), ROI_ALIGN_SHIFTED, "ramp").values - bins.ideal(Scene(), "ramp")
    np.testing.assert_allclose(shifted, 8.0, atol=1e-9)  # half a cell


def test_only_the_rounded_operations_jump() -> None:
    steps = {}
    for operation in OPERATIONS:
        values = [pool(Scene().moved(x=i / 10), operation, "ramp").values[1, 1] for i in range(170)]
        steps[operation.name] = np.abs(np.diff(values)).max()
    assert steps["RoIPool"] >= 15.999  # a cell
    assert steps["RoIWarp"] > 2
    assert steps["RoIAlign"] == pytest.approx(0.1, abs=1e-9)  # as far as the box has moved
    assert steps["RoIAlign, aligned=False"] == pytest.approx(0.1, abs=1e-9)


def test_a_scene_out_of_range_says_what_is_wrong() -> None:
    for wrong, name in [
        ({"stride": 5}, "stride"),
        ({"size": 15}, "size"),
        ({"ratio": -1}, "ratio"),
        ({"map": "sea"}, "map"),
        ({"box": (0, 0, float("nan"), 1)}, "box"),
        ({"box": (0, 0, 1e9, 1)}, "box"),
    ]:
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            Scene(**wrong)


# ---- what it costs ----


def test_the_misalignment_of_roi_pool_is_as_measured_before() -> None:
    measured = misalignment.measure(boxes=6000, seed=1)
    rows = {(row.operation, row.stride): row for row in measured.rows}
    for stride, std in misalignment.BEFORE.items():
        row = rows["RoIPool", stride]
        assert row.std == pytest.approx(std, rel=0.02)
        assert row.mean == pytest.approx(stride / 2, rel=0.03)  # both corner cells are included
        assert row.within == pytest.approx({4: 2.7, 8: 5.5, 16: 10.9, 32: 21.7}[stride], rel=0.03)
        assert row.jitter < row.std
        assert rows["RoIAlign", stride].std < 1e-9
        assert abs(rows["RoIAlign", stride].mean) < 1e-9
        assert rows["RoIAlign, aligned=False", stride].mean == pytest.approx(stride / 2)
        assert rows["RoIAlign, aligned=False", stride].std < 1e-9
    assert "1.39" in misalignment.table(measured)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_places_are_those_that_are_drawn(operation: Operation) -> None:
    """Inside the map a bin's place, as measured, is the center of the weights that draw it."""
    for scene in (Scene(box=ODD_BOXES[0], stride=s, size=3) for s in STRIDES):
        rows, columns = bins.of_scene(scene, operation)
        boxes = np.array([scene.box])
        found = misalignment.places(operation, boxes, scene.scale, scene.size)
        for axis, place in zip((rows, columns), found, strict=True):
            centers = np.arange(axis.weights.shape[1]) + 0.5
            clear = axis.edges.max() < len(centers) - 0.5  # else the border cuts it
            if clear:
                np.testing.assert_allclose(axis.weights @ centers, place[0], atol=1e-9)


def test_a_mask_read_at_its_place_comes_back() -> None:
    sample = Shapes(1, 128, seed=2, objects=(1, 1), object_size=(0.5, 0.5))[0]
    mask, box = sample.masks[0], sample.boxes[0].astype(np.float64)
    exact = mask_bound.best_iou(mask, box, np.zeros((2, mask_bound.BINS)))
    assert exact > 0.98
    shifted = mask_bound.best_iou(mask, box, np.full((2, mask_bound.BINS), 6.0))
    moved = np.roll(mask, (-6, -6), (0, 1))  # what lies 6 pixels farther appears 6 pixels earlier
    x0, y0, x1, y1 = box.astype(int)
    inside = np.zeros_like(mask)
    inside[y0:y1, x0:x1] = True
    moved &= inside
    expected = (moved & mask).sum() / (moved | mask).sum()
    assert shifted == pytest.approx(expected, abs=0.03)
    assert mask_bound.best_iou(mask, box, np.full((2, mask_bound.BINS), 500.0)) == 0


def test_the_share_of_a_mask_in_its_cells_is_exact() -> None:
    mask = np.zeros((56, 56), bool)
    mask[10:20, 5:50] = True
    box = np.array([0.0, 0.0, 56.0, 56.0])
    grid = mask_bound.read_mask(mask, box, np.zeros((2, 14)))
    expected = mask.reshape(28, 2, 28, 2).mean((1, 3))
    np.testing.assert_allclose(grid, expected, atol=1e-7)


def test_the_bound_falls_with_the_stride_for_all_but_roi_align() -> None:
    bound = mask_bound.measure(objects=6)
    for diameter in mask_bound.DIAMETERS:
        pooled = [bound.iou("RoIPool", diameter, stride) for stride in STRIDES]
        exact = [bound.iou("RoIAlign", diameter, stride) for stride in STRIDES]
        assert pooled == sorted(pooled, reverse=True)
        assert min(exact) > 0.98 and np.ptp(exact) < 1e-9
        assert pooled[-1] < exact[-1] - 0.08
    assert bound.iou("RoIPool", 32, 32) < bound.iou("RoIPool", 256, 32)  # small objects lose most
    assert "stride 32" in mask_bound.table(bound)


# ---- pictures ----


HUGE = Scene(box=(-1e4, -1e4, 1e4, 1e4), stride=4, size=1, ratio=0)  # 25 million samples


def test_figures_of_odd_boxes() -> None:
    for scene in [*(Scene(box=box, size=2) for box in ODD_BOXES[1:]), HUGE]:
        for line in (0, 3) if scene.box == ODD_BOXES[2] else (3,):
            drawn = figure.draw(scene, figure.all_lines(0)[line : line + 1])
            drawn.savefig(io.BytesIO(), format="png", dpi=30)


def test_the_figure_shows_the_kernels_values() -> None:
    lines = figure.all_lines()
    assert [line.ratio for line in lines] == [None, 2, 2, 1, 2, 0]
    drawn = figure.draw(Scene(), lines)
    axes = np.array(drawn.axes).reshape(len(lines), len(figure.COLUMNS))
    shown = [float(text.get_text()) for text in axes[4, 2].texts]
    expected = pool(Scene(ratio=2), ROI_ALIGN).values
    np.testing.assert_allclose(shown, expected.ravel(), atol=0.00501)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figures_are_written_in_each_format(tmp_path: pathlib.Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    figure.write(path, figure.draw(Scene(), figure.all_lines(1)[:1]))
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(start)
    with pytest.raises(ValueError, match="expected a name"):
        figure.write(tmp_path / "a.bmp", figure.draw(Scene(), figure.all_lines(1)[:1]))


def test_the_trace_moves_by_tenths_of_a_pixel() -> None:
    moving = animation.trace(Scene(stride=4, map="ramp", size=1), frames=81)
    np.testing.assert_allclose(moving.pixels, np.arange(81) / 10, atol=1e-9)
    np.testing.assert_allclose(moving.values[3], moving.ideal, atol=1e-9)
    assert np.abs(np.diff(moving.values[0])).max() > 3.99  # RoIPool: a cell at once


@pytest.mark.parametrize("box", [ODD_BOXES[0], ODD_BOXES[2], ODD_BOXES[4]])
def test_the_animation_has_its_frames(tmp_path: pathlib.Path, box) -> None:
    path = tmp_path / "a.gif"
    animation.write(path, Scene(box=box, size=2), frames=3)
    with Image.open(path) as moving:
        assert moving.n_frames == 3
        assert moving.info["loop"] == 0
        first = np.asarray(moving.convert("RGB")).astype(int)
        moving.seek(2)
        assert np.abs(np.asarray(moving.convert("RGB")).astype(int) - first).max() > 50


def test_the_figure_of_what_it_costs() -> None:
    measured = misalignment.measure(boxes=50)
    rows = tuple(
        mask_bound.BoundRow(operation.name, diameter, stride, 0.5, 0.5)
        for operation in mask_bound.OPERATIONS
        for diameter in mask_bound.DIAMETERS
        for stride in STRIDES
    )
    drawn = consequences.draw(measured, mask_bound.Bound(rows, 1, 0.0))
    drawn.savefig(io.BytesIO(), format="png", dpi=30)
    assert len(drawn.axes) == 5


# ---- panel ----


def test_the_panel_shows_what_its_controls_say() -> None:
    panel = explore.panel(Scene(size=2))
    before = bytes(panel.picture.value)
    assert before.startswith(b"\x89PNG")
    panel.controls["operation"].value = "RoIPool"
    one = bytes(panel.picture.value)
    assert Image.open(io.BytesIO(one)).height < Image.open(io.BytesIO(before)).height
    panel.controls["x0"].value = 90.3
    assert bytes(panel.picture.value) != one
    panel.controls["samples"].value = 0
    panel.controls["stride"].value = 32
    panel.controls["bins"].value = 3
    panel.controls["map"].value = "ramp"
    assert bytes(panel.picture.value) != one


def test_the_panel_takes_any_scene() -> None:
    panel = explore.panel(Scene(box=(-900.0, 0.0, 2000.0, 5.0), ratio=7, size=1))
    assert panel.controls["x0"].value == -900
    assert panel.controls["samples"].value == 7


def test_without_ipywidgets_the_panel_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"minimask\[tutorials\].*explorer\.html"):
        explore.panel()


# ---- command ----


def run(*words: object) -> tuple[int, str]:
    """Exit code, and all that was printed."""
    result = CliRunner().invoke(make_app(), ["explore", *map(str, words)])
    return result.exit_code, result.output


def test_the_command_prints_the_values() -> None:
    code, text = run("--map", "ramp", "--box", 60.4, 41.7, 171.3, 139.9, "--ratio", 2)
    assert code == 0
    assert text == table(Scene(map="ramp"), figure.all_lines(2)) + (
        "\n\nAs a page to explore in: --out explorer.html; as a figure: --out roi.png; "
        "moving: --out roi.gif\n"
    )
    assert "RoIAlign, 2 x 2 samples" in text
    for map in MAPS:
        assert run("--map", map, "--size", 14)[0] == 0


def test_the_command_writes_what_the_suffix_says(tmp_path) -> None:
    for name in ("a.png", "a.html"):
        out = ("--out", tmp_path / name)
        assert run(*out, "--ratio", 1, "--box", -9, 5, 3, 1) == (0, f"written: {out[1]}\n")
        assert out[1].stat().st_size > 10_000
        code, text = run(*out)
        assert code == 1 and "exists already" in text
    assert "[-9.0, 5.0, 3.0, 1.0]" in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stride", 5], "--stride: expected one of 4, 8, 16, 32, got 5"),
        (["--size", 0], "--size: expected 1 to 14 bins, got 0"),
        (["--map", "sea"], "--map: expected one of ramp"),
        (["--box", "nan", 0, 1, 1], "--box: expected numbers"),
        (["--out", "a.jpg"], "expected a name that ends in .png"),
        (["--out", "."], "is a folder"),
        (["--measure", "--out", "a.gif"], "--out with --measure"),
    ],
)
def test_wrong_use_is_a_sentence(words: list[object], message: str) -> None:
    code, text = run(*words)
    assert code == 2 and message in text


def test_measuring_prints_both_tables_and_writes_the_page(tmp_path, monkeypatch) -> None:
    quick_boxes, quick_objects = misalignment.measure(boxes=200), mask_bound.measure(objects=2)
    monkeypatch.setattr(misalignment, "measure", lambda: quick_boxes)
    monkeypatch.setattr(mask_bound, "measure", lambda: quick_objects)
    code, text = run("--measure", "--out", tmp_path / "a.html")
    assert code == 0
    assert misalignment.table(quick_boxes) in text
    assert mask_bound.table(quick_objects) in text
    assert "minimask ablate 2d" in text
    assert "data:image/png;base64," in (tmp_path / "a.html").read_text()
    assert run("--measure", "--out", tmp_path / "a.png")[0] == 0
