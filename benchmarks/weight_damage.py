"""Ways to damage files of weights, for damaged_weights.py, and the whole files to begin with."""

from __future__ import annotations

import io
import json
import pathlib
import pickle
import pickletools
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from random import Random

import numpy as np

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "weights"))

import made_files as made

Damage = Callable[[bytes, Random], bytes]
HUGE = (
    0,
    1,
    255,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
OPCODES = [ord(opcode.code) for opcode in pickletools.opcodes]


def network() -> dict[str, np.ndarray]:
    """Arrays of a small network: convolutions, norms, a layer, and a counter."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for i, (wide, narrow) in enumerate([(8, 3), (16, 8), (16, 16)]):
        arrays[f"layer{i}.conv.weight"] = rng.standard_normal((wide, narrow, 3, 3))
        arrays[f"layer{i}.bn.weight"] = rng.standard_normal(wide)
        arrays[f"layer{i}.bn.running_var"] = rng.random(wide)
    arrays["fc.weight"] = rng.standard_normal((10, 64))
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return arrays | {"layer0.bn.num_batches_tracked": np.array(7)}


def whole_files(folder: pathlib.Path) -> dict[str, bytes]:
    """A file of every container, by a name for it; those of HDF5 where h5py is installed."""
    from safetensors.numpy import save

    arrays = network()
    kinds = {"f": "FloatStorage", "i": "LongStorage"}
    content, storages = {}, {}
    for i, (name, array) in enumerate(arrays.items()):
        stored = made.Storage(kinds[array.dtype.kind], str(i), array.size)
        strides = tuple(s // array.itemsize for s in array.strides)
        content[name] = made.tensor(stored, array.shape, strides)
        storages[str(i)] = array.tobytes()
    checkpoint = {"state_dict": content, "epoch": 3, "args": made.Call("argparse", "Namespace")}
    made.write_zip(folder / "zip", checkpoint, storages, byteorder=b"little", version=b"3\n")
    counts = {k: (arrays[n].size, v) for n, (k, v) in zip(arrays, storages.items(), strict=True)}
    made.write_legacy(folder / "old", content, counts)
    files = {"torch zip": (folder / "zip").read_bytes(), "torch old": (folder / "old").read_bytes()}
    for name, save_npz in (("npz", np.savez), ("npz deflated", np.savez_compressed)):
        buffer = io.BytesIO()
        save_npz(buffer, **arrays)
        files[name] = buffer.getvalue()
    files["safetensors"] = save(arrays, metadata={"minimask": json.dumps({"model": {"a": 1}})})
    for protocol in (0, 2, 4, 5):
        files[f"pickle {protocol}"] = pickle.dumps({"model": arrays, "epoch": 1}, protocol)
    try:
        weights = {f"{n.replace('.', '_')}/kernel:0": a for n, a in arrays.items()}
        files["hdf5"] = made.keras(folder / "h5", weights).read_bytes()
    except ModuleNotFoundError:
        pass
    return files


# --- any file -------------------------------------------------------------------------------------


def flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def flip_bit(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def flip_in_head(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 2, 4))):
        changed[random.randrange(min(len(changed), random.choice((64, 512, 2048))))] = (
            random.randrange(256)
        )
    return bytes(changed)


def flip_in_tail(data: bytes, random: Random) -> bytes:
    return flip_in_head(data[::-1], random)[::-1]


def cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def hole(data: bytes, random: Random) -> bytes:
    begin = random.randrange(len(data))
    return data[:begin] + data[begin + random.choice((1, 4, 40, 4096)) :]


def noise(data: bytes, random: Random) -> bytes:
    begin = random.randrange(len(data))
    return data[:begin] + random.randbytes(random.choice((1, 8, 60))) + data[begin:]


def zeros(data: bytes, random: Random) -> bytes:
    begin, count = random.randrange(len(data)), random.choice((4, 64, 512, 4096))
    return data[:begin] + bytes(min(count, len(data) - begin)) + data[begin + count :]


def twice(data: bytes, random: Random) -> bytes:
    begin = random.randrange(len(data))
    return data[:begin] + data[max(0, begin - random.randrange(1, 2000)) :]


def swapped(data: bytes, random: Random) -> bytes:
    size = random.choice((8, 64, 512))
    a, b = sorted(random.randrange(len(data)) for _ in range(2))
    if b + size > len(data) or a + size > b:
        return flip(data, random)
    return (
        data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]
    )


def odd_number(data: bytes, random: Random) -> bytes:
    """A whole number of two to eight bytes replaced by a border case."""
    size = random.choice((2, 4, 8))
    at = random.randrange(max(1, len(data) - size))
    if random.random() < 0.7:
        at = min(at, random.randrange(4096))
    return (
        data[:at] + (random.choice(HUGE) % 256**size).to_bytes(size, "little") + data[at + size :]
    )


ANY = (flip, flip_bit, flip_in_head, flip_in_tail, cut, hole, noise, zeros, twice, swapped)
ANY += (odd_number, odd_number)


# --- one container --------------------------------------------------------------------------------


def odd_pickle(data: bytes, random: Random) -> bytes:
    """Instructions of a pickle replaced, doubled, removed, or with other numbers behind them."""
    try:
        places = [at for _, _, at in pickletools.genops(data) if at is not None]
    except Exception:
        return flip_in_head(data, random)
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        i = random.randrange(len(places))
        at, after = places[i], places[i + 1] if i + 1 < len(places) else places[i] + 1
        kind = random.randrange(5)
        if kind == 0:
            changed[at] = random.choice(OPCODES)
        elif kind == 1 and after - at > 1:
            changed[random.randrange(at + 1, after)] = random.choice((0, 1, 127, 255))
        elif kind == 2:
            changed[at:after] = bytes(changed[at:after]) * 2
            break  # the places behind it have moved
        elif kind == 3:
            del changed[at:after]
            break
        else:
            other = random.randrange(len(places) - 1)
            changed[at:at] = changed[places[other] : places[other + 1]]
            break
    return bytes(changed)


def odd_zip(data: bytes, random: Random) -> bytes:
    """An archive written anew: members removed, doubled, renamed, deflated, damaged with a CRC."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:
        return flip(data, random)
    kind, i = random.randrange(8), random.randrange(len(members))
    name, raw = members[i]
    method = zipfile.ZIP_STORED
    if kind == 0:
        del members[i]
    elif kind == 1:
        members.insert(0, (name, members[random.randrange(len(members))][1]))
    elif kind == 2:
        members[i] = (name + random.choice("x/.\u00e9"), raw)
    elif kind == 3:
        method = random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif kind == 4:
        random.shuffle(members)
    elif kind == 5 and raw:
        members[i] = (name, random.choice(ANY)(raw, random))
    else:
        i = next((k for k, (n, _) in enumerate(members) if n.endswith("data.pkl")), i)
        if members[i][1]:
            members[i] = (members[i][0], odd_pickle(members[i][1], random))
    buffer = io.BytesIO()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that are there twice
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, raw in members:
                archive.writestr(name, raw)
    return buffer.getvalue()


def odd_directory(data: bytes, random: Random) -> bytes:
    """A number in a zip archive's list of members, or in its end, replaced."""
    begin = data.find(b"PK\x01\x02")
    if begin < 0:
        return flip_in_tail(data, random)
    heads = [
        i for i in range(begin, len(data) - 4) if data[i : i + 4] in (b"PK\x01\x02", b"PK\x05\x06")
    ]
    at, size = random.choice(heads) + random.randrange(4, 46), random.choice((1, 2, 4))
    value = (random.choice(HUGE) % 256**size).to_bytes(size, "little")
    return data[:at] + value + data[at + size :]


def odd_header(data: bytes, random: Random) -> bytes:
    """A safetensors header with a value changed, and the right length."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        name = random.choice([key for key in header if key != "__metadata__"])
        odd = (
            None,
            -1,
            0,
            2**63,
            1e300,
            "F8_E4M3",
            "BF16",
            "X",
            [],
            {},
            [2**62, 4],
            [1] * 100,
            True,
        )
        kind = random.randrange(4)
        if kind == 0:
            header[name][random.choice(("dtype", "shape", "data_offsets"))] = random.choice(odd)
        elif kind == 1:
            header[name] = random.choice(odd)
        elif kind == 2:
            header[random.choice(("", "x" * 5000, "\x1b[2J", "__metadata__"))] = header.pop(name)
        else:
            header["__metadata__"] = random.choice(odd)
        text = json.dumps(header).encode()
    except Exception:
        return flip_in_head(data, random)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def deflated_anew(data: bytes, random: Random) -> bytes:
    """A deflated stream with a changed byte inside."""
    at = data.find(b"PK\x03\x04", random.randrange(len(data)))
    return flip(data, random) if at < 0 else data[:at] + zlib.compress(data[at:])[2:]


def damages(kind: str) -> tuple[Damage, ...]:
    """What may be done to a file of a kind, the likelier the more often."""
    if kind == "torch zip":
        return ANY + (odd_zip,) * 6 + (odd_directory,) * 3
    if kind.startswith("npz"):
        return ANY + (odd_zip,) * 3 + (odd_directory,) * 3 + (deflated_anew,)
    if kind == "safetensors":
        return ANY + (odd_header,) * 4
    if kind == "hdf5":
        return (*ANY, flip_bit, flip, odd_number, odd_number)
    return ANY + (odd_pickle,) * 6
