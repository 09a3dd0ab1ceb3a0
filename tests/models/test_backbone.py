"""A user's own backbone: what it must give, and all that a model on it can do."""

import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minimask as mm
from minimask import functional as F
from minimask import models
from minimask.autograd import Tensor, ops
from minimask.conventions import EXACT
from minimask.data import Shapes
from minimask.models import FasterRCNN, MaskRCNN, Target, backbone
from minimask.models.anchors import AnchorGenerator
from minimask.models.box_head import BoxHead, BoxPredictor
from minimask.models.mask_head import MaskHead, MaskPredictor
from minimask.models.roi_heads import RoIHeads
from minimask.models.rpn import RPN, RPNHead
from minimask.nn import Conv2d, Module
from minimask.train.loop import train
from minimask.train.run import open_run
from minimask.train.settings import TrainSettings

ROOT = pathlib.Path(mm.__file__).resolve().parent.parent
CLASSES = ("circle", "square")
SIZES = {
    "anchor_sizes": [[12, 24], [32, 48]],  # of the two maps
    "box_head_width": 16,
    "mask_head_channels": (8,),
    "mask_predictor_channels": 8,
    "min_size": None,
    "rpn_post_nms_top_n_train": 30,
    "rpn_post_nms_top_n_test": 20,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 5,
}
OWN = '''
import numpy as np
from minimask import functional as F
from minimask.models import register_backbone
from minimask.nn import Conv2d, Module

class Own(Module):
    """Two maps, strides 8 and 16."""

    channels = 12

    def __init__(self, rng):
        self.stem = Conv2d(3, 12, 8, stride=8, padding=0, rng=rng)
        self.deeper = Conv2d(12, 12, 3, stride=2, padding=1, rng=rng)

    def forward(self, images):
        fine = F.relu(self.stem(images))
        return [fine, F.relu(self.deeper(fine))]

register_backbone("own", Own)
'''


class Own(Module):
    """Two maps, strides 8 and 16."""

    channels = 12

    def __init__(self, rng):
        self.stem = Conv2d(3, 12, 8, stride=8, padding=0, rng=rng)
        self.deeper = Conv2d(12, 12, 3, stride=2, padding=1, rng=rng)

    def forward(self, images):
        fine = F.relu(self.stem(images))
        return [fine, F.relu(self.deeper(fine))]


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(backbone, "BACKBONES", {})
    models.register_backbone("own", Own)


@pytest.fixture(scope="module")
def shapes():
    return Shapes(count=4, size=64, seed=3, classes=CLASSES)


def own_model(**options):
    return models.mask_rcnn(classes=CLASSES, backbone="own", **{**SIZES, **options})


def lesson(shapes):
    samples = [shapes[i] for i in range(2)]
    return [s.image for s in samples], [Target(s.boxes, s.labels, s.masks) for s in samples]


def check_all_it_can_do(model, shapes, masks=True):
    """Losses with gradients in every parameter, a prediction, its stages and proposals."""
    images, targets = lesson(shapes)
    losses = model.losses(images, targets, rng=np.random.default_rng(0))
    assert len(losses) == 4 + masks
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert any(n.startswith("backbone.stem") for n, _ in model.named_parameters())
    (found,) = model.predict(images[:1])
    assert len(found) > 0 and (found.mask_probs is not None) == masks
    stages = dict(model.stages(images[0]))
    assert stages["rpn/objectness/1"].shape[2:] == (4, 4) and "rpn/objectness/2" not in stages
    np.testing.assert_array_equal(stages["out/boxes"], found.boxes)
    assert [p.shape[1] for p in model.propose(images)] == [4, 4]


def test_a_model_on_it_learns_predicts_and_shows_its_stages(registered, shapes):
    model = own_model()
    assert isinstance(model.backbone, Own)
    assert model.rpn.anchor_generator.per_cell == 2 * 3
    check_all_it_can_do(model, shapes)


def test_it_is_built_again_from_its_config(registered):
    model = own_model(seed=4)
    again = models.build(model.config)
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)
    drawn = own_model(seed=5).state_dict()["backbone.stem.weight"]
    assert (drawn != ours["backbone.stem.weight"]).any()


