"""What the readers of weights find: in every container, under any name, beside other things."""

import collections
import pickle
import struct

import numpy as np
import pytest
from made_files import Call, Global, Storage, keras, pickled, tensor, write_legacy, write_zip
from safetensors.numpy import save_file

import minimask as mm
from minimask.weights import UnsafeFileError, load_weights, read_source, read_weights
from minimask.weights.files import read_contents
from minimask.weights.source import check_values

SIX = np.arange(6, dtype="<f4")
ONE = Storage("FloatStorage", "0", 6)
GOOD = tensor(ONE, (6,), (1,))


def small(path, content):
    return write_zip(path, content, {"0": SIX.tobytes()})


# --- pickles of arrays ----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_pickled_arrays(tmp_path, protocol, core, wrapped):
    rng = np.random.default_rng(0)
    arrays = {
        "conv.weight": rng.standard_normal((20, 30, 3, 3)).astype(np.float32),  # a long string
        "conv.bias": rng.standard_normal(4).astype(np.float32),
        "number": np.array(3.5),
        "nothing": np.zeros((0, 3), np.float32),
        "columns": np.asfortranarray(rng.standard_normal((3, 5))),
        "big_endian": rng.standard_normal(5).astype(">f4"),
        "half": rng.standard_normal(5).astype(np.float16),
        "count": np.arange(3),
    }
    content = {"model": arrays, "__author__": "someone"} if wrapped else arrays
    raw = pickle.dumps(content, protocol)
    if protocol < 4:  # from 4 on the length of names is counted
        raw = raw.replace(b"numpy._core", core)
    elif core == b"numpy.core":
        pytest.skip("its names are counted")
    path = tmp_path / "weights"
    path.write_bytes(raw)
    found = read_contents(path)
    assert found.kind == "pickle" and not [r for r in found.remarks if "not built" in r]
    assert list(found.arrays) == list(arrays)
    for name, array in found.arrays.items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.shape == arrays[name].shape
        assert array.dtype == arrays[name].dtype.newbyteorder("=")
        assert array.flags.c_contiguous and array.flags.writeable


def python2_string(raw):
    return (
        b"U" + bytes([len(raw)]) + raw
        if len(raw) < 256
        else b"T" + struct.pack("<I", len(raw)) + raw
    )


@pytest.mark.parametrize("blobs", [True, False])
def test_files_of_python_2(tmp_path, blobs):
    """Text and numbers are the same kind of string there; so are the names of the arrays."""
    numbers = np.random.default_rng(1).standard_normal(200).astype("<f4")
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\xc8tcnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + python2_string(numbers.tobytes())
        + b"tb"
    )
    code = b"}" + python2_string(b"conv1_w") + array + b"s"
    if blobs:
        code = b"}" + python2_string(b"blobs") + code + b"s"
    path = tmp_path / "R-50.pkl"
    path.write_bytes(b"\x80\x02" + code + b".")
    np.testing.assert_array_equal(read_weights(path)["conv1_w"], numbers)


def test_an_ordered_dict_of_python_2(tmp_path):
    """Its keys and values are arguments of the call, as lists of two."""
    content = Call("collections", "OrderedDict", [["x", GOOD], ["y", GOOD]])
    assert list(read_weights(small(tmp_path / "x", content))) == ["x", "y"]


# --- what is beside the tensors -------------------------------------------------------------------

BESIDE = {
    "args": Call("argparse", "Namespace"),
    "counter": Call("collections", "Counter", {1: 2}),
    "time": Call("datetime", "datetime", b"\x07\xe8\x01\x01\0\0\0\0\0\0"),
    "path": Call("pathlib", "PosixPath", "/", "a"),
    "size": Call("torch", "Size", (1, 2)),
    "device": Call("torch", "device", "cuda", 0),
    "dtype": Global("torch", "float16"),
    "history": Call("mmengine.logging.history_buffer", "HistoryBuffer"),
    "scalar": Call(
        "numpy.core.multiarray", "scalar", Call("numpy", "dtype", "f8", 0, 1), b"12345678"
    ),
    "own": Call("my_project.models", "Net"),
    "set": Call("builtins", "set", [1, 2]),
}


