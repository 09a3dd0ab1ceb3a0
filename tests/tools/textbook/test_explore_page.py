"""The explorer's page: its arithmetic against the kernels, its controls, and how it looks."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from minimask import functional
from minimask.autograd import Tensor
from minimask.kernels import roi_align, roi_align_backward, roi_pool, roi_pool_backward
from minimask.kernels.rois import quantize_rois
from minimask.tools.textbook.explore import MAPS, OPERATIONS, STRIDES, Scene, bins, pool
from minimask.tools.textbook.explore.page import write_explorer

BOXES = 1000
NEAR = {"rtol": 0, "atol": 1e-6}

TIMES = " \N{MULTIPLICATION SIGN} "

RUN_CASES = """
(cases) => JSON.stringify(JSON.parse(cases).map((one) => {
  const {values, height, width, box, size, options, grad, name} = one;
  const features = {values: Float64Array.from(values), height, width};
  const forward = minimask[name](features, box, size, options);
  const backward = minimask[`${name}Gradient`](features, box, size, options, grad);
  return [Array.from(forward), Array.from(backward)];
}))
"""


@pytest.fixture(scope="module")
def explorer(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    write_explorer(path, Scene())
    return path


def random_box(rng: np.random.Generator, width: float, height: float, stride: float) -> list[float]:
    """A box of one of many kinds, in pixels of an image of that size."""
    extent = np.array([width, height])
    kind = rng.integers(8)
    a = rng.uniform(-0.2, 1.0, 2) * extent
    b = a + rng.uniform(0, 0.8, 2) * extent
    if kind == 0:  # wholly outside, or nearly
        side = rng.choice([-1.0, 1.0], 2)
        a, b = a + side * extent * 1.1, b + side * extent * 1.1
    elif kind == 1:  # tiny
        b = a + rng.uniform(0, 1e-3 if rng.random() < 0.5 else stride, 2)
    elif kind == 2:  # inverted, along one axis or both
        flip = rng.random(2) < 0.6
        a, b = np.where(flip, b, a), np.where(flip, a, b)
    elif kind == 3:  # huge
        a, b = a - rng.uniform(1, 5, 2) * extent, b + rng.uniform(1, 5, 2) * extent
    elif kind == 4:  # exactly on cells
        a, b = (np.round(x / stride) * stride for x in (a, b))
    elif kind == 5:  # exactly on the middle of cells, where rounding decides
        a, b = ((np.round(x / stride) + 0.5) * stride for x in (a, b))
    elif kind == 6:  # tenths, as on the page
        a, b = np.round(a, 1), np.round(b, 1)
    return [float(x) for x in (*a, *b)]


def random_case(rng: np.random.Generator) -> dict[str, Any]:
    stride = float(rng.choice([4, 8, 16, 32, 10, 3.7]))
    height, width = (int(x) for x in rng.integers(1, 20, 2))
    size = int(rng.choice([1, 2, 3, 4, 5, 6, 7, 14]))
    name = str(rng.choice(["roiPool", "roiWarp", "roiAlign"]))
    ratio = int(rng.choice([0, 1, 2, 3]))
    reduce = "max" if rng.random() < 0.3 else "mean"
    values = rng.standard_normal(height * width)
    if name == "roiPool" and rng.random() < 0.3:  # equal values: the first wins
        values = np.round(values)
    return {
        "name": name,
        "values": values.tolist(),
        "height": height,
        "width": width,
        "box": random_box(rng, width * stride, height * stride, stride),
        "size": size,
        "options": {
            "scale": 1 / stride,
            "ratio": ratio,
            "aligned": bool(rng.random() < 0.5),
            "reduce": reduce,
        },
        "grad": rng.standard_normal(size * size).tolist(),
    }


def run(page: Any, cases: list[dict[str, Any]], script: str = RUN_CASES) -> list[Any]:
    """Values and gradients by the page; as text, since Playwright's own way takes a while."""
    return json.loads(page.evaluate(script, json.dumps(cases)))


