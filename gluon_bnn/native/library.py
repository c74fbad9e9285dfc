"""Finds the compiled library, loads it once, and says and chooses on which instruction set it runs.

Where the library is absent (it was installed without a C++ compiler) everything works through MXNet's
own operators, or for a deployed net through NumPy; `available()` says so and `problem()` says why.
"""

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from typing import Optional

from .. import _compat

__all__ = [
    "ABI",
    "ADVICE",
    "advice",
    "available",
    "handle",
    "instruction_set",
    "instruction_sets",
    "load_operators",
    "path",
    "problem",
    "use",
]


def __dir__():
    return __all__


ABI = 9  # the number that gluon_bnn_abi() must return
ADVICE = "install gluon_bnn again"

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # or a child might find it held, for ever, by a thread that it does not have
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_operators_loaded = False

_address, _size = ctypes.c_void_p, ctypes.c_int64


# Arguments of the functions of include/gluon_bnn.h that return an error code.
_FUNCTIONS = {
    "use": (ctypes.c_char_p,),
    "pack_inputs": (_address, _size, _size, _address),
    "pack_inputs_u8": (_address, _address, _size, _size, _address),
    "pack_weights": (_address, _size, _size, _address),
    "xnor_dense": (_address,) * 4 + (_size,) * 3 + (_address,),
    "xnor_dense_bits": (_address,) * 3 + (_size,) * 3 + (_address,),
    "binary_dense": (_address,) * 4 + (_size,) * 3 + (_address,),
    "binary_dense_u8": (_address,) * 4 + (_size,) * 3 + (_address,),
    "load": (ctypes.c_char_p, ctypes.POINTER(_address)),
    "load_bytes": (_address, _size, ctypes.POINTER(_address)),
    **dict.fromkeys(("run", "run_u8", "predict", "predict_u8"), (_address, _address, _size, _address)),
}
# The functions that take the address of a model and return no error code, with the types of their results.
_OF_A_MODEL = {"inputs": _size, "outputs": _size, "takes_u8": ctypes.c_int, "free": None}


def path() -> Optional[str]:
    """The absolute path of the compiled library, or None where it was not built."""
    found = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libgluon_bnn.so")
    return found if os.path.isfile(found) else None


def _is_whole(name):
    """False for an ELF file that ends too early: mapping one kills the process instead of failing."""
    with open(name, "rb") as file:
        header = file.read(64)
    if header[:5] != b"\x7fELF\x02":
        return len(header) == 64  # not 64-bit ELF: whatever it is, the loader checks it
    if len(header) < 64:
        return False
    (offset,), (entry_size, entries) = struct.unpack_from("<Q", header, 40), struct.unpack_from("<HH", header, 58)
    return offset + entry_size * entries <= os.path.getsize(name)


def advice() -> str:
    """What to do where there is no usable library, as one string: how this copy of the package is built again."""
    from .. import _installation, _missing  # rarely needed, and they import a good deal

    installation = _installation.find()
    compiler = "" if _missing.has_compiler() else "install a C++ compiler (Debian: apt-get install g++) and "
    text = f"{compiler}{ADVICE}: {installation.command}"
    return text if installation.hidden is None else f"{text}. {installation.why_hidden}"


def _open():
    """(ctypes library, None), or (None, why not)."""
    found = path()
    if found is None:
        from .. import _missing

        why = "; pip's option --verbose shows what the compiler says" if _missing.has_compiler() else ""
        return None, f"the native library was not built; {advice()}{why}"
    # These are read when OpenMP is loaded, which may be now; a user's own settings win.
    os.environ.setdefault("OMP_NUM_THREADS", str(_compat.physical_cores()))
    try:
        if not _is_whole(found):
            raise OSError(f"{found} is cut off")
        with _compat.waiting_threads_spin():
            library = ctypes.CDLL(found)
        abi = library.gluon_bnn_abi()
        if abi != ABI:
            return None, f"the native library has interface {abi}, this package needs {ABI}; {advice()}"
        for name in ("instruction_set", "instruction_sets", "error"):
            getattr(library, f"gluon_bnn_{name}").restype = ctypes.c_char_p
        for name, arguments in _FUNCTIONS.items():
            getattr(library, f"gluon_bnn_{name}").argtypes = arguments
        for name, result in _OF_A_MODEL.items():
            function = getattr(library, f"gluon_bnn_{name}")
            function.argtypes, function.restype = (_address,), result
        if _compat.forked:  # a fork before the library was loaded, which it cannot know of
            library.gluon_bnn_after_fork()
    except (OSError, AttributeError) as error:
        from .. import _missing

        missing = _missing.missing_libraries(found) if _missing.name_missing(error) else ()
        cure = _missing.how_to_get(missing) if missing else advice()
        return None, f"the native library cannot be loaded ({error}); {cure}"
    return library, None