@pytest.mark.parametrize("writer", ["zip", "legacy"])
def test_things_beside_the_tensors_stay_closed_and_are_named_once(tmp_path, writer):
    content = {"state_dict": {"x": GOOD, "y": GOOD}, "epoch": 3, **BESIDE, "again": BESIDE["own"]}
    path = tmp_path / "checkpoint"
    if writer == "zip":
        small(path, content)
    else:
        write_legacy(path, content, {"0": (6, SIX.tobytes())})
    found = read_contents(path)
    assert list(found.arrays) == ["x", "y"]
    words = " ".join(found.remarks)
    for name in ("argparse.Namespace", "collections.Counter", "datetime.datetime", "torch.device"):
        assert words.count(name) == 1
    assert words.count("my_project.models.Net") == 1 and words.count("HistoryBuffer") == 1
    assert "torch.Size" not in words  # only a tuple


def test_numbers_among_the_tensors_are_left_out(tmp_path):
    found = read_contents(small(tmp_path / "x", {"x": GOOD, "epoch": 3, "note": "a", "l": [1]}))
    assert list(found.arrays) == ["x"]
    assert "epoch, note, l beside the weights" in found.remarks[0]


@pytest.mark.parametrize(
    "key", ["state_dict", "model", "model_state_dict", "weights", "net", "blobs", "params_ema"]
)
def test_the_dict_of_tensors_is_found(tmp_path, key):
    optimizer = {"state": {0: {"momentum_buffer": GOOD}}, "param_groups": [{"lr": 0.1}]}
    content = {"epoch": 3, key: {"x": GOOD}, "optimizer": optimizer}
    assert list(read_weights(small(tmp_path / "x", content))) == ["x"]
    assert list(read_weights(small(tmp_path / "x", {"model": content}))) == ["x"]


def test_of_several_dicts_none_is_guessed(tmp_path):
    path = small(tmp_path / "x", {"student": {"x": GOOD}, "teacher": {"x": GOOD}})
    with pytest.raises(ValueError, match="several dicts of tensors, student, teacher"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            Call("torchvision.models.resnet", "ResNet"),
            r"asks for torchvision\.models\.resnet\.ResNet",
        ),
        ({"model": Call("my.net", "Net"), "epoch": 1}, r"asks for my\.net\.Net.*state_dict\(\)"),
        (
            {"x": GOOD, "y": Call("torch._utils", "_rebuild_sparse_tensor", 1)},
            "y is a sparse tensor",
        ),
        ({"x": GOOD, "y": Call("torch._utils", "_rebuild_qtensor", 1)}, "y is a quantized tensor"),
        ({"y": Call("torch._utils", "_rebuild_meta_tensor_no_storage", 1)}, "y is a meta tensor"),
        (GOOD, "a single one without a name"),
        ({}, "an empty one"),
    ],
)
def test_what_is_no_dict_of_tensors_is_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_weights(small(tmp_path / "x", content))


@pytest.mark.parametrize("mark", ["neg", "conj"])
def test_tensors_that_stand_for_their_negative(tmp_path, mark):
    marked = Call("torch._utils", "_rebuild_tensor_v2", ONE, 0, (6,), (1,), False, {}, {mark: True})
    with pytest.raises(UnsafeFileError, match=r"x is marked as negated or conjugated.*resolve_neg"):
        read_weights(small(tmp_path / "x", {"x": marked}))


def test_tensors_whose_type_comes_last(tmp_path):
    """torch's kinds of numbers that have no storage of their own."""
    stored = Storage("UntypedStorage", "0", 24)
    rebuild = ("torch._utils", "_rebuild_tensor_v3", stored, 0, (6,), (1,), False, {})
    path = small(tmp_path / "x", {"x": Call(*rebuild, Global("torch", "uint32"))})
    np.testing.assert_array_equal(read_weights(path)["x"], SIX.view(np.uint32))
    path = small(tmp_path / "x", {"x": Call(*rebuild, Global("torch", "float8_e4m3fn"))})
    with pytest.raises(UnsafeFileError, match="x holds float8_e4m3fn numbers; save it as float32"):
        read_weights(path)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", ""])
def test_prefixes_that_all_names_share_go(tmp_path, prefix):
    names = ("backbone.conv.weight", "rpn.weight")
    save_file({prefix + n: SIX for n in names}, tmp_path / "x")
    assert set(read_source(tmp_path / "x").arrays) == set(names)
    assert set(read_weights(tmp_path / "x")) == {prefix + n for n in names}


@pytest.mark.parametrize("names", [("model.a", "b.model.c"), ("model.0.conv", "model.1.conv")])
def test_other_prefixes_stay(tmp_path, names):
    save_file(dict.fromkeys(names, SIX), tmp_path / "x")
    assert set(read_source(tmp_path / "x").arrays) == set(names)


