"""Files of weights: equal in every format, refused when unsafe, damaged or of another network."""

import os
import pathlib
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from made_files import Call, Storage, pickled, tensor, write_legacy, write_zip
from safetensors.numpy import save_file

import minimask as mm
from minimask.weights import UnsafeFileError, load_weights, read_weights
from minimask.weights.systems.torchvision import current_name

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens"
ZIP, LEGACY = GOLDENS / "maskrcnn.pth", GOLDENS / "maskrcnn_legacy.pth"
NARROW = {
    "num_classes": 7, "layers": (1, 1, 1, 1), "expansion": 1, "width_per_group": 16,
    "fpn_channels": 32, "box_head_width": 64, "mask_head_channels": (32,) * 4,
    "mask_predictor_channels": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def weights():
    return read_weights(GOLDENS / "maskrcnn.safetensors")


# --- formats ------------------------------------------------------------------------------------


def test_the_zip_file_has_the_same_arrays(weights):
    arrays = read_weights(ZIP)
    assert arrays.keys() == weights.keys()
    for name, array in arrays.items():
        assert array.dtype == weights[name].dtype and array.shape == weights[name].shape
        np.testing.assert_array_equal(array, weights[name])
        assert array.flags.owndata and array.flags.c_contiguous


def test_the_legacy_file_has_them_under_older_names(weights):
    arrays = {current_name(name): array for name, array in read_weights(LEGACY).items()}
    counters = {name for name in weights if name.endswith("num_batches_tracked")}
    assert arrays.keys() == weights.keys() - counters
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, weights[name])


@pytest.mark.parametrize("norm", ["batch", "frozen_batch"])
@pytest.mark.parametrize("kind", ["pth", "legacy", "safetensors", "npz"])
def test_every_format_loads_into_trained_and_frozen_norms(weights, tmp_path, kind, norm):
    path = {"pth": ZIP, "legacy": LEGACY, "safetensors": GOLDENS / "maskrcnn.safetensors"}.get(kind)
    if path is None:
        path = tmp_path / "weights.npz"
        np.savez(path, **weights)
    model = mm.models.mask_rcnn(**NARROW, norm=norm)
    load_weights(model, path)
    for name, array in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(array, weights[name], err_msg=name)


def test_old_and_new_names():
    cases = {
        "rpn.head.conv.weight": "rpn.head.conv.0.0.weight",
        "backbone.fpn.inner_blocks.2.bias": "backbone.fpn.inner_blocks.2.0.bias",
        "backbone.fpn.layer_blocks.0.weight": "backbone.fpn.layer_blocks.0.0.weight",
        "roi_heads.mask_head.mask_fcn4.bias": "roi_heads.mask_head.3.0.bias",
        "module.backbone.body.conv1.weight": "backbone.body.conv1.weight",
    }
    for old, new in cases.items():
        assert current_name(old) == new
        assert current_name(new) == new
    assert current_name("rpn.head.cls_logits.weight") == "rpn.head.cls_logits.weight"


SIX = np.arange(6, dtype="<f4")