_opened = None


def _library():
    global _opened
    with _lock:
        if _opened is None:
            opened = _open()
            wanted = os.environ.get("GLUON_BNN_ISA")
            if wanted and opened[0]:
                _check(opened[0], wanted, "GLUON_BNN_ISA", "; unset GLUON_BNN_ISA for the fastest of them")
            _opened = opened
        return _opened


def available() -> bool:
    """True where the compiled library can be loaded.

    Raises ValueError when the environment variable GLUON_BNN_ISA names an instruction set that this
    machine does not have.
    """
    return _library()[0] is not None


def problem() -> Optional[str]:
    """Why `available()` is False and what to do about it; None where it is True."""
    return _library()[1]


def handle() -> ctypes.CDLL:
    """The ctypes library, its functions declared. Raises OSError without it."""
    library, why_not = _library()
    if library is None:
        raise OSError(why_not)
    return library


def instruction_set() -> Optional[str]:
    """The instruction set that the kernels run on, or None without the library.

    The best one that the processor has and the operating system supports, or what GLUON_BNN_ISA or
    `use` chose.
    """
    library = _library()[0]
    return library.gluon_bnn_instruction_set().decode() if library else None


def instruction_sets() -> tuple[str, ...]:
    """All that this machine has, from the slowest, "serial", to the fastest; none without the library."""
    library = _library()[0]
    return _names(library) if library else ()


def _names(library):
    return tuple(library.gluon_bnn_instruction_sets().decode().split())


def _check(library, name, source, cure=""):
    if name not in _names(library):
        raise ValueError(f"{source} must be one of {', '.join(_names(library))} on this machine, got {name!r}{cure}")


@contextlib.contextmanager
def use(name: str) -> Iterator[None]:
    """Inside this context all kernels, in every thread, run on the instruction set `name`.

    Raises ValueError for one that this machine does not have, OSError without the library.
    """
    library = handle()
    _check(library, name, "use()")
    before = library.gluon_bnn_instruction_set()
    library.gluon_bnn_use(name.encode())
    try:
        yield
    finally:
        library.gluon_bnn_use(before)


def load_operators() -> None:
    """Register the operators with MXNet, once per process. Raises OSError without the library."""
    global _operators_loaded
    if not available():
        raise OSError(problem())
    from .._compat import mx

    with _lock:
        if not _operators_loaded:
            _load_into(mx)
            _operators_loaded = True


def _load_into(mx):
    """What `mx.library.load` does, for our operators only: it would write the Python functions of all of MXNet's own
    operators a second time, which takes 0.8 s."""
    base = mx.base
    base.check_call(base._LIB.MXLoadLib(os.fsencode(path()), base.mx_uint(0)))
    count, names = ctypes.c_uint(), ctypes.POINTER(ctypes.c_char_p)()
    base.check_call(base._LIB.MXListAllOpNames(ctypes.byref(count), ctypes.byref(names)))
    for name in [name for name in map(base.py_str, names[: count.value]) if name.startswith("gluon_bnn_")]:
        operator = base.OpHandle()
        base.check_call(base._LIB.NNGetOpHandle(base.c_str(name), ctypes.byref(operator)))
        for room, make in (
            (mx.ndarray, mx.ndarray.register._make_ndarray_function),
            (mx.symbol, mx.symbol.register._make_symbol_function),
        ):
            function = make(operator, name, name)
            function.__module__ = room.op.__name__
            setattr(room.op, name, function)
            setattr(room, name, function)
