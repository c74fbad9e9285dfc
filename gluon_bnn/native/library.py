"""Finds the compiled library, loads it once into MXNet, and reports what it is.

Where the library is absent (it was installed without a C++ compiler) everything works through MXNet's
own operators; `available()` says so and `problem()` says why.
"""
import ctypes
import os
import struct
import threading

ABI = 2  # the number that gluon_bnn_abi() must return
ADVICE = ("install a C++ compiler (Debian: apt-get install g++) and install gluon_bnn again "
          "(pip install --force-reinstall --no-deps .)")

_lock = threading.Lock()
_operators_loaded = False


def path():
    """The absolute path of the compiled library, or None where it was not built."""
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ("libgluon_bnn.so", "libgluon_bnn.dll"):
        if os.path.isfile(os.path.join(here, name)):
            return os.path.join(here, name)
    return None


def _is_whole(name):
    """False for an ELF file that ends too early: mapping one kills the process instead of failing."""
    with open(name, "rb") as file:
        header = file.read(64)
    if header[:5] != b"\x7fELF\x02":
        return len(header) == 64  # not 64-bit ELF: whatever it is, the loader checks it
    if len(header) < 64:
        return False
    offset, entry_size, entries = (struct.unpack_from("<Q", header, 40)[0],
                                   *struct.unpack_from("<HH", header, 58))
    return offset + entry_size * entries <= os.path.getsize(name)


def _open():
    """(ctypes library, None), or (None, why not)."""
    found = path()
    if found is None:
        return None, f"the native library was not built; {ADVICE}"
    try:
        if not _is_whole(found):
            raise OSError(f"{found} is cut off")
        library = ctypes.CDLL(found)
        abi = library.gluon_bnn_abi()
    except (OSError, AttributeError) as error:
        return None, f"the native library cannot be loaded ({error}); {ADVICE}"
    if abi != ABI:
        return None, f"the native library has interface {abi}, this package needs {ABI}; {ADVICE}"
    library.gluon_bnn_instruction_set.restype = ctypes.c_char_p
    return library, None


_opened = None


def _library():
    global _opened
    with _lock:
        if _opened is None:
            _opened = _open()
        return _opened


def available():
    """True where the compiled library can be loaded."""
    return _library()[0] is not None


def problem():
    """Why `available()` is False and what to do about it; None where it is True."""
    return _library()[1]


def instruction_set():
    """The instruction set that the compiled kernels use, or None without the library."""
    library = _library()[0]
    return library.gluon_bnn_instruction_set().decode() if library else None


def load_operators():
    """Register the operators with MXNet (once a process). Raises OSError without the library."""
    global _operators_loaded
    if not available():
        raise OSError(problem())
    from .._compat import mx
    with _lock:
        if not _operators_loaded:
            mx.library.load(path(), verbose=False)
            _operators_loaded = True