def test_strides_offsets_and_shared_storages(tmp_path):
    storage = Storage("FloatStorage", "0", 6)
    content = {
        "rows": tensor(storage, (2, 3), (3, 1)),
        "transposed": tensor(storage, (3, 2), (1, 3)),
        "part": tensor(storage, (2,), (2,), offset=1),
        "number": tensor(storage, (), (), offset=5),
        "nothing": tensor(storage, (0, 3), (3, 1)),
        "wrapped": Call("torch._utils", "_rebuild_parameter", tensor(storage, (6,), (1,)), True, 0),
    }
    for path in (
        write_zip(tmp_path / "a.pth", content, {"0": SIX.tobytes()}),
        write_legacy(
            tmp_path / "b.pth",
            {
                **{k: v for k, v in content.items() if k != "wrapped"},
            },
            {"0": (6, SIX.tobytes())},
        ),
    ):
        arrays = read_weights(path)
        np.testing.assert_array_equal(arrays["rows"], SIX.reshape(2, 3))
        np.testing.assert_array_equal(arrays["transposed"], SIX.reshape(2, 3).T)
        np.testing.assert_array_equal(arrays["part"], [1, 3])
        assert arrays["number"] == 5 and arrays["number"].shape == ()
        assert arrays["nothing"].shape == (0, 3)
        arrays["rows"][:] = -1
        assert arrays["transposed"].max() == 5  # sharing a storage is not kept


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        ("HalfStorage", np.array([1.5, -2], "<f2").tobytes(), np.array([1.5, -2], np.float16)),
        ("BFloat16Storage", b"\x80\x3f\x40\xc0", np.array([1, -3], np.float32)),
        ("DoubleStorage", np.array([1e300, 2], "<f8").tobytes(), np.array([1e300, 2])),
        ("LongStorage", np.array([-1, 2**40], "<i8").tobytes(), np.array([-1, 2**40])),
        ("ByteStorage", b"\x01\xff", np.array([1, 255], np.uint8)),
        ("BoolStorage", b"\x01\x00", np.array([True, False])),
    ],
)
def test_types(tmp_path, kind, raw, expected):
    content = {"x": tensor(Storage(kind, "0", 2), (2,), (1,))}
    array = read_weights(write_zip(tmp_path / "x.pth", content, {"0": raw}))["x"]
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_big_endian_files(tmp_path):
    content = {"x": tensor(Storage("FloatStorage", "0", 6), (6,), (1,))}
    raw = SIX.astype(">f4").tobytes()
    path = write_zip(tmp_path / "x.pth", content, {"0": raw}, byteorder=b"big")
    np.testing.assert_array_equal(read_weights(path)["x"], SIX)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_checkpoints_are_opened(tmp_path, key):
    content = {key: {"x": tensor(Storage("FloatStorage", "0", 6), (6,), (1,))}, "epoch": 3}
    path = write_zip(tmp_path / "x.pth", content, {"0": SIX.tobytes()})
    assert list(read_weights(path)) == ["x"]


# --- what is refused ------------------------------------------------------------------------------

ONE = Storage("FloatStorage", "0", 6)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch._utils", "os"),
        ("numpy", "load"),
        ("collections", "namedtuple"),
    ],
)
@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_a_file_that_calls_something_is_refused_and_nothing_runs(tmp_path, module, name, layout):
    marker = tmp_path / "marker"
    content = {"x": Call(module, name, f"touch {marker}")}
    if layout == "zip":
        path = write_zip(tmp_path / "evil.pth", content, {})
    else:
        path = write_legacy(tmp_path / "evil.pth", content, {})
    with pytest.raises(UnsafeFileError, match=rf"evil.pth: the file asks for {module}\.{name}"):
        read_weights(path)
    assert not marker.exists()


def test_a_pickled_command_really_would_run_otherwise(tmp_path):
    """The tests above would prove nothing if their files were harmless."""
    marker = tmp_path / "marker"
    pickle.loads(pickled({"x": Call("os", "system", f"touch {marker}")}))
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": tensor(ONE, (7,), (1,))}, "a tensor of shape"),
        ({"x": tensor(ONE, (2, 3), (4, 1))}, "a tensor that ends at 6 of 6"),
        ({"x": tensor(ONE, (3,), (1,), offset=4)}, "a tensor that ends at 6 of 6"),
        ({"x": tensor(ONE, (3,), (-1,), offset=4)}, "a tensor with offset"),
        ({"x": tensor(ONE, (3,), (1,), offset=-1)}, "a tensor with offset"),
        ({"x": tensor(ONE, (10**9, 10**9), (0, 0))}, "a tensor of shape"),
        ({"x": tensor(ONE, ("3",), (1,))}, "a tensor with offset"),
        ({"x": tensor("no storage", (3,), (1,))}, "a tensor without a storage"),
        ({"x": tensor(Storage("FloatStorage", "0", -6), (3,), (1,))}, "unknown type or size"),
        ({"x": tensor(Storage("FloatStorage", "0", 10**12), (3,), (1,))}, "expected 4000000000000"),
        ({"x": tensor(Storage("FloatStorage", "9", 6), (3,), (1,))}, "data/9: expected 24 bytes"),
        ({"x": 3}, "it holds none: 'x' is int"),
        ([1, 2], "expected a dict of tensors, got list"),
    ],
)
def test_descriptions_that_cannot_be_true(tmp_path, content, message):
    path = write_zip(tmp_path / "x.pth", content, {"0": SIX.tobytes()})
    with pytest.raises(ValueError, match=message):
        read_weights(path)


