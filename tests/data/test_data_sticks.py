"""Generated people: keypoints where the joints are painted, hidden ones hidden."""

import json
import subprocess
import sys

import numpy as np
import pytest

from minimask.data import open_dataset
from minimask.data.shapes_drawing import GRID, rasterize_field
from minimask.data.skeleton import COCO_PERSON
from minimask.data.sticks import Sticks, sample_bit
from minimask.data.sticks_pose import AT, FACE, field_of, random_pose

MANY = Sticks(24, 96, 5)


def test_items_depend_on_seed_and_index_alone():
    first, again = MANY[7], Sticks(None, 96, 5)[7]
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    assert not np.array_equal(first.image, Sticks(24, 96, 6)[7].image)


def test_labeled_keypoints_lie_on_their_figure_unless_hidden():
    seen = inside = 0
    for sample in map(MANY.__getitem__, range(24)):
        assert sample.skeleton is COCO_PERSON
        assert sample.keypoints.shape == (len(sample), 17, 3)
        for mask, points in zip(sample.masks, sample.keypoints, strict=True):
            for x, y, v in points:
                if v == 0:
                    assert x == y == 0
                    continue
                assert 0 <= x <= 96 and 0 <= y <= 96
                row, column = min(int(y), 95), min(int(x), 95)
                if v == 2:
                    seen += 1
                    near = mask[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
                    assert near.any()
                    inside += mask[row, column]
    assert seen > 300
    assert inside > 0.98 * seen  # the others' pixel belongs to a neighbor by more than half


def test_every_visibility_occurs():
    values = np.concatenate([MANY[i].keypoints[..., 2].ravel() for i in range(24)])
    counts = np.bincount(values.astype(int), minlength=3)
    assert (counts > 20).all(), counts


def test_a_keypoint_under_another_figure_or_a_board_is_hidden():
    hidden_by_others = 0
    for i in range(24):
        sample = MANY[i]
        for mask, points in zip(sample.masks, sample.keypoints, strict=True):
            for k, (x, y, v) in enumerate(points):
                row, column = min(int(y), 95), min(int(x), 95)
                around = mask[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
                if v == 1 and not around.any():
                    hidden_by_others += 1
                elif v == 1 and around.all():
                    assert k in FACE, (i, k)  # seen from behind: nobody else is in front
    assert hidden_by_others > 10


def test_from_behind_the_left_side_is_on_the_left():
    rng = np.random.default_rng(0)
    for behind in (0.0, 1.0):
        pose = random_pose(rng, behind, 10)
        left, right = pose.points[AT["left_shoulder"]], pose.points[AT["right_shoulder"]]
        assert (left[0] < right[0]) == bool(behind)
        assert pose.from_behind == bool(behind)
    only = Sticks(4, 96, 0, behind=1.0, boards=0, figures=(1, 1))
    for i in range(4):
        face = only[i].keypoints[0, list(FACE), 2]
        assert (face[face > 0] == 1).all()


def test_bones_have_one_length_whatever_the_pose():
    rng = np.random.default_rng(3)
    lengths = []
    for _ in range(20):
        points = random_pose(rng, 0.5, 20).points
        ends = [(AT["left_elbow"], AT["left_wrist"]), (AT["right_hip"], AT["right_knee"])]
        lengths.append([np.linalg.norm(points[a] - points[b]) for a, b in ends])
    np.testing.assert_allclose(np.std(lengths, axis=0), 0, atol=1e-12)


def test_sample_points_are_where_the_field_says():
    corners = np.array([(3.3, 4.6), (9.1, 7.2)])
    field = field_of(corners, 1.7)
    patch = rasterize_field(field, 1.6, 2.9, 10.8, 8.9)
    height, width = patch.bits.shape
    row, column = np.mgrid[0 : height * GRID, 0 : width * GRID]
    x, y = patch.left + (column + 0.5) / GRID, patch.top + (row + 0.5) / GRID
    bit = sample_bit(row % GRID, column % GRID)
    covered = (patch.bits[row // GRID, column // GRID] & bit) > 0
    # an independent distance to the stick
    way = corners[1] - corners[0]
    along = np.clip(((x - 3.3) * way[0] + (y - 4.6) * way[1]) / (way @ way), 0, 1)
    distance = np.hypot(x - 3.3 - along * way[0], y - 4.6 - along * way[1])
    clear = np.abs(distance - 1.7) > 1e-4
    np.testing.assert_array_equal(covered[clear], (distance < 1.7)[clear])


def test_the_truth_in_cocos_form():
    data = Sticks(3, 64, 1)
    truth = json.loads(json.dumps(data.coco()))
    assert truth["categories"][0]["keypoints"] == list(COCO_PERSON.names)
    assert len(truth["annotations"]) == sum(len(data[i]) for i in range(3))
    first, points = truth["annotations"][0], data[0].keypoints[0]
    assert first["num_keypoints"] == (points[:, 2] > 0).sum()
    flat = np.array(first["keypoints"]).reshape(17, 3)
    there = points[:, 2] > 0
    np.testing.assert_allclose(flat[there, :2] + 0.5, points[there, :2], atol=1e-5)
    assert Sticks(0).coco()["categories"][0]["keypoints"]  # also of no images


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": -1},
        {"size": 16},
        {"figures": (3, 1)},
        {"figures": (1,)},
        {"figure_size": (0, 1)},
        {"behind": 1.5},
        {"boards": -1},
        {"lean": 200},
        {"min_visible": 1},
        {"noise": -1},
    ],
)
def test_numbers_out_of_range(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: expected"):
        Sticks(**wrong)


def test_the_registry_knows_it(tmp_path):
    data = open_dataset("sticks", count=2, size=64, figures=[2, 2])
    assert data.skeleton == COCO_PERSON
    command = [sys.executable, "-m", "minimask", "data", "show", "--data", "sticks", "--size", "64"]
    done = subprocess.run(
        [*command, "--count", "2", "--out", str(tmp_path / "s.png")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.png").is_file()
