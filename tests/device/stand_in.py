"""A stand-in for CuPy that keeps its arrays in this computer's memory, and is as strict as a GPU.

It exists to run the model's GPU path where there is no GPU: arrays of the two devices may not be
mixed, reading a value is counted, only functions and options that the real CuPy has can be
called, and RawModule runs CUDA C++ in the host shim.  What it cannot show is what only a GPU has:
speed, memory, asynchrony.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types

import numpy as np

waits: list[str] = []  # every time the CPU would have waited for the GPU, and what for


def _wait(why: str) -> None:
    frame = sys._getframe(2)
    while frame is not None and "stand_in" in frame.f_code.co_filename:
        frame = frame.f_back
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"
    waits.append(f"{why} at {where}")


def _unwrap(value):
    """The host arrays inside arguments; a NumPy array among them is an error, as in CuPy."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, list | tuple):
        return type(value)(_unwrap(v) for v in value)
    if isinstance(value, slice):
        return slice(_unwrap(value.start), _unwrap(value.stop), _unwrap(value.step))
    return value


def _wrap(value):
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    if isinstance(value, list | tuple):
        return type(value)(_wrap(v) for v in value)
    return value


class _Pointer:
    def __init__(self, ptr):
        self.ptr = ptr


class ndarray:
    """What code may do with a `cupy.ndarray`."""

    __array_priority__ = 100

    def __init__(self, host):
        self._host = host

    # -- what it is
    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    base = property(lambda self: self._host.base)
    T = property(lambda self: ndarray(self._host.T))
    data = property(lambda self: _Pointer(self._host.ctypes.data))
    device = property(lambda self: cuda.Device(0))

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (0, False), "version": 3}

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (ndarray(np.asarray(part)) for part in self._host)

    # -- what makes the CPU wait
    def get(self):
        _wait("get")
        return self._host.copy()

    def item(self, *args):
        _wait("item")
        return self._host.item(*args)

    def tolist(self):
        _wait("tolist")
        return self._host.tolist()

    def __bool__(self):
        _wait("bool")
        return bool(self._host)

    def __int__(self):
        _wait("int")
        return int(self._host)

    def __float__(self):
        _wait("float")
        return float(self._host)

    def __index__(self):
        _wait("index")
        return operator.index(self._host.item())

    def __repr__(self):
        _wait("repr")
        return repr(self._host)

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to "
            "construct a NumPy array explicitly."
        )

    # -- what NumPy's own functions do with it
    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if method == "at":
            function = getattr(np, ufunc.__name__).at
            function(*[_unwrap(i) for i in inputs], **options)
            return None
        if method != "__call__":
            return NotImplemented
        out = options.pop("out", None)
        if out is not None:
            options["out"] = tuple(_unwrap(o) for o in out)
        found = ufunc(*[_unwrap(i) for i in inputs], **options)
        return out[0] if out is not None else _wrap(found)

    def __array_function__(self, function, kinds, args, options):
        if not all(issubclass(kind, ndarray) for kind in kinds):
            return NotImplemented
        return getattr(sys.modules["cupy"], function.__name__)(*args, **options)

    # -- indexing
    def __getitem__(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(p, ndarray) and p.dtype.kind == "b" for p in parts):
            _wait("bool index")
        return _wrap(np.asarray(self._host[_unwrap(index)]))

    def __setitem__(self, index, value):
        self._host[_unwrap(index)] = _unwrap(value)

    def set(self, array, stream=None):
        assert type(array) is np.ndarray and array.dtype == self.dtype
        self._host[...] = array


def _forward(name, reflected=False):
    function = getattr(operator, name)

    def method(self, other):
        if isinstance(other, np.ndarray):
            raise TypeError(f"Unsupported type {type(other)}")
        if not isinstance(other, ndarray | int | float | bool | np.generic):
            return NotImplemented
        a, b = (
            _unwrap(other) if reflected else self._host,
            self._host if reflected else _unwrap(other),
        )
        return _wrap(np.asarray(function(a, b)))

    return method


for _name in "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift".split():
    setattr(ndarray, f"__{_name.rstrip('_')}__", _forward(_name))
    setattr(ndarray, f"__r{_name.rstrip('_')}__", _forward(_name, reflected=True))
for _name in "lt le gt ge eq ne".split():
    setattr(ndarray, f"__{_name}__", _forward(_name))
ndarray.__hash__ = None


def _inplace(name):
    function = getattr(operator, name)

    def method(self, other):
        if isinstance(other, np.ndarray):
            raise TypeError(f"Unsupported type {type(other)}")
        function(self._host, _unwrap(other))  # writes into the host array
        return self

    return method


for _name in "iadd isub imul itruediv iand ior".split():
    setattr(ndarray, f"__{_name}__", _inplace(_name))


def _unary(name):
    function = getattr(operator, name)
    return lambda self: _wrap(function(self._host))


for _name in "neg abs invert".split():
    setattr(ndarray, f"__{_name}__", _unary(_name))


# methods whose options are not those of the function of the same name
_OWN_OPTIONS = {
    "astype": {"dtype", "order", "casting", "subok", "copy"},
    "reshape": {"order"},
    "copy": {"order"},
}