def test_compressed_members_are_refused(tmp_path):
    content = {"x": tensor(ONE, (6,), (1,))}
    path = write_zip(
        tmp_path / "x.pth", content, {"0": SIX.tobytes()}, compression=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(UnsafeFileError, match="is compressed"):
        read_weights(path)


@pytest.mark.parametrize("source", [ZIP, LEGACY, GOLDENS / "maskrcnn.safetensors"])
def test_truncated_and_damaged_files_are_value_errors(tmp_path, source):
    """Cut off or with bytes changed in its first kilobytes: a sentence, never another exception."""
    raw = source.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(30):
        damaged = bytearray(raw[: int(rng.integers(1, 60_000))] if i % 2 else raw[:200_000])
        if i % 2 == 0:
            for at in rng.integers(0, 9_000, 5):
                damaged[at % len(damaged)] ^= int(rng.integers(1, 256))
        path = tmp_path / f"damaged{source.suffix}"
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"damaged{source.suffix}: "):
            read_weights(path)
        refused += 1
    assert refused == 30


def test_damage_inside_the_archive_is_noticed(tmp_path):
    raw = bytearray(ZIP.read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "x.pth").write_bytes(raw)
    with pytest.raises(ValueError, match="damaged archive: Bad CRC-32"):
        read_weights(tmp_path / "x.pth")


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of weights"):
        read_weights(tmp_path / "missing.pth")
    (tmp_path / "x.onnx").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"x.onnx: plain text; expected a file of weights"):
        read_weights(tmp_path / "x.onnx")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ValueError, match=r"text.pth: "):
        read_weights(tmp_path / "text.pth")
    with tarfile.open(tmp_path / "tar.pth", "w") as archive:
        archive.add(__file__, arcname=os.path.basename(__file__))
    with pytest.raises(ValueError, match=r"the tar layout of torch before 0.1.10 is not"):
        read_weights(tmp_path / "tar.pth")


def test_npz_files_with_objects_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickled Python objects, which are never loaded"):
        read_weights(tmp_path / "x.npz")
    with open(tmp_path / "z.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"z.npz: a single array"):
        read_weights(tmp_path / "z.npz")
    (tmp_path / "y.npz").write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(ValueError, match=r"y.npz: damaged archive"):
        read_weights(tmp_path / "y.npz")


def test_weights_of_another_network_change_nothing(weights, tmp_path):
    other = dict(weights)
    del other["rpn.head.cls_logits.bias"]
    other["backbone.body.conv9.weight"] = np.zeros(3, np.float32)
    other["roi_heads.box_predictor.cls_score.weight"] = np.zeros((91, 64), np.float32)
    save_file(other, tmp_path / "other.safetensors")
    model = mm.models.mask_rcnn(**NARROW)
    before = model.state_dict()
    with pytest.raises(ValueError) as caught:
        load_weights(model, tmp_path / "other.safetensors")
    for part in (
        "other.safetensors: MaskRCNN",
        "missing rpn.head.cls_logits.bias (3,)",
        "unexpected backbone.body.conv9.weight (3,)",
        "cls_score.weight is (7, 64) here, (91, 64) in the file",
    ):
        assert part in str(caught.value)
    after = model.state_dict()
    assert all((before[n] == after[n]).all() for n in before)


def test_saved_weights_come_back_bit_for_bit(tmp_path):
    from minimask.models import maskrcnn_laptop
    from minimask.weights import save_weights

    model, other = maskrcnn_laptop(["a"], seed=1), maskrcnn_laptop(["a"], seed=2)
    save_weights(model, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
    with pytest.raises(ValueError, match=r"saved as \.safetensors or \.npz, not '\.pth'"):
        save_weights(model, tmp_path / "weights.pth")
