"""Files of weights that are made to do harm, or that people take for weights by mistake.

Each maker writes one file and returns its path.  `HOSTILE` holds those that must be refused, or at
least read without harm; `MISTAKEN` those that must be called by their names, with a word of it.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib

import numpy as np
from made_files import (
    Call,
    Global,
    Raw,
    State,
    Storage,
    keras,
    pickled,
    tensor,
    write_legacy,
    write_zip,
)

SIX = np.arange(6, dtype="<f4")
ONE = Storage("FloatStorage", "0", 6)
GOOD = tensor(ONE, (6,), (1,))
STOP = b"."
FLOAT_STORAGE = b"ctorch\nFloatStorage\n"


def small(path, content, **members):
    """A zip file of torch with six numbers in it."""
    return write_zip(path, content, {"0": SIX.tobytes()}, **members)


def of_code(path, code, compression=zipfile.ZIP_STORED):
    """A zip file of torch whose pickle are these instructions."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/data/0", SIX.tobytes())
    return path


# --- the findings of weights.md 2.1 ---------------------------------------------------------------


def poison_dtype(path):
    """1: BUILD changes what a storage type holds, for all files to come."""
    return small(path, {"x": GOOD, "y": State(Global("torch", "FloatStorage"), {"dtype": "i4"})})


def poison_dtype_in_slots(path):
    """1: the same by the state of slots."""
    state = (None, {"dtype": "i4", "code": "i4", "name": "IntStorage"})
    return small(path, {"y": State(Global("torch", "FloatStorage"), state), "x": GOOD})


def poison_function(path):
    """1: attributes of the reader's own functions."""
    state = (None, {"__code__": 1, "__defaults__": (1,)})
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return small(path, {"y": State(rebuild, state), "x": GOOD})


def poison_ordered_dict(path):
    """1: attributes of a class of Python itself."""
    state = (None, {"__init__": None})
    return small(path, {"y": State(Global("collections", "OrderedDict"), state), "x": GOOD})


def deep_tuple_key(path):
    """2: three million nested tuples as the key of a dict, whose hash recurses in C."""
    code = b"\x80\x02}" + b")" + b"\x85" * 3_000_000 + b"K\x01s" + STOP
    return of_code(path, code, zipfile.ZIP_DEFLATED)


def deep_tuple_key_stored(path):
    """2: as many as the reader lets pass."""
    return of_code(path, b"\x80\x02}" + b")" + b"\x85" * 150_000 + b"K\x01s" + STOP)


def deep_list(path):
    """2: lists in lists, which are freed one in another."""
    return of_code(path, b"\x80\x02" + b"]" * 90_000 + b"a" * 89_999 + STOP)


def deep_dict_values(path):
    """2: dicts in dicts."""
    code = b"\x80\x02" + b"}X\x01\0\0\0a" * 40_000 + b"}" + b"s" * 40_000 + STOP
    return of_code(path, code)


def list_in_itself(path):
    """2: a list that contains itself, and a dict."""
    return of_code(path, b"\x80\x02]q\0h\0a}q\x01X\x05\0\0\0modelh\x01s." + STOP)


def dict_in_itself(path):
    """2: the dict of weights is its own weights."""
    return of_code(path, b"\x80\x02}q\x01X\x05\0\0\0modelh\x01s" + STOP)


def shape_memo_bigints(path):
    """3: a shape of 3000 references to a number of 400 000 bits."""
    number = b"\x8b" + struct.pack("<i", 50_000) + b"\x7f" * 50_000 + b"q\0"
    shape = b"(" + b"h\0" * 3000 + b"t"
    head = b"\x80\x02" + number + b"0ctorch._utils\n_rebuild_tensor_v2\n("
    reference = b"(X\x07\0\0\0storage" + FLOAT_STORAGE + b"X\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"
    return of_code(
        path, b"\x80\x02}X\x01\0\0\0x" + head[2:] + reference + b"K\0" + shape + shape + b"tRs."
    )


