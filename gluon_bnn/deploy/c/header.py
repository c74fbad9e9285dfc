"""`save`: a header of a graph. What its nodes call is in calls.py, the functions themselves in functions/."""

import os
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

import numpy as np

from ... import _files
from ...graph.check import check
from ...graph.graph import Graph
from .program import Program

MOST_BYTES = 1 << 23  # of all arrays: GCC takes 15 s and 650 MB for so many floats, a second for 10 million bits
MOST_BUFFERS = 1 << 30  # bytes
MOST_NODES = 1 << 10  # Clang takes 7 s
MOST_STEM = 40  # of the 63 characters by which a C99 compiler must tell names apart

# Headers that a file of the same name would hide from whoever compiles with its folder among those of headers: those of
# C, those that glibc's include, and that of our library.
_TAKEN = frozenset(
    [
        "gluon_bnn",
        *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math"),
        *("setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef", "stdint", "stdio", "stdlib"),
        *("stdnoreturn", "string", "tgmath", "threads", "time", "uchar", "wchar", "wctype"),
        *("alloca", "endian", "features", "strings"),
    ]
)
_TYPES = {"float32": "float", "int32": "int32_t", "uint32": "uint32_t", "int16": "int16_t"}
_FUNCTIONS = Path(__file__).with_name("functions")
# A function calls those of files before its own, and those before it.
_FILES = "windows.h", "bits.h", "floats.h", "exp.h"
_DEFINITION = re.compile("^(?:static [a-z0-9_]+ net_([a-z0-9_]+)[(]|} net_([a-z0-9_]+);)", re.MULTILINE)


def save(graph: Graph, path: Union[str, bytes, os.PathLike]) -> None:
    """Write the header of a graph to path, under a temporary name first; an OSError leaves an old file whole.

    The stem of the file's name is the prefix of all names in it. Raises ValueError for a stem that cannot be one, and
    for a net that is too large for a compiler; what `graph.check.check` raises, and OSError.
    """
    stem = prefix_of(path)
    _files.replace(path, text_of(check(graph), stem).encode("ascii"))


def prefix_of(path: Union[str, bytes, os.PathLike]) -> str:
    """The stem of the name of the file, if it can be the prefix of names in C; else ValueError."""
    stem = os.path.splitext(os.path.basename(os.fsdecode(path)))[0]
    if not re.fullmatch(f"[A-Za-z][A-Za-z0-9_]{{0,{MOST_STEM - 1}}}", stem) or "__" in stem or stem.endswith("_"):
        name = re.sub("[^A-Za-z0-9]+", "_", stem).lstrip("_0123456789")[:MOST_STEM].rstrip("_") or "net"
        raise ValueError(
            "the functions of a C header have the name of its file, net_predict in net.h: this name must have 1 to "
            f"{MOST_STEM} letters, digits and single _ between them, a letter first, like {name}.h; got {stem!r:.80}"
        )
    if stem.lower() in _TAKEN:
        raise ValueError(f"C or our library has a header {stem}.h, which this file would hide: call it net_{stem}.h")
    return stem


def text_of(graph: Graph, name: str) -> str:
    """The header of a graph that `check` has passed, with `name` at the beginning of each name in it."""
    if len(graph.nodes) > MOST_NODES:
        raise ValueError(f"a C header has at most {MOST_NODES} nodes, got {len(graph.nodes)}")
    nbytes = sum(node.nbytes for node in graph.nodes)
    if nbytes > MOST_BYTES:
        raise ValueError(
            f"a C header has at most {MOST_BYTES} bytes of arrays, which a compiler reads in seconds, got {nbytes}: "
            "write a .safetensors file, which the library runs from C as well"
        )
    program = Program(graph)
    if program.buffers.nbytes > MOST_BUFFERS:
        raise ValueError(f"a C header has at most {MOST_BUFFERS} bytes of buffers, got {program.buffers.nbytes}")
    parts = [_comment(program), _FRONT, _macros(program), *_functions(program.used | {"largest"})]
    parts += [*_arrays(program), _buffers(program), _run(program), _API.replace("net_output", program.output)]
    text = "\n\n".join(parts).replace("given_t", "uint8_t" if program.pixels else "float")
    return "\n\n".join([_named(text, name), *_labels(graph, name), _named(_BACK, name)]) + "\n"


def _named(text, name):
    """The text with this prefix for net_ and NET_. What follows it is net_floatDots for net_float_dots, without another
    _: so two headers, net.h and net_float.h say, which one source file includes, share no name."""

    def named(found):
        first, *others = found[2].split("_")
        prefix = name if found[1] == "net" else name.upper()
        return f"{prefix}_{first}{''.join(word.capitalize() for word in others)}"

    return re.sub(r"(?<![A-Za-z0-9])(net|NET)_(\w*)", named, text)


def _comment(program):
    from ... import __version__

    graph = program.graph
    shape = "x".join(map(str, graph.input_shape))
    accuracy = "" if graph.accuracy is None else f", {graph.accuracy:.2%} of its test inputs right"
    arrays = sum(content.nbytes for content in program.arrays.values() if isinstance(content, np.ndarray))
    return f"""\
/* A neural network of {graph.inputs} inputs, {shape} {"pixels" if program.pixels else "floats"}, and {graph.units} \
outputs{accuracy}.
 * Written by gluon_bnn {__version__}.
 *
 *   const given_t x[NET_INPUTS] = ...;
 *   int largest = net_predict(x);   the index of the largest score, the first of several
 *   float scores[NET_OUTPUTS];
 *   net_scores(x, scores);          all scores; they must not overlap x
 *
 * {arrays} bytes of constants, {program.buffers.nbytes} bytes of static buffers: one call at a time.
 * It needs a C99 compiler, <stdint.h> and nothing else: no heap, no mathematical library, no operating system. Include
 * it in one source file, and compile this as suits the machine. Scores have the same bits everywhere, since floats are
 * rounded after each operation; with -ffast-math they would not be, and this is refused. */"""


