"""A file that `torch.load(path, weights_only=True)` reads, written without torch.

The layout is that of torch since 1.6: a zip archive, nothing compressed, with a pickle of the state
dict, whose tensors refer to members of the archive that hold their numbers.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
}
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
EMPTY_DICT = b"ccollections\nOrderedDict\n)R"  # of hooks, which a saved tensor has none of


def to_torch(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file's content: a state dict of these arrays.

    Raises:
        TypeError: numbers of a kind that torch's weights do not have.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", _state_dict(arrays))
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(arrays.values()):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            archive.writestr(f"archive/data/{key}", little.tobytes())
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _state_dict(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle, of protocol 2: a dict of names to tensors."""
    parts = [b"\x80\x02}("]
    for key, (name, array) in enumerate(arrays.items()):
        parts += [_text(name), _tensor(array, str(key))]
    return b"".join([*parts, b"u."])


def _tensor(array: np.ndarray, key: str) -> bytes:
    """A call that rebuilds a tensor from a storage, an offset, its shape and its strides."""
    if array.dtype.name not in STORAGES:
        raise TypeError(f"numbers of type {array.dtype} have no storage in torch")
    kind = f"ctorch\n{STORAGES[array.dtype.name]}\n".encode()
    storage = (
        b"(" + _text("storage") + kind + _text(key) + _text("cpu") + _number(array.size) + b"tQ"
    )
    strides = [int(np.prod(array.shape[i + 1 :], dtype=np.int64)) for i in range(array.ndim)]
    sizes = _numbers(array.shape) + _numbers(strides)
    return REBUILD + b"(" + storage + _number(0) + sizes + b"\x89" + EMPTY_DICT + b"tR"


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _number(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def _numbers(values: tuple[int, ...] | list[int]) -> bytes:
    return b"(" + b"".join(_number(int(value)) for value in values) + b"t"