def shape_of_large_numbers(path):
    """3: 64 dimensions of nearly 2^63."""
    return small(path, {"x": tensor(ONE, (2**63 - 1,) * 64, (1,) * 64)})


def shape_of_many_ones(path):
    """3: 100 000 dimensions."""
    return small(path, {"x": tensor(ONE, (1,) * 100_000, (1,) * 100_000)})


def long_binput(path):
    """4: an object remembered under the number 2^28."""
    return of_code(path, b"\x80\x02}r\x00\x00\x00\x10" + STOP)


def long_put_as_text(path):
    """4: the same in protocol 0."""
    path.write_bytes(b"\x80\x02}p268435456\n" + STOP)
    return path


def list_bomb(path):
    """5: millions of empty lists, deflated."""
    return of_code(path, b"\x80\x02(" + b"]" * 30_000_000 + b"l" + STOP, zipfile.ZIP_DEFLATED)


def list_bomb_stored(path):
    """5: the same as it is."""
    return of_code(path, b"\x80\x02(" + b"]" * 7_000_000 + b"l" + STOP)


def set_bomb(path):
    """5: millions of sets."""
    return of_code(path, b"\x80\x04(" + b"\x8f" * 7_000_000 + b"l" + STOP)


def list_of_the_same_list(path):
    """5: calls that copy one list again and again."""
    pairs = b"(" + b"]" * 5000 + b"lq\0" + b"0"
    call = b"ccollections\nOrderedDict\nq\x010" + b"h\x01(h\0tR0" * 20_000
    return of_code(path, b"\x80\x02" + pairs + call + b"}" + STOP)


def text_bomb(path):
    """5: text of which each character takes four bytes."""
    text = ("\U0001f600" + "a" * 4000).encode()
    code = b"X" + struct.pack("<I", len(text)) + text
    return of_code(path, b"\x80\x02(" + code * 1900 + b"l" + STOP)


def byteorder_bomb(path):
    """6: 100 MB deflated where the byte order should be."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", pickled({"x": GOOD}), zipfile.ZIP_STORED)
        archive.writestr("archive/data/0", SIX.tobytes(), zipfile.ZIP_STORED)
        with archive.open("archive/byteorder", "w") as file:
            for _ in range(100):
                file.write(bytes(1 << 20))
    return path


def alias_bomb(path):
    """7: 2000 names for the same million numbers."""
    stored = Storage("FloatStorage", "0", 1 << 18)
    content = {f"x{i}": tensor(stored, (1 << 18,), (1,)) for i in range(2000)}
    return write_zip(path, content, {"0": bytes(1 << 20)})


def alias_stride0(path):
    """7: one number repeated as often as the storage is long, under many names."""
    stored = Storage("FloatStorage", "0", 1 << 18)
    content = {f"x{i}": tensor(stored, (1 << 18,), (0,)) for i in range(1500)}
    return write_zip(path, content, {"0": bytes(1 << 20)})


def alias_far_apart(path):
    """7: two numbers each, the first and the last."""
    stored = Storage("FloatStorage", "0", 1 << 18)
    content = {f"x{i}": tensor(stored, (2,), ((1 << 18) - 1,)) for i in range(5000)}
    return write_zip(path, content, {"0": bytes(1 << 20)})


def alias_legacy(path):
    """7: in the old layout."""
    stored = Storage("FloatStorage", "0", 1 << 18)
    content = {f"x{i}": tensor(stored, (1 << 18,), (1,)) for i in range(2000)}
    return write_legacy(path, content, {"0": (1 << 18, bytes(1 << 20))})


def alias_arrays(path):
    """7: arrays of NumPy that share their bytes."""
    data = b"\0" * (1 << 20)
    array = State(
        Call("numpy.core.multiarray", "_reconstruct", Global("numpy", "ndarray"), (0,), "b"),
        (
            1,
            (1 << 18,),
            State(Call("numpy", "dtype", "f4", 0, 1), (3, "<")),
            False,
            Raw(b"j\0\0\1\0"),
        ),
    )
    head = b"\x80\x04\x8e" + struct.pack("<Q", len(data)) + data + b"r\0\0\1\x000"
    path.write_bytes(head + pickled({f"x{i}": array for i in range(1000)})[2:])
    return path


def npz_bomb(path):
    """8: 100 MB of zeros in 400 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x.npy", "w") as file:
            header = io.BytesIO()
            about = {"descr": "<f4", "fortran_order": False, "shape": (25 << 20,)}
            np.lib.format.write_array_header_1_0(header, about)
            file.write(header.getvalue())
            for _ in range(100):
                file.write(bytes(1 << 20))
    return path