def by_kernels(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and gradient; no gradient of the largest of as many samples as there are cells."""
    shape = (1, 1, case["height"], case["width"])
    features = np.array(case["values"]).reshape(shape)
    size, options = case["size"], case["options"]
    grad = np.array(case["grad"]).reshape(1, 1, size, size)
    rois, scale = np.array([[0.0, *case["box"]]]), options["scale"]
    if case["name"] == "roiPool":
        values, argmax = roi_pool(features, rois, size, spatial_scale=scale)
        return values.ravel(), roi_pool_backward(grad, rois, argmax, shape).ravel()
    aligned = options["aligned"]
    if case["name"] == "roiWarp":
        rois, scale, aligned = quantize_rois(rois, scale), 1.0, True
    own = {"spatial_scale": scale, "sampling_ratio": options["ratio"], "aligned": aligned}
    values = roi_align(features, rois, size, reduce=options["reduce"], **own)
    if options["reduce"] == "mean":
        return values.ravel(), roi_align_backward(grad, rois, shape, **own).ravel()
    if options["ratio"] == 0:
        return values.ravel(), None
    leaf = Tensor(features, requires_grad=True)
    functional.roi_align(leaf, rois, size, reduce="max", **own).backward(grad)
    return values.ravel(), np.asarray(leaf.grad).ravel()


def test_a_thousand_boxes_give_what_the_kernels_give(open_page, explorer) -> None:
    rng = np.random.default_rng(5)
    cases = [random_case(rng) for _ in range(BOXES)]
    answers = run(open_page(explorer), cases)
    gradients = 0
    for case, (values, gradient) in zip(cases, answers, strict=True):
        told = {k: v for k, v in case.items() if k not in ("values", "grad")}
        expected, back = by_kernels(case)
        np.testing.assert_allclose(values, expected, **NEAR, err_msg=str(told))
        if back is not None:
            gradients += bool(np.abs(back).max() > 0)
            np.testing.assert_allclose(gradient, back, **NEAR, err_msg=str(told))
    assert gradients > BOXES / 2  # most boxes reach the map


def test_boxes_without_numbers_are_empty(open_page, explorer) -> None:
    rng = np.random.default_rng(1)
    cases = []
    for name in ("roiPool", "roiWarp", "roiAlign"):
        for _ in range(3):
            cases.append(random_case(rng) | {"name": name, "height": 4, "width": 5})
            cases[-1]["values"] = rng.standard_normal(20).tolist()
    script = RUN_CASES.replace("features, box,", "features, [NaN, 0, Infinity, 9],")
    for values, gradient in run(open_page(explorer), cases, script):
        assert not any(values) and not any(gradient)


def test_the_maps_are_those_of_python(open_page, explorer) -> None:
    page = open_page(explorer)
    for name in MAPS:
        for stride in STRIDES:
            scene = Scene(stride=stride, map=name)
            values = page.evaluate(
                "([name, stride]) => Array.from(minimask.maps.make(name, stride).values)",
                [name, stride],
            )
            np.testing.assert_allclose(values, scene.features().ravel(), rtol=1e-14, atol=0)


def test_the_ideal_is_that_of_python(open_page, explorer) -> None:
    page = open_page(explorer)
    for box in ((60.4, 41.7, 171.3, 139.9), (-40.0, 20.0, 30.5, 300.0), (50.0, 50.0, 50.0, 60.0)):
        scene = Scene(box=box, size=5)
        values = page.evaluate(
            "(box) => Array.from(minimask.exactMean(minimask.maps.make('noise', 16), box, 5, "
            "{scale: 1 / 16}))",
            list(box),
        )
        np.testing.assert_allclose(values, bins.ideal(scene).ravel(), rtol=0, atol=1e-9)


CARDS = {"pool": OPERATIONS[0], "warp": OPERATIONS[1], "shifted": OPERATIONS[2]}
CARDS["align"] = OPERATIONS[3]


def shown_values(page: Any, card: str) -> np.ndarray:
    texts = page.locator(f"#card-{card} svg.pooled text").all_text_contents()
    return np.array([float(text) for text in texts])


def test_the_numbers_shown_are_the_kernels(open_page, tmp_path) -> None:
    scene = Scene(box=(33.3, 20.1, 201.9, 150.2), stride=32, size=3, ratio=0, map="noise")
    write_explorer(tmp_path / "a.html", scene)
    page = open_page(tmp_path / "a.html")
    for card, operation in CARDS.items():
        expected = pool(scene, operation)
        np.testing.assert_allclose(shown_values(page, card), expected.values.ravel(), atol=0.00501)
        middle = page.locator(f'#card-{card} [data-value="bin"]').text_content()
        assert float(middle) == pytest.approx(expected.values[1, 1], abs=0.000051)
        cells = page.locator(f'#card-{card} [data-value="cells"]').text_content()
        assert int(cells) == np.count_nonzero(expected.gradient)


def settle(page: Any) -> None:
    """Wait until the page has drawn what was changed: it does so once a frame."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def box_of(page: Any) -> list[float]:
    return page.evaluate("minimask.state.box")


def test_keys_and_sliders_move_the_box_and_change_the_numbers(open_page, explorer) -> None:
    page = open_page(explorer)
    before = shown_values(page, "align")
    page.locator("#stage svg").focus()
    page.keyboard.press("ArrowRight")
    assert box_of(page) == [60.5, 41.7, 171.4, 139.9]
    page.keyboard.press("Shift+ArrowUp")
    assert box_of(page) == [60.5, 40.7, 171.4, 138.9]
    page.locator('[data-corner="x1 y1"]').focus()
    page.keyboard.press("ArrowDown")
    assert box_of(page) == [60.5, 40.7, 171.4, 139.0]
    page.locator("#x0").fill("20.3")
    assert box_of(page)[0] == 20.3
    settle(page)
    assert page.locator("#x0-number").input_value() == "20.3"
    page.locator("#y0-number").fill("-12.5")
    settle(page)
    assert page.locator("#y0").input_value() == "-12.5"
    scene = Scene(box=tuple(box_of(page)))
    after = shown_values(page, "align")
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(after, pool(scene, CARDS["align"]).values.ravel(), atol=0.00501)


def test_every_setting_changes_what_is_shown(open_page, explorer) -> None:
    page = open_page(explorer)
    page.locator('input[value="align"]').check()
    settings = [("map", "blob"), ("stride", "8"), ("ratio", "3"), ("reduce", "max")]
    for name, value in settings:
        before = page.locator("main").inner_html()
        page.select_option(f"#{name}", value)
        settle(page)
        assert page.locator("main").inner_html() != before, name
        assert str(page.evaluate(f"minimask.state.{name}")) == value
    page.locator("#size").fill("7")
    settle(page)
    assert len(shown_values(page, "pool")) == 49
    page.locator("#card-pool svg.pooled text[data-bin='10']").click()
    settle(page)
    assert page.locator("#column").input_value() == "4"
    assert page.locator("#row").input_value() == "2"
    page.locator("#size").fill("1")
    settle(page)
    assert page.locator("#row").input_value() == "1"


def test_the_box_and_its_corners_can_be_dragged(open_page, explorer) -> None:
    page = open_page(explorer)
    place = page.locator("#stage svg").bounding_box()
    pixel = place["width"] / 288

    def drag(x: float, y: float, by: tuple[float, float]) -> None:
        at = place["x"] + (x + 16) * pixel, place["y"] + (y + 16) * pixel
        page.mouse.move(*at)
        page.mouse.down()
        page.mouse.move(at[0] + by[0] * pixel, at[1] + by[1] * pixel, steps=3)
        page.mouse.up()

    drag(110, 90, (12, -7))
    np.testing.assert_allclose(box_of(page), [72.4, 34.7, 183.3, 132.9], atol=0.11)
    x0, y0, x1, y1 = box_of(page)
    drag(x1, y0, (10, 5))
    np.testing.assert_allclose(box_of(page), [x0, y0 + 5, x1 + 10, y1], atol=0.11)


def test_a_sample_under_the_pointer_is_explained(open_page, explorer) -> None:
    page = open_page(explorer)
    page.locator('input[value="align"]').check()
    place = page.locator("#stage svg").bounding_box()
    page.mouse.move(place["x"] + 0.45 * place["width"], place["y"] + 0.5 * place["height"])
    text = page.locator("#hint").text_content()
    terms, total = text.split("pixels. ")[1].split(" = ")
    products = [np.prod([float(x) for x in term.split(TIMES)]) for term in terms.split(" + ")]
    weights = [float(term.split(TIMES)[0]) for term in terms.split(" + ")]
    assert sum(weights) == pytest.approx(1, abs=0.002)
    assert sum(products) == pytest.approx(float(total), abs=0.003)


def test_the_curves_jump_for_roi_pool_and_not_for_roi_align(open_page, explorer) -> None:
    page = open_page(explorer)
    page.select_option("#map", "ramp")
    settle(page)

    def steps(name: str) -> np.ndarray:
        path = page.locator(f'#plot path[data-name="{name}"]').get_attribute("d")
        return np.abs(np.diff([float(p.split(",")[1]) for p in path[1:].split("L")]))

    assert steps("RoIPool").max() > 10 * steps("RoIAlign").max()
    assert steps("RoIWarp").max() > 10 * steps("RoIAlign").max()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_themes(open_page, explorer, scheme: str) -> None:
    page = open_page(explorer, width=390, height=844, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#size").fill("14")
    settle(page)
    assert len(shown_values(page, "pool")) == 196
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    colors = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    brightness = [np.mean([int(x) for x in c[4:-1].split(",")]) for c in colors]
    assert (brightness[0] < brightness[1]) == (scheme == "dark")


def test_the_scene_is_in_the_page_as_given(open_page, tmp_path) -> None:
    scene = Scene(box=(-5.5, 300.0, 7.25, 1.0), stride=4, size=14, ratio=0, map="ramp-y")
    write_explorer(tmp_path / "a.html", scene)
    page = open_page(tmp_path / "a.html")
    state = json.loads(page.locator("main").get_attribute("data-scene"))
    assert state["box"] == [-5.5, 300.0, 7.25, 1.0]
    assert page.evaluate("minimask.state.stride") == 4
    assert page.locator("#map").input_value() == "ramp-y"
