"""Build gluon_bnn: pure Python plus one shared library that knows MXNet but not Python.

The library is compiled from the .cc files under gluon_bnn/native/src; a C++ compiler and setuptools are all it takes.
Because it does not touch Python's ABI, the wheel is tagged py3-none-<platform>. Where no C++ compiler works,
the install goes on without it and the wheel is py3-none-any: every layer then runs on MXNet's own operators,
only slower.
"""

import glob
import os
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    sys.exit("setup.py needs setuptools 70.1 or newer, which builds wheels by itself: pip install -U setuptools")

SOURCES, INCLUDE = "gluon_bnn/native/src", "gluon_bnn/native/include"

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, SOURCES, "flags.txt"), encoding="ascii") as lines:
    FLAGS = {file: flags for file, *flags in (line.split() for line in lines if not line.startswith("#"))}
LIBRARY = "gluon_bnn.native.libgluon_bnn"


class BuildLibrary(build_ext):
    """Build a plain shared library where setuptools would build a Python module."""

    def run(self):
        # Should this build fail, the library of an earlier one must not pass for its result.
        for root in (self.build_lib, HERE) if self.inplace else (self.build_lib,):
            for old in glob.glob(os.path.join(root, "gluon_bnn", "native", "libgluon_bnn.*")):
                os.remove(old)
        super().run()

    def get_ext_filename(self, fullname):
        return os.path.join(*fullname.split(".")) + ".so"  # also on macOS, since mx.library.load takes no other name

    def get_export_symbols(self, ext):
        return ext.export_symbols  # there is no PyInit_ to export

    def build_extension(self, ext):
        """Compile the rooms, as many at once as there are processors, and link them."""

        # The machine that is built for; another than this one where _PYTHON_HOST_PLATFORM names it.
        target = sysconfig.get_platform()
        on_x86 = target.endswith(("x86_64", "amd64"))
        sources = self.one_file_per_room(ext.sources)

        def compiled(name, flags):
            return self.compiler.compile(
                [sources[name]],
                output_dir=self.build_temp,
                include_dirs=ext.include_dirs,
                extra_postargs=ext.extra_compile_args + flags,
            )

        def object_of(name):
            is_kernel = name.startswith("kernels/")
            own = FLAGS.get(name, []) if on_x86 or not is_kernel else []
            try:
                return compiled(name, own)
            except CompileError as error:
                if not (is_kernel and own):
                    raise
                self.warn(f"{sources[name]} is built without its instruction set: {error}")
                return compiled(name, [])  # which is empty

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # What takes longest comes first, or one processor would work on it alone in the end.
            for objects in pool.map(object_of, sorted(sources, key=lambda name: name != "training")):
                ext.extra_objects += objects
        ext.sources = []
        super().build_extension(ext)

    def one_file_per_room(self, sources):
        """The sources by the names that flags.txt has. A file that includes all of a room's takes their place: reading
        the standard library's headers for each of them took as long as all the rest. Kernels have flags of their own.
        """
        rooms, files = {}, {}
        for source in sources:
            path = os.path.relpath(source, SOURCES).replace(os.sep, "/")
            room, *inside = path.split("/")
            if inside and room != "kernels":
                rooms.setdefault(room, []).append(f'#include "{path}"\n')
            else:
                files[path[: -len(".cc")]] = source
        os.makedirs(self.build_temp, exist_ok=True)
        for room, lines in rooms.items():
            files[room] = os.path.join(self.build_temp, f"{room}.cc")
            with open(files[room], "w", encoding="ascii") as file:
                file.writelines(lines)
        return files


class Wheel(bdist_wheel):
    """Tag the wheel by what was built, and build it from nothing."""

    def run(self):
        # setuptools packs whatever lies in these two, left-overs of earlier builds included.
        shutil.rmtree(self.bdist_dir, ignore_errors=True)
        if not self.skip_build:
            shutil.rmtree(self.get_finalized_command("build").build_lib, ignore_errors=True)
        super().run()

    def get_tag(self):
        platform = super().get_tag()[2]
        built = glob.glob(os.path.join(self.bdist_dir or "", "gluon_bnn", "native", "libgluon_bnn.*"))
        if self.bdist_dir and os.path.isdir(self.bdist_dir) and not built:
            self.root_is_pure = True  # no compiler: nothing in it depends on the platform
            return "py3", "none", "any"
        return "py3", "none", platform


class BuildPackage(build_py):
    """Put the embedded digits into the package, so that an installed copy needs no checkout."""

    def run(self):
        super().run()
        if self.editable_mode:
            return  # an editable install reads the checkout's data/
        target = os.path.join(self.build_lib, "gluon_bnn", "_data", "digits")
        os.makedirs(target, exist_ok=True)
        for name in sorted(os.listdir(os.path.join(HERE, "data", "digits"))):
            if name.endswith((".gz", ".md")):
                shutil.copyfile(os.path.join(HERE, "data", "digits", name), os.path.join(target, name))


def library():
    """The shared library; `optional`: a failed build is a warning, not the end of the install."""
    link_args = ["-fopenmp"]
    if sys.platform.startswith("linux"):
        link_args.append(f"-Wl,--version-script={SOURCES}/api/exports.map")
    return Extension(
        LIBRARY,
        sources=sorted(glob.glob(f"{SOURCES}/**/*.cc", recursive=True)),
        depends=sorted(glob.glob("gluon_bnn/native/**/*.[hm]*", recursive=True)),
        language="c++",
        include_dirs=[SOURCES, INCLUDE],
        extra_compile_args=[*FLAGS["all"], "-g0", "-fvisibility-inlines-hidden"],
        extra_link_args=link_args,
        optional=True,
    )


setup(
    # A string in pyproject.toml needs setuptools 77, and a table there is deprecated since; this works with all.
    license="Apache-2.0",
    ext_modules=[] if os.name == "nt" else [library()],  # the sources are for GCC and Clang on POSIX
    cmdclass={"build_ext": BuildLibrary, "build_py": BuildPackage, "bdist_wheel": Wheel},
)