def npz_header_bomb(path):
    """8: a description that is deflated and said to have 4 GB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(60 << 20))
    return path


def npz_nested_header(path):
    """8: brackets in a description, on which Python's parser gives up."""
    text = b"{'descr': " + b"(" * 9000
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    return path


def zip_encrypted(path):
    """10, 12: the mark of an encrypted member."""
    small(path, {"x": GOOD})
    raw = bytearray(path.read_bytes())
    at = raw.find(b"PK\x01\x02")
    while at >= 0:
        raw[at + 8] |= 1
        at = raw.find(b"PK\x01\x02", at + 1)
    path.write_bytes(raw)
    return path


def zip_of_another_method(path):
    """10: compressed by a method that nobody knows."""
    small(path, {"x": GOOD})
    raw = bytearray(path.read_bytes())
    at = raw.find(b"PK\x01\x02")
    raw[at + 10] = 77
    path.write_bytes(raw)
    return path


def zip_without_its_end(path):
    """10: cut off."""
    small(path, {"x": GOOD})
    path.write_bytes(path.read_bytes()[:-30])
    return path


def zip_of_many_members(path):
    """10: a list of 65 000 members, each of which takes memory."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 8,
                        0, 0, 0, 0, 0, 0)  # fmt: skip
    entries = b"".join(entry + b"%08d" % i for i in range(65_000))
    head = b"PK\x03\x04" + bytes(26)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65_000, 65_000, len(entries), len(head), 0)
    path.write_bytes(head + entries + end)
    return path


def zip_of_members_in_one_place(path):
    """10: two members that share their bytes."""
    write_zip(path, {"x": GOOD}, {"0": SIX.tobytes(), "1": SIX.tobytes()})
    raw = bytearray(path.read_bytes())
    places = [i for i in range(len(raw) - 4) if raw[i : i + 4] == b"PK\x01\x02"]
    raw[places[2] + 42 : places[2] + 46] = raw[places[1] + 42 : places[1] + 46]
    path.write_bytes(raw)
    return path


def legacy_bytearray(path):
    """11: eight gigabytes that are not there."""
    path.write_bytes(b"\x80\x05\x96" + struct.pack("<Q", 8 << 30) + STOP)
    return path


def legacy_keys_are_a_number(path):
    """13: a number where the list of storages should be."""
    return _legacy(path, 7, b"")


def legacy_2_to_61(path):
    """13: 2^61 numbers."""
    stored = Storage("FloatStorage", "0", 2**61)
    return _legacy(path, ["0"], struct.pack("<q", 2**61), {"x": tensor(stored, (6,), (1,))})


def legacy_16_gib(path):
    """13: 16 GiB in 286 bytes."""
    stored = Storage("FloatStorage", "0", 4 << 30)
    return _legacy(path, ["0"], struct.pack("<q", 4 << 30), {"x": tensor(stored, (6,), (1,))})


def legacy_keys_are_lists(path):
    """13: lists where the names of storages should be."""
    return _legacy(path, [[], {}, None], b"")


def legacy_version(path):
    """13: a version that is a list."""
    raw = b"".join(pickled(x) for x in (0x1950A86A20F9469CFC6C, [1001], {}, {}, []))
    path.write_bytes(raw)
    return path


def _legacy(path, keys, rest, content=None):
    content = {"x": GOOD} if content is None else content
    system = {"little_endian": True}
    parts = (0x1950A86A20F9469CFC6C, 1001, system, content, keys)
    path.write_bytes(b"".join(pickled(x) for x in parts) + rest)
    return path


def deep_storage_key(path):
    """14: the name of a storage is 100 000 nested lists."""
    key = Raw(b"]" * 50_000 + b"a" * 49_999)
    stored = Storage("FloatStorage", key, 6)
    return small(path, {"x": tensor(stored, (6,), (1,))})


def deep_persistent_id(path):
    """14: the reference is."""
    return of_code(path, b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"Q" + STOP)


def build_a_tensor(path):
    """16: a tensor's shape, storage and storage's type changed after it was made."""
    states = ({"shape": "abc"}, {"storage": 7}, (None, {"shape": 1, "strides": None}))
    return small(path, {f"x{i}": State(GOOD, state) for i, state in enumerate(states)})


def build_a_storage(path):
    """16: the same of a storage."""
    return small(path, {"x": GOOD, "y": State(ONE, (None, {"code": 5, "count": 1 << 60}))})


def long_name(path):
    """17: a name of 21 million characters."""
    return of_code(path, b"\x80\x02}X" + struct.pack("<I", 7 << 20) + b"a" * (7 << 20) + b"K\x01s.")


def many_long_names(path):
    """17: a thousand names that do not fit."""
    content = {f"{'x' * 290}{i}": GOOD for i in range(1000)}
    return small(path, content)


def name_that_a_terminal_obeys(path):
    """17: a name that would clear the screen."""
    return small(path, {"\x1b[2J\x1b]0;title\x07": GOOD})


# --- more of the same kinds -----------------------------------------------------------------------


def runs_a_command(path):
    return small(path, {"x": GOOD, "y": Call("os", "system", f"touch {path}.marker")})


def runs_by_stack_global(path):
    code = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R" + STOP
    return of_code(path, code)


def runs_by_inst(path):
    return of_code(path, b"\x80\x02(S'true'\nios\nsystem\n" + STOP)


def runs_by_extension(path):
    return of_code(path, b"\x80\x02\x82\x01" + STOP)


def runs_by_getattr(path):
    inner = Call("builtins", "getattr", Global("os", "path"), "os")
    return small(path, {"x": GOOD, "y": Call("builtins", "getattr", inner, "system")})


def runs_by_new_object(path):
    return of_code(path, b"\x80\x02csubprocess\nPopen\nX\x04\0\0\0true\x85\x81" + STOP)


def out_of_band_buffer(path):
    return of_code(path, b"\x80\x05\x97" + STOP)


def typed_in_itself(path):
    """A tensor of a class of a tensor of a class ..., which would recurse."""
    rebuild = b"ctorch._tensor\n_rebuild_from_type_v2\nq\x000"
    code = b"\x80\x02" + rebuild + b"h\0NN" + b")N\x87" * 0
    return of_code(path, code + b"h\0h\0NN\x87" * 2 + b"R" + STOP)


def array_of_objects(path):
    array = np.array([{"a": 1}], object)
    path.write_bytes(pickle.dumps({"x": array}))
    return path


def array_with_a_false_shape(path):
    raw = pickle.dumps({"x": np.zeros(6, np.float32)}, 2)
    path.write_bytes(raw.replace(b"K\x06\x85", b"J\xff\xff\xff\x7f\x85"))
    return path


def array_built_twice(path):
    made = Call("numpy.core.multiarray", "_reconstruct", Global("numpy", "ndarray"), (0,), "b")
    state = (1, (1,), State(Call("numpy", "dtype", "f4", 0, 1), (3, "<")), False, b"1234")
    path.write_bytes(pickled({"x": State(State(made, state), state)}))
    return path


def dtype_of_a_gigabyte(path):
    made = Call("numpy.core.multiarray", "_reconstruct", Global("numpy", "ndarray"), (0,), "b")
    state = (1, (1,), Call("numpy", "dtype", "V1000000000", 0, 1), False, b"1234")
    path.write_bytes(pickled({"x": State(made, state)}))
    return path


def safetensors_of(path, header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    return path


def safetensors_deep(path):
    return safetensors_of(path, b'{"x":' + b"[" * 500_000)


def safetensors_bomb(path):
    return safetensors_of(path, b'{"x":[' + b"[]," * 5_000_000 + b"[]]}")


def safetensors_overlap(path):
    one = {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}
    return safetensors_of(path, {f"x{i}": one for i in range(2000)}, SIX.tobytes())


def safetensors_huge_shape(path):
    shape = {"dtype": "F32", "shape": [2**62] * 60, "data_offsets": [0, 24]}
    return safetensors_of(path, {"x": shape}, SIX.tobytes())


def safetensors_twice(path):
    one = b'"x":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}'
    return safetensors_of(path, b"{" + one + b"," + one + b"}", SIX.tobytes())


def safetensors_float8(path):
    about = {"dtype": "F8_E4M3", "shape": [24], "data_offsets": [0, 24]}
    return safetensors_of(path, {"x": about}, SIX.tobytes())


def safetensors_header_length(path):
    path.write_bytes(struct.pack("<Q", (1 << 40) - 1) + b"{}" + bytes(100))
    return path


def _h5(path, make):
    import h5py

    with h5py.File(path, "w") as file:
        make(h5py, file)
    return path


def h5_compressed(path):
    arrays = {"conv/kernel:0": np.zeros((16 << 20,), np.float32)}
    return keras(path, arrays, compression="gzip", compression_opts=1, chunks=(1 << 20,))


def h5_huge(path):
    """A shape of a terabyte of which nothing was written."""
    return _h5(path, lambda _, f: f.create_dataset("a/b:0", (1 << 38,), np.float32))


def h5_chunks(path):
    return keras(path, {"conv/kernel:0": np.zeros((64, 64), np.float32)}, chunks=(8, 8))


def h5_external_link(path):
    def make(h5py, file):
        file["conv"] = h5py.ExternalLink("/etc/passwd", "/")

    return _h5(path, make)


def h5_soft_link(path):
    def make(h5py, file):
        file["conv/kernel:0"] = h5py.SoftLink("/conv")

    return _h5(path, make)


def h5_group_in_itself(path):
    def make(h5py, file):
        file.create_group("conv")["conv"] = file["/"]

    return _h5(path, make)


def h5_external_numbers(path):
    def make(h5py, file):
        file.create_dataset("a/b:0", (10,), np.float32, external=[("/etc/passwd", 0, 40)])

    return _h5(path, make)


def h5_virtual(path):
    def make(h5py, file):
        layout = h5py.VirtualLayout((10,), np.float32)
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (10,))
        file.create_virtual_dataset("a/b:0", layout)

    return _h5(path, make)


def h5_text(path):
    return _h5(path, lambda _, f: f.create_dataset("a/b:0", data="x" * 50))


def h5_aliases(path):
    def make(_, file):
        file.create_dataset("a/b:0", data=np.zeros(1 << 18, np.float32))
        for i in range(2000):
            file[f"a/c{i}:0"] = file["a/b:0"]

    return _h5(path, make)


def sparse_file(path):
    """Eight gigabytes of nothing behind the beginning of a pickle."""
    with path.open("wb") as file:
        file.write(b"\x80\x02}B\xff\xff\xff\x7f")
        file.truncate(8 << 30)
    return path


FINDINGS = (
    poison_dtype, poison_dtype_in_slots, poison_function, poison_ordered_dict, deep_tuple_key,
    deep_tuple_key_stored, deep_list, deep_dict_values, list_in_itself, dict_in_itself,
    shape_memo_bigints, shape_of_large_numbers, shape_of_many_ones, long_binput, long_put_as_text,
    list_bomb, list_bomb_stored, set_bomb, list_of_the_same_list, text_bomb, byteorder_bomb,
    alias_bomb, alias_stride0, alias_far_apart, alias_legacy, alias_arrays, npz_bomb,
    npz_header_bomb, npz_nested_header, zip_encrypted, zip_of_another_method, zip_without_its_end,
    zip_of_many_members, zip_of_members_in_one_place, legacy_bytearray, legacy_keys_are_a_number,
    legacy_2_to_61, legacy_16_gib, legacy_keys_are_lists, legacy_version, deep_storage_key,
    deep_persistent_id, build_a_tensor, build_a_storage, long_name, many_long_names,
    name_that_a_terminal_obeys,
)  # fmt: skip
MORE = (
    runs_a_command, runs_by_stack_global, runs_by_inst, runs_by_extension, runs_by_getattr,
    runs_by_new_object, out_of_band_buffer, typed_in_itself, array_of_objects,
    array_with_a_false_shape, array_built_twice, dtype_of_a_gigabyte, safetensors_deep,
    safetensors_bomb, safetensors_overlap, safetensors_huge_shape, safetensors_twice,
    safetensors_float8, safetensors_header_length, sparse_file,
)  # fmt: skip
H5 = (
    h5_compressed, h5_huge, h5_chunks, h5_external_link, h5_soft_link, h5_group_in_itself,
    h5_external_numbers, h5_virtual, h5_text, h5_aliases,
)  # fmt: skip
HOSTILE = {maker.__name__: maker for maker in FINDINGS + MORE + H5}
# read as if nothing were wrong with them: what is odd about them is not followed
HARMLESS = {
    "poison_dtype", "poison_dtype_in_slots", "poison_function", "poison_ordered_dict",
    "build_a_tensor", "build_a_storage", "many_long_names",
}  # fmt: skip


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return buffer.getvalue()


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body></body></html>"
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 178090079\n"
ONNX = b"\x08\x07\x12\x07pytorch\x1a\x052.0.0:\x80\x01" + bytes(200)
MISTAKEN = {  # a word of what it is called, and its bytes
    "web page": ("a web page (404)", PAGE),
    "web page without a head": ("a web page", b"\n\n  <html><body>Sign in</body></html>"),
    "S3 error": ("S3 (AccessDenied)", S3),
    "git-lfs pointer": ("git lfs pull", LFS),
    "ONNX": ("an ONNX network", ONNX),
    "TorchScript": ("TorchScript", _zip("m/code/__torch__.py", "m/constants.pkl", "m/data.pkl")),
    "pt2": (".pt2", _zip("m/archive_format", "m/models/model.json", "m/data/weights/x")),
    "keras": (".keras archive", _zip("config.json", "model.weights.h5")),
    "zip of weights": ("unpack it first", _zip("folder/model.pth", "readme.txt")),
    "document": ("an Office document", _zip("[Content_Types].xml", "word/document.xml")),
    "tar": ("a tar archive", _tar()),
    "gzip": ("gzip", gzip.compress(bytes(1000))),
    "gzip that is cut off": ("gzip", gzip.compress(bytes(100_000))[:40]),
    "zlib": ("no file of weights that is known", zlib.compress(bytes(1000))),
    "empty": ("empty (0 bytes)", b""),
    "text": ("plain text", b"hello world, these are no weights\n"),
    "PNG": ("a PNG image", b"\x89PNG\r\n\x1a\n" + bytes(50)),
    "JPEG": ("a JPEG image", b"\xff\xd8\xff\xe0" + bytes(50)),
    "JSON": ("a JSON text", b'{"model": "mask_rcnn", "classes": ["a"]}'),
    "npy": ("a single array", b"\x93NUMPY\x01\x00" + bytes(50)),
    "PDF": ("a PDF document", b"%PDF-1.4\n"),
}