_FRONT = """\
#ifndef GLUON_BNN_net_H
#define GLUON_BNN_net_H

#include <stdint.h>

#if defined(__FLT_EVAL_METHOD__) && (__FLT_EVAL_METHOD__ == 1 || __FLT_EVAL_METHOD__ == 2)
#if defined(__cplusplus) || !defined(__STRICT_ANSI__)
#error "floats are not rounded after each operation: compile C with -std=c99, or on x86 with -msse2 -mfpmath=sse"
#endif
#endif
/* GCC's macro is 0 with each option that changes floats. Without floats in hardware it is always 0. */
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \\
    (defined(__GCC_IEC_559) && __GCC_IEC_559 == 0 && \\
     (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__ARM_FP)))
#error "options such as -ffast-math and -fno-signed-zeros change the scores: compile without"
#endif
/* Clang has no macro for parts of -ffast-math, but on most processors this, which takes their effect away. */
#if defined(__clang__) && __clang_major__ >= 13
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wignored-pragmas"
#pragma float_control(push)
#pragma float_control(precise, on)
#endif"""

_BACK = """\
#if defined(__clang__) && __clang_major__ >= 13
#pragma float_control(pop)
#pragma clang diagnostic pop
#endif

#endif /* GLUON_BNN_net_H */"""

_LABEL = """\
/* The name of an output, in UTF-8; null where there is no such output. */
static inline const char *net_label(int output) {
  static const char *const labels[NET_OUTPUTS] = {
@};
  return output >= 0 && output < NET_OUTPUTS ? labels[output] : 0;
}"""

_API = """\
/* All scores of x, float [NET_OUTPUTS]. */
static inline void net_scores(const given_t *x, float *scores) { net_run(x, scores); }

/* The index of the largest score of x, the first of several; the first NaN where there is one. */
static inline int net_predict(const given_t *x) {
  net_run(x, net_output);
  return net_largest(net_output, NET_OUTPUTS);
}"""


def _macros(program):
    return f"""\
#ifdef NET_INPUTS
#error "another header's name differs from this one's in nothing but upper and lower case: write one under another name"
#endif
#define NET_INPUTS {program.graph.inputs}
#define NET_OUTPUTS {program.graph.units}"""


def _functions(used: Iterable[str]) -> list[str]:
    """The text of these functions and types, with those that they use.

    A function, with the comment above it, stands between two empty lines of a file and has none inside.
    """
    blocks = {}
    texts = [(_FUNCTIONS / name).read_text(encoding="ascii").strip() for name in _FILES]
    for block in "\n\n".join(texts).split("\n\n"):
        found = _DEFINITION.search(block)
        if found:
            blocks[found[1] or found[2]] = block
    wanted: set[str] = set()
    left = list(used)
    while left:
        name = left.pop()
        if name not in wanted:
            wanted.add(name)
            left += [other for other in re.findall(r"\bnet_([a-z0-9_]+)\b", blocks[name]) if other in blocks]
    return [block for name, block in blocks.items() if name in wanted]


def _arrays(program: Program) -> Iterator[str]:
    for name, content in program.arrays.items():
        if isinstance(content, np.ndarray):
            of, numbers = _TYPES[content.dtype.name], _numbers(content.reshape(-1))
            lines = [", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
            yield f"static const {of} {name}[{content.size}] = {{\n    " + ",\n    ".join(lines) + "};"
        else:
            sizes = ", ".join(str(n) if isinstance(n, int) else f"{{{n[0]}, {n[1]}}}" for n in content)
            yield f"static const net_windows {name} = {{{sizes}}};"


def _numbers(array: np.ndarray) -> list[str]:
    """Constants of C."""
    if array.dtype == np.uint32:
        return list(map("0x{:x}".format, array.tolist()))
    if array.dtype == np.float32:
        texts = map("{:.9g}".format, array.tolist())  # 9 digits tell all floats apart
        return [text + ("f" if "." in text or "e" in text else ".0f") for text in texts]
    # The least int32 has no literal of its own type.
    return [str(number) if number > -(2**31) else "-2147483647 - 1" for number in array.tolist()]


def _buffers(program):
    return "\n".join(f"static {of} {name}[{size}];" for name, (of, size) in program.buffers.sizes.items())


def _run(program):
    loops = ["int32_t i;"] if any(line.startswith("for ") for line in program.lines) else []
    lines = [*loops, *program.lines]
    wrapped = [part for line in lines for part in textwrap.wrap(line, 118, subsequent_indent="    ")]
    return "\n  ".join(["static void net_run(const given_t *x, float *y) {", *wrapped]) + "\n}"


def _labels(graph: Graph, name: str) -> Iterator[str]:
    """A function that gives the label of an output, where there are labels."""
    if graph.labels:
        front, back = _named(_LABEL, name).split("@")
        yield front + ",\n".join(f"      {_literal(label)}" for label in graph.labels) + back


def _literal(text: str) -> str:
    """A string literal of C, in ASCII; octal escapes, which end after three digits, for all that could be more than the
    character itself: UTF-8, quotes, backslashes, trigraphs."""
    octets = text.encode("utf-8")
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$%&'()*+,-./:;<=>@[]^_`{|}~"
    return '"' + "".join(chr(octet) if octet in plain else f"\\{octet:03o}" for octet in octets) + '"'
