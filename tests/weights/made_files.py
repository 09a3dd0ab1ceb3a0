"""A writer of small files of weights, without torch: what torch and others write, and attackers."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict


class Storage:
    """Pickled as torch pickles a storage: a persistent id that names a run of numbers."""

    def __init__(self, kind, key, count, *view):
        self.id = ("storage", Global("torch", kind), key, "cpu", count, *view)


class Global:
    """Pickled as a global name, without that name having to exist here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickled as a call of a global."""

    def __init__(self, module, name, *arguments):
        self.function, self.arguments = Global(module, name), arguments


class Raw:
    """Pickled as these very instructions."""

    def __init__(self, code):
        self.code = code


class State:
    """Pickled as a thing that is then given a state."""

    def __init__(self, thing, state):
        self.thing, self.state = thing, state


class Writer(pickle._Pickler):  # the one in Python: its opcodes can be written by hand
    """Writes these stand-ins."""

    def persistent_id(self, thing):
        return thing.id if isinstance(thing, Storage) else None

    def save(self, thing, save_persistent_id=True):
        if isinstance(thing, Global):
            self.write(f"c{thing.module}\n{thing.name}\n".encode())
        elif isinstance(thing, Raw):
            self.write(thing.code)
        elif isinstance(thing, State):
            self.save(thing.thing)
            self.save(thing.state)
            self.write(pickle.BUILD)
        elif isinstance(thing, Call):
            self.save(thing.function)
            self.save(tuple(thing.arguments))
            self.write(pickle.REDUCE)
        else:
            super().save(thing, save_persistent_id)


def pickled(thing):
    buffer = io.BytesIO()
    Writer(buffer, protocol=2).dump(thing)
    return buffer.getvalue()


def tensor(storage, shape, strides, offset=0):
    return Call(
        "torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict()
    )


def write_zip(path, content, storages, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled(content))
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
        for name, raw in members.items():
            archive.writestr(f"archive/{name}", raw)
    return path


def write_legacy(path, content, storages):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    raw = b"".join(pickled(x) for x in (0x1950A86A20F9469CFC6C, 1001, system, content))
    raw += pickled(list(storages))
    for count, numbers in storages.values():
        raw += struct.pack("<q", count) + numbers
    path.write_bytes(raw)
    return path


def keras(path, arrays, **options):
    """A file as Keras' `save_weights` writes it: a group for each layer, which repeats its name.

    Args:
        path: to write.
        arrays: by name, such as "conv1/kernel:0".
        **options: of h5py's `create_dataset`.
    """
    import h5py

    with h5py.File(path, "w", libver="earliest") as file:
        layers = list(dict.fromkeys(name.split("/")[0] for name in arrays))
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            names = [name for name in arrays if name.startswith(f"{layer}/")]
            file.create_group(layer).attrs["weight_names"] = [name.encode() for name in names]
            for name in names:
                file[layer].create_dataset(name, data=arrays[name], **options)
    return path