def _method(name):
    def method(self, *args, **options):
        if name not in _OWN_OPTIONS:
            _check_options(name, options)
        elif options.keys() - _OWN_OPTIONS[name]:
            raise TypeError(f"cupy.ndarray.{name} has no such option: {options}")
        if name in ("nonzero",):
            _wait(name)
        out = getattr(self._host, name)(
            *[_unwrap(a) for a in args], **{k: _unwrap(v) for k, v in options.items()}
        )
        return _wrap(out)

    return method


_METHODS = (
    "all any argmax argmin argsort astype clip copy cumsum dot fill flatten max mean min nonzero "
    "prod ravel repeat reshape round sort squeeze std sum swapaxes take transpose var view"
).split()
for _name in _METHODS:
    setattr(ndarray, _name, _method(_name))
ndarray.__module__ = "cupy"


# ------------------------------------------------------------------------------- the module
REAL: types.ModuleType | None = None  # the real CuPy: imported without a GPU, asked what it has
_WAITS = {"nonzero", "flatnonzero", "unique", "bincount", "array_equal", "allclose", "asnumpy"}
_SAME = {
    "float32",
    "float64",
    "float16",
    "int64",
    "int32",
    "uint8",
    "uint64",
    "uint32",
    "bool_",
    "inf",
    "nan",
    "newaxis",
    "pi",
    "result_type",
    "dtype",
    "isscalar",
    "errstate",
    "integer",
    "floating",
    "intp",
    "generic",
    "promote_types",
    "finfo",
    "iinfo",
}


@functools.cache
def _options_of(name):
    """The parameters the real CuPy's function has; None where Python cannot tell."""
    try:
        return frozenset(inspect.signature(getattr(REAL, name)).parameters)
    except (ValueError, TypeError, AttributeError):
        return None


def _check_options(name, options):
    known = _options_of(name) if REAL is not None else None
    if known and "kwargs" not in known and (unknown := options.keys() - known):
        raise TypeError(f"cupy.{name} has no option {', '.join(sorted(unknown))}")


def _function(name):
    if REAL is not None and not hasattr(REAL, name):
        raise AttributeError(f"module 'cupy' has no attribute {name!r}")
    function = getattr(np, name)

    def call(*args, **options):
        _check_options(name, options)
        if name in _WAITS:
            _wait(name)
        out = options.pop("out", None)
        if out is not None:
            options["out"] = _unwrap(out)
        found = function(*[_unwrap(a) for a in args], **{k: _unwrap(v) for k, v in options.items()})
        return out if out is not None else _wrap(found)

    if isinstance(function, np.ufunc):
        call.at = lambda a, index, b: function.at(_unwrap(a), _unwrap(index), _unwrap(b))
        call.reduce = lambda a, **options: _wrap(function.reduce(_unwrap(a), **options))
    return call


def _asarray(a, dtype=None, **options):
    """From the host to the device: the only way in."""
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else ndarray(a._host.astype(dtype))
    if isinstance(a, list | tuple):
        a = [x._host if isinstance(x, ndarray) else x for x in a]
    return ndarray(np.array(a, dtype))


class RawModule:
    """Compiles with the host shim; its kernels take the stand-in's arrays."""

    def __init__(self, code, options=()):
        self.code, self.options = code, options

    def get_function(self, name):
        from minimask.kernels.host_shim import emulator

        program = types.SimpleNamespace(
            source=lambda: self.code,
            options=self.options,
            path=types.SimpleNamespace(name="RawModule"),
        )

        def launch(grid, block, args, *, shared_mem=0):
            values = [_unwrap(a) for a in args]
            emulator.launch(program, name, tuple(grid), tuple(block), values, shared_mem)

        return launch


class _Device:
    def __init__(self, number=0):
        self.id = number

    def use(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def __eq__(self, other):
        return self.id == other.id

    __hash__ = None  # as CuPy's

    def __repr__(self):
        return f"<CUDA Device {self.id}>"


class _Event:
    def __init__(self, **options):
        pass

    def record(self, stream=None):
        pass

    def synchronize(self):
        pass


class _Stream:
    ptr = 0

    def synchronize(self):
        _wait("synchronize")


cuda = types.SimpleNamespace(
    Device=_Device,
    Event=_Event,
    get_current_stream=_Stream,
    runtime=types.SimpleNamespace(
        memGetInfo=lambda: (8 * 2**30, 16 * 2**30),
        driverGetVersion=lambda: 13000,
        getDevice=lambda: 0,
        getDeviceProperties=lambda number: {"name": b"a stand-in"},
        runtimeGetVersion=lambda: 13000,
    ),
)


def install(monkeypatch, real=None):
    """Make `import cupy` give the stand-in until the test ends; `real` is the real one or None."""
    global REAL
    REAL = real
    waits.clear()
    module = types.ModuleType("cupy")
    module.ndarray, module.asarray, module.array, module.RawModule = (
        ndarray,
        _asarray,
        _asarray,
        RawModule,
    )
    module.cuda, module.__version__ = cuda, "a stand-in"
    module.asnumpy = lambda a: a.get()
    module.ascontiguousarray = lambda a, dtype=None: ndarray(
        np.ascontiguousarray(_unwrap(a), dtype)
    )
    module.get_default_memory_pool = lambda: types.SimpleNamespace(
        free_bytes=lambda: 0, total_bytes=lambda: 0
    )

    def find(name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(np, name) if name in _SAME else _function(name)

    module.__getattr__ = find
    extra = types.ModuleType("cupyx")
    extra.empty_pinned = lambda shape, dtype: np.empty(shape, dtype)
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "cupyx", extra)
    return module