def test_a_run_is_opened_where_the_name_is_registered_and_nowhere_else(
    registered, shapes, tmp_path, monkeypatch
):
    model, out = own_model(), tmp_path / "run"
    before = model.state_dict()["backbone.stem.weight"]
    train(model, shapes, TrainSettings(steps=2, batch=2, ema=0, warmup=0), out, progress=False)
    after = model.state_dict()["backbone.stem.weight"]
    assert (before != after).any()
    opened = open_run(out).model
    np.testing.assert_array_equal(opened.state_dict()["backbone.stem.weight"], after)
    (found,) = opened.predict([shapes[0].image])

    (tmp_path / "own.py").write_text(OWN)
    code = f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]
        import own
        from minimask.data import Shapes
        from minimask.train.run import open_run
        image = Shapes(count=4, size=64, seed=3, classes={CLASSES!r})[0].image
        (found,) = open_run({str(out)!r}).model.predict([image])
        print(found.scores.tolist())
    """
    elsewhere = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert elsewhere.stdout.strip() == str(found.scores.tolist())

    monkeypatch.setattr(backbone, "BACKBONES", {})
    with pytest.raises(
        ValueError, match=r"'own' is none of resnet, vgg.*; if it is your own, import the"
    ):
        open_run(out)


def test_a_name_is_registered_once(registered):
    for name in ("own", "resnet"):
        with pytest.raises(ValueError, match=f"{name!r} is registered already"):
            models.register_backbone(name, Own)


# --- what it lacks is said when the model is built -----------------------------------------------


def gives(*shapes, channels=12):
    """A backbone whose maps have these shapes."""

    class Gives(Module):
        def forward(self, images):
            return [Tensor(np.zeros((1, *shape), np.float32)) for shape in shapes]

    made = Gives()
    if channels is not None:
        made.channels = channels
    return made


class OneTensor(Module):
    channels = 12

    def forward(self, images):
        return ops.max(images)


class Mixed(Module):
    channels = 12

    def forward(self, images):
        return [Tensor(np.zeros((1, 12, 16, 16), np.float32)), np.zeros((1, 12, 8, 8))]


LACKING = [
    (
        gives((12, 16, 16), (12, 8, 8), channels=None),
        "int attribute `channels`.*got Gives with None",
    ),
    (
        gives((12, 16, 16), (12, 8, 8), channels="12"),
        "int attribute `channels`.*got Gives with '12'",
    ),
    (gives((12, 16, 16), (10, 8, 8)), r"feature map 1 of a 128 x 128 image should.*\(1, 12,"),
    (gives((12, 16, 16), (12, 8)), "feature map 1 .* should have the shape"),
    (gives((12, 16, 12), (12, 8, 8)), "feature map 0 .* should have the shape"),
    (gives((12, 24, 24), (12, 8, 8)), "feature map 0 .* power of two"),
    (gives((12, 0, 0), (12, 8, 8)), "feature map 0 .* should have the shape"),
    (gives((12, 8, 8), (12, 16, 16)), r"must come finest first, got sides \[8, 16\]"),
    (gives((12, 16, 16), (12, 16, 16)), r"must come finest first, got sides \[16, 16\]"),
    (gives(), "must return a list of Tensors, got list of nothing"),
    (OneTensor(), "must return a list of Tensors, got Tensor"),
    (Mixed(), "must return a list of Tensors, got list of Tensor, ndarray"),
    (lambda images: [images], "expected a minimask.nn.Module .* got function"),
]


@pytest.mark.parametrize(("made", "message"), LACKING, ids=range(len(LACKING)))
def test_what_a_registered_one_lacks_is_said_when_the_model_is_built(made, message, monkeypatch):
    monkeypatch.setattr(backbone, "BACKBONES", {})
    models.register_backbone("lacking", lambda rng: made)
    with pytest.raises(ValueError, match=rf"lacking: .*{message}"):
        models.mask_rcnn(classes=CLASSES, backbone="lacking", **SIZES)


@pytest.mark.parametrize(("made", "message"), LACKING, ids=range(len(LACKING)))
def test_what_one_put_in_by_hand_lacks_is_said_too(made, message):
    with pytest.raises(ValueError, match=rf"backbone: .*{message}"):
        by_hand(made)


def test_maps_and_anchor_sizes_must_be_as_many(registered):
    with pytest.raises(ValueError, match="gives 2 feature maps, but anchor_sizes has 3 entries"):
        own_model(anchor_sizes=[8, 16, 32])
    with pytest.raises(ValueError, match="'c4' is of bodies, not of 'own'"):
        own_model(features="c4")


def test_looking_at_it_leaves_its_mode_alone():
    own = Own(np.random.default_rng(0))
    backbone.check_backbone(own, maps=2)
    assert own.training
    own.eval()
    backbone.check_backbone(own, maps=2)
    assert not own.training


# --- put together by hand -------------------------------------------------------------------------


def by_hand(own, masks=False):
    rng = np.random.default_rng(0)
    anchors = AnchorGenerator([[12, 24], [32, 48]])
    rpn = RPN(RPNHead(12, anchors.per_cell, rng), anchors, EXACT, post_nms_top_n_test=20)
    heads = {
        "box_head": BoxHead(12 * 7 * 7, 16, rng),
        "box_predictor": BoxPredictor(16, 3, 3, rng),
    }
    if masks:
        heads["mask_head"] = MaskHead(12, (8,), rng)
        heads["mask_predictor"] = MaskPredictor(8, 8, 3, rng)
    roi_heads = RoIHeads(**heads, num_classes=3, convention=EXACT, score_thresh=0.0)
    kind = MaskRCNN if masks else FasterRCNN
    return kind(own, rpn, roi_heads, classes=CLASSES, convention=EXACT, min_size=None)


@pytest.mark.parametrize("masks", [False, True])
def test_a_model_put_together_by_hand_can_do_the_same(shapes, masks):
    model = by_hand(Own(np.random.default_rng(1)), masks)
    check_all_it_can_do(model, shapes, masks)


def test_a_run_of_a_model_put_together_by_hand_says_how_to_get_its_weights(shapes, tmp_path):
    model, out = by_hand(Own(np.random.default_rng(1)), masks=True), tmp_path / "run"
    settings = TrainSettings(steps=2, batch=2, ema=0, warmup=0)
    train(model, shapes, settings, out, progress=False)
    with pytest.raises(ValueError, match=r"put together by hand.*mm\.load_weights\(model, "):
        open_run(out)
    again = by_hand(Own(np.random.default_rng(2)), masks=True)
    mm.load_weights(again, out / "model.safetensors")
    ours, theirs = model.state_dict(), again.state_dict()
    assert all((ours[name] == theirs[name]).all() for name in ours)
