"""Every published file of four systems is known by its names and shapes, and fits its network.

All are recognised in every run. Networks are built for a few of them; for every architecture with
`MINIMASK_PUBLISHED=all pytest tests/weights/test_published.py` (minutes, 8 GB).
"""

import json
import os
import pathlib

import pytest
from published import Widths, detectron2, matterport, mmdet
from published_files import BODIES, DETECTRON2, FILES, MATTERPORT, MMDET, TORCHVISION, table
from published_torchvision import torchvision

from minimask import models
from minimask.weights import read_weights
from minimask.weights.mismatch import explain
from minimask.weights.source import from_arrays

SHORT = (
    "mask_rcnn_resnet50",
    *("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x", "COCO-Detection/rpn_R_50_C4_1x"),
    *("COCO-Detection/fast_rcnn_R_50_FPN_1x", "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ"),
    *(
        "faster-rcnn_r50_fpn_1x_coco",
        "mask_rcnn_balloon",
        "keypointrcnn_resnet50_fpn_coco-fc266e95",
    ),
)
NARROW = Widths(stem=4, pyramid=16, box=32, conv=16, keypoint=16, rpn=32)
RECORDED = {
    "detectron2/mask_rcnn_R_50_FPN.pkl": lambda w: detectron2(classes=6, w=w),
    "detectron2/mask_rcnn_R_50_C4.pkl": lambda w: detectron2(
        features="c4", classes=6, sizes=(16, 32, 64, 128), w=w
    ),
    "detectron2/mask_rcnn_R_50_DC5.pkl": lambda w: detectron2(
        features="dc5", classes=6, sizes=(16, 32, 64, 128), w=Widths(4, 16, 8, 16)
    ),
    "detectron2/mask_rcnn_R_50_FPN_3x_syncbn.pkl": lambda w: detectron2(
        classes=6, kind="batch", box_convs=4, w=w
    ),
    "detectron2/keypoint_rcnn_R_50_FPN.pkl": lambda w: detectron2(
        mask=False, keypoints=True, classes=1, w=w
    ),
    "mmdet/mask-rcnn_r50_fpn.pth": lambda w: mmdet(classes=6, w=w),
    "mmdet/mask-rcnn_r50-caffe_fpn.pth": lambda w: mmdet(classes=6, caffe=True, w=w),
    "mmdet/mask-rcnn_r50-caffe-c4.pth": lambda w: mmdet(
        features="c4", classes=6, sizes=4, caffe=True, w=w
    ),
    "mmdet/mask-rcnn_x101-32x4d_fpn.pth": lambda w: mmdet(classes=6, groups=4, base=32, w=w),
    "matterport/mask_rcnn_resnet50.h5": lambda w: matterport(50, classes=6, w=w),
    "matterport/mask_rcnn_resnet101.h5": lambda w: matterport(101, classes=6, w=w),
    "torchvision/maskrcnn_v2.pth": lambda w: torchvision(classes=7, v2=True, w=w),
}


def read(file):
    return from_arrays(pathlib.Path(f"{file.name}.pth"), file.arrays())


@pytest.mark.parametrize("name", RECORDED)
def test_the_generator_makes_what_the_systems_wrote(goldens, name):
    """Names and shapes of the recordings, which the systems' own code wrote."""
    if name.endswith(".h5"):
        pytest.importorskip("h5py")
    theirs = read_weights(goldens / name)
    made = {n: getattr(s, "shape", s) for n, s in RECORDED[name](NARROW).items()}
    if "anchor_generator" not in " ".join(theirs) or "syncbn" in name:
        made = {n: s for n, s in made.items() if "anchor_generator" not in n or n in theirs}
    assert made == {n: a.shape for n, a in theirs.items()}


def test_there_are_as_many_as_are_published():
    runs = [file for file in DETECTRON2 if file.title]
    assert (len(DETECTRON2), len(runs), len(MMDET)) == (64, 46, 57)
    assert len(TORCHVISION) + len(MATTERPORT) == 10
    assert len({file.name for file in FILES}) == len(FILES)


@pytest.mark.parametrize("file", [f for f in FILES if f.title], ids=lambda f: f.name)
def test_it_is_recognised(file):
    source = read(file)
    assert source.config is not None, source.words
    assert (source.system, source.convention) == (file.system, file.convention)
    if file.system == "torchvision":
        assert source.config["model"] == file.title
        assert source.config["num_classes"] == file.classes + 1
        assert source.norm_eps == (0.0 if file.options else 1e-5) or "v2" in file.name
    else:
        assert f"{file.system}, {file.title}" in source.words
        assert len(source.classes or range(source.config["num_classes"] - 1)) == file.classes
    assert file.options.items() <= source.config.items()
    json.dumps(source.config)


@pytest.mark.parametrize("file", [f for f in FILES if not f.title], ids=lambda f: f.name)
def test_another_network_is_refused_by_name(file):
    source = read(file)
    assert source.config is None
    assert file.refused in source.words and len(source.words) < 160


@pytest.mark.parametrize("file", BODIES, ids=lambda f: f.name)
def test_a_body_is_recognised(file):
    source = read(file)
    assert (source.system, source.convention) == (file.system, file.convention)
    assert f"a {file.title} " in source.words and "--backbone-weights" in source.words


def architectures():
    """Of files with the same shapes one."""
    chosen = {}
    for file in FILES:
        if file.title:
            shapes = tuple(sorted((n, a.shape) for n, a in file.arrays().items()))
            chosen.setdefault(shapes, file)
    return list(chosen.values())


def built():
    every = os.environ.get("MINIMASK_PUBLISHED") == "all"
    return architectures() if every else [f for f in FILES if f.name in SHORT]


@pytest.mark.parametrize("file", built(), ids=lambda f: f.name)
def test_it_fits_its_network(file):
    source = read(file)
    model = models.build(source.config)
    assert explain({n: a.shape for n, a in model.state_dict().items()}, source.shapes) == ""


def test_the_table_in_the_docs_is_what_is_read():
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "weights.md"
    text = page.read_text()
    missing = [line for line in table() if line not in text]
    assert not missing, f"{missing[:3]}: write them with python tests/weights/published_files.py"