@pytest.mark.parametrize("ending", [".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".npz", ".h5", ""])
def test_the_ending_does_not_matter(tmp_path, ending):
    path = tmp_path / f"weights{ending}"

    def archive(save):
        with path.open("wb") as file:  # of a path, NumPy changes the ending
            save(file, x=SIX)

    for write in (
        lambda: small(path, {"x": GOOD}),
        lambda: write_legacy(path, {"x": GOOD}, {"0": (6, SIX.tobytes())}),
        lambda: save_file({"x": SIX}, path),
        lambda: path.write_bytes(pickle.dumps({"x": SIX})),
        lambda: archive(np.savez),
        lambda: archive(np.savez_compressed),
    ):
        write()
        np.testing.assert_array_equal(read_weights(path)["x"], SIX)


# --- Keras ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_keras_weights_are_named_by_layer_and_weight(tmp_path, whole):
    h5py = pytest.importorskip("h5py")
    arrays = {"res2a_branch2a/kernel:0": SIX.reshape(1, 1, 2, 3), "bn/gamma:0": SIX[:2]}
    path = keras(tmp_path / "x.h5", arrays)
    with h5py.File(path, "a") as file:
        file.create_group("rpn_model")["rpn_conv_shared/kernel:0"] = SIX
        file["rpn_model"]["rpn_class_raw/bias:0"] = SIX.astype(">f8")
        file.create_group("activation")
        if whole:
            for name in list(file):
                file.move(name, f"model_weights/{name}")
            file["optimizer_weights/x:0"] = SIX
    found = read_contents(path)
    nested = {"rpn_conv_shared/kernel:0", "rpn_class_raw/bias:0"}
    assert found.kind == "hdf5" and found.arrays.keys() == {*arrays, *nested}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert found.arrays["rpn_class_raw/bias:0"].dtype == np.float64
    np.testing.assert_array_equal(found.arrays["rpn_class_raw/bias:0"], SIX)


def test_matterports_recorded_file(shared):
    pytest.importorskip("h5py")
    found = read_weights(shared / "goldens" / "matterport" / "mask_rcnn_resnet50.h5")
    assert len(found) == 384 and found["rpn_conv_shared/kernel:0"].shape == (3, 3, 16, 32)


# --- numbers --------------------------------------------------------------------------------------


def test_bfloat16_of_safetensors_is_widened(tmp_path):
    header = b'{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    raw = struct.pack("<Q", len(header)) + header + b"\x80\x3f\x40\xc0"
    (tmp_path / "x").write_bytes(raw)
    found = read_weights(tmp_path / "x")["x"]
    assert found.dtype == np.float32 and found.tolist() == [1, -3]


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        *(
            ("conv.weight", np.ones(2, dtype), f"conv.weight holds {np.dtype(dtype)} numbers")
            for dtype in (np.int8, np.uint8, np.int64, bool, np.complex64)
        ),
        ("conv.weight", np.array([1, np.nan, 2], np.float32), "1 of 3 values that are NaN or inf"),
        ("conv.weight", np.array([np.inf], np.float16), "1 of 1 values"),
        ("conv.weight", np.array([1e300]), "1 of 1 values"),
        ("bn.running_var", np.array([1, -1], np.float32), "negative variances"),
    ],
)
def test_numbers_that_no_network_has(name, array, message):
    with pytest.raises(ValueError, match=f"file: .*{message}"):
        check_values("file", {name: array, "bn.num_batches_tracked": np.array(3)}, [name])


@pytest.mark.parametrize("door", ["load", "transfer", "backbone", "run"])
def test_every_door_refuses_them(tmp_path, door):
    from minimask.train.run import _filled
    from minimask.weights import transfer_backbone, transfer_weights

    model = mm.models.maskrcnn_laptop(["a"])
    arrays = model.state_dict()
    arrays["backbone.body.conv1.weight"] = arrays["backbone.body.conv1.weight"].astype(np.int8)
    path = tmp_path / "x.safetensors"
    save_file(arrays, path)
    doors = {
        "load": lambda: load_weights(model, path),
        "transfer": lambda: transfer_weights(model, path),
        "backbone": lambda: transfer_backbone(model, path),
        "run": lambda: _filled(model.config, arrays, path, None),
    }
    with pytest.raises(ValueError, match=r"x\.safetensors: .*conv1\.weight holds int8 numbers"):
        doors[door]()


def test_the_memory_of_arrays_is_their_own(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(pickle.dumps(collections.OrderedDict(x=SIX, y=SIX)))
    found = read_weights(path)
    found["x"][:] = 7
    np.testing.assert_array_equal(found["y"], SIX)


def test_pickled_by_hand_is_what_pickle_writes():
    assert pickle.loads(pickled({"a": [1, (2, 3)]})) == {"a": [1, (2, 3)]}
