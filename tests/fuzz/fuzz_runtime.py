"""Damaged model files: each must load and run, or be refused with a clear error; nothing may crash or hang.

    python tests/fuzz/fuzz_runtime.py

The golden files of tests/golden and random graphs are mutated: bits flipped, bytes cut, put in and repeated, the header
and the line of metadata edited, nodes put on the end, tensors changed with the checksum made right again, so that the
checks behind it are reached. A worker process loads each one, in Python, in the compiled library and, where there is
Node, in JavaScript, which must all take it or all refuse it; where it is taken, a row runs in each of them and in
NumPy, with the same bits. A file that kills the worker, keeps it busy for too long, divides them, or ends in anything
but ValueError or OSError with the file's name is kept in --save-dir, and the exit status is 1.
"""

import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path += [os.path.join(os.path.dirname(TESTS), "experiments"), os.path.join(TESTS, "helpers")]

from common import interrupt

if __name__ == "__main__":
    interrupt.says("no record is written")

import argparse
import collections
import contextlib
import glob
import json
import multiprocessing.resource_tracker
import re
import time
import traceback

import numpy as np
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from gluon_bnn import runtime
from gluon_bnn._progress import progress_bar
from gluon_bnn.graph import engine
from gluon_bnn.graph.kinds import KINDS
from gluon_bnn.graph.kinds.kind import PLACES, SIZES
from gluon_bnn.native import bindings, library
from gluon_bnn.runtime.file import crc32, dumps, read

from common.arguments import SEED, HelpFormatter, positive
from common.record import writable, write_record
from javascript import NODE, JavaScript
from random_nets import random_graph, same

RECORD = "fuzz_runtime.json"
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(runtime.__file__)))
GOLDEN = os.path.join(TESTS, "golden")
TIMEOUT = 30  # seconds for one file; they take about a millisecond
MEMORY = 4 << 30  # bytes of address space a worker may take beyond what it starts with
LARGEST_ROW = 1 << 20  # elements of all values
MOST_ENTRIES = 1 << 17  # of the line of metadata; twice as many as a net may have nodes
TOO_LARGE = "loaded, too large to run"
RAN = "loaded and ran"
NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    15,
    16,
    17,
    31,
    32,
    33,
    255,
    256,
    65535,
    65536,
    2**24,
    2**30,
    2**30 + 1,
    2**31 - 1,
    2**31,
    2**32,
    2**63,
    2**64,
    10**30,
    -1,
)
WORDS = (
    *KINDS,
    *(name for kind in KINDS.values() for name in kind.attributes),
    *(
        word
        for kind in KINDS.values()
        for words in kind.attributes.values()
        if isinstance(words, tuple)
        for word in words
    ),
    "float",
    "bits",
    "bits01",
    "format",
    "input",
    "crc32",
    "",
    "x",
    "1x",
    "x1",
    "nan",
    "-0",
    "01",
    "\0",
    "\n",
    "é",
    "0x10",
    "conv",
    "label",
    "accuracy",
    "\nlabel a",
    "\naccuracy 0.5",
    "0.5",
    "1.0",
    "\x85",
)
NAMES = (
    "0.weight_bits",
    "0.alpha",
    "1.mean",
    "1.bias",
    "2.sums",
    "0.scale",
    "0.shift",
    "input.scale",
    "input.shift",
    "99.bias",
    "1.alpha_u8",
    "1.threshold_u8",
    "1.weight",
    "2.slope",
    "2.operand",
    "3.falls",
    "2.threshold_u8",
    "-1.bias",
    "00.alpha",
    "0.x",
    "é",
    "",
)
SPACES = (" ", "\t", "\n", "\r", "\v", "\f", "\0", "\x1f", "\x7f", "\xa0", "\xc2\xa0", "\xef\xbb\xbf", "  ")
DIGITS = ("-{}", "+{}", "0{}", "{}.0", "{}e0", "{}E+0", ".{}", "{}.", "-0", "0x{}", '"{}"', "{} ", "[{}]", "true")
DTYPES = ("F32", "I32", "F64", "I64", "F16", "BF16", "U8", "BOOL", "F8_E4M3", "U32", "C64", "", 7)


def seeds():
    """The golden models of each format, and random graphs, as bytes."""
    contents = []
    for name in sorted(glob.glob(os.path.join(GOLDEN, "*.safetensors"))):
        if not name.endswith(".answers.safetensors"):
            with open(name, "rb") as file:
                contents.append(file.read())
    rng = np.random.default_rng(0)
    graphs = [random_graph(rng) for _ in range(len(contents))]
    for index in range(0, len(graphs), 2):
        labels = [f"class {unit}; é" for unit in range(graphs[index].units)]
        graphs[index] = graphs[index].described(labels, index / len(graphs))
    return contents + list(map(dumps, graphs))


def _pick(rng, choices):
    return choices[rng.integers(len(choices))]


def _parts(content):
    """(header as a dict, the bytes behind it)."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _join(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def flip_bits(content, rng):
    """One to eight bits, in the header half of the time."""
    content = bytearray(content)
    end = len(content) if rng.random() < 0.5 else 8 + int.from_bytes(content[:8], "little")
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(end)] ^= 1 << rng.integers(8)
    return bytes(content)


def cut(content, rng):
    """The end, the start, or something between; now and then nearly everything."""
    a, b = sorted(int(rng.integers(len(content) + 1)) for _ in range(2))
    return _pick(rng, (content[:a], content[a:], content[:a] + content[b:], content[: rng.integers(20)]))


def put_in(content, rng):
    """Random bytes, runs of one byte, or bytes of the file itself: between others, or over them."""
    a, b = sorted(int(rng.integers(len(content) + 1)) for _ in range(2))
    size = int(rng.integers(1, 65))
    new = _pick(rng, (rng.bytes(size), bytes([_pick(rng, (0, 127, 128, 255, 34, 91, 123))]) * size, content[a:b]))
    at = int(rng.integers(len(content) + 1))
    return content[:at] + new + content[at + len(new) * int(rng.integers(2)) :]


def edit_header_length(content, rng):
    """The first eight bytes: some number, or near the true one."""
    length = int.from_bytes(content[:8], "little")
    wrong = _pick(rng, (*NUMBERS, length - 1, length + 1, len(content), len(content) - 8))
    return (wrong % 2**64).to_bytes(8, "little") + content[8:]


def edit_header(content, rng):
    """Names, dtypes, shapes and offsets, in the JSON."""
    header, data = _parts(content)
    for _ in range(rng.integers(1, 4)):
        names = list(header)
        name = _pick(rng, names)
        entry = header[name]
        what = rng.integers(8)
        if what == 0:
            del header[name]
        elif what == 1:
            header[_pick(rng, names)] = entry
        elif what == 2:
            header[_pick(rng, NAMES)] = header.pop(name)
        elif what == 3:
            header[name] = _pick(rng, (None, [], {}, 1, "x", [entry], 1e400, True))
        elif isinstance(entry, dict) and entry:
            key = _pick(rng, list(entry))
            value = entry[key]
            if isinstance(value, list) and value and what < 7:
                value = list(value)
                value[rng.integers(len(value))] = _pick(rng, NUMBERS)
            else:
                value = _pick(rng, (*DTYPES, [], [1, 2], None, {}, [[1]], [0, 4], -1))
            header[name] = {**entry, key: value}
        if not header:
            break
    text = json.dumps(header)
    if rng.random() < 0.1:  # what no dict can hold
        text = _pick(
            rng,
            (
                text[:-1] + ", " + text[1:],
                "[" * 100000,
                '{"a":' * 5000,
                "9" * 100000,
                "NaN",
                text.replace('"dtype"', '"dtype": "F32", "dtype"', 1),
            ),
        )
    return _join(text.encode(), data)


def edit_json(content, rng):
    """The same header or nearly, written otherwise: spaces, escapes, numbers that some readers take."""
    length = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + length].decode("latin-1")
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(text)))
        what = rng.integers(4)
        if what == 0:
            text = text[:at] + _pick(rng, SPACES) + text[at:]
        elif what == 1:
            escapes = (f"\\u{ord(text[at]):04x}", f"\\u{ord(text[at]):04X}", "\\" + text[at])
            text = text[:at] + _pick(rng, escapes) + text[at + 1 :]
        elif what == 2:
            numbers = list(re.finditer("[0-9]+", text))
            number = _pick(rng, numbers)
            text = text[: number.start()] + _pick(rng, DIGITS).format(number[0]) + text[number.end() :]
        else:
            brackets = [m.start() for m in re.finditer("[][{}:,]", text)]
            at = brackets[rng.integers(len(brackets))]
            new = _pick(rng, ("", ",", ":", "}", "]", "[]", "{}", "null", '"'))
            text = text[:at] + new + text[at + rng.integers(2) :]
    return _join(text.encode("latin-1"), content[8 + length :])


def edit_line(content, rng, right_checksum=False):
    """Numbers and words of the metadata line; entries left out, swapped, repeated, put on the end."""
    header, data = _parts(content)
    line, _, checksum = header["__metadata__"]["gluon_bnn"].rpartition("; ")
    entries = line.split("; ")
    for _ in range(rng.integers(1, 3)):
        i = int(rng.integers(len(entries)))
        what = rng.integers(10)
        if what == 0 and len(entries) > 1:
            del entries[i]
        elif what == 1:
            entries.insert(int(rng.integers(len(entries) + 1)), entries[i])
        elif what == 2:
            j = rng.integers(len(entries))
            entries[i], entries[j] = entries[j], entries[i]
        elif what == 3:
            entries = (entries * int(rng.integers(2, 200)))[:MOST_ENTRIES]
        elif what < 7:
            entries += [_new_entry(len(entries) - 1 + extra, rng) for extra in range(rng.integers(1, 4))]
        else:
            parts = re.split("([ =,x\n])", entries[i])
            near = [str(n) for n in range(len(entries))]  # other nodes, small sizes
            new = _pick(rng, (NUMBERS, WORDS, near)[what - 7])
            parts[2 * rng.integers(len(parts) // 2 + 1)] = str(new)
            entries[i] = "".join(parts)
    line = _pick(rng, ("; ",) * 20 + (";", ", ", "")).join(entries)
    if right_checksum:
        checksum = f"crc32 {crc32(line, deserialize(content)):08x}"
    header["__metadata__"]["gluon_bnn"] = f"{line}; {checksum}"
    return _join(header, data)


def _new_entry(count, rng):
    """A node without arrays that follows `count` others, most often one that takes the last."""
    sources = [count - 1] + [int(n) for n in rng.integers(0, count, rng.integers(0, 3))]
    plain = "activation", "flatten", "image", "arithmetic", "concat", "slice", "pack", "max_pool", "average_pool"
    kind = _pick(rng, plain)
    attributes = []
    for name, allowed in KINDS[kind].attributes.items():
        value = _pick(rng, allowed) if isinstance(allowed, tuple) else rng.integers(0, 40)
        if allowed in (SIZES, PLACES):
            low, high, count = (1, 7, 3) if name == "shape" else (0, 4, 2)
            value = "x".join(map(str, rng.integers(low, high, count)))
        attributes.append(f"{name}={value}")
    return " ".join([kind, ",".join(map(str, sources[: KINDS[kind].sources[1]])), *attributes])


def edit_line_with_checksum(content, rng):
    """The same, with the checksum of the new line."""
    return edit_line(content, rng, right_checksum=True)


def edit_tensors(content, rng):
    """Values, dtypes and shapes of tensors, tensors left out and put in, with a right checksum."""
    header, _ = _parts(content)
    tensors = dict(deserialize(content))
    for _ in range(rng.integers(1, 4)):
        name = _pick(rng, sorted(tensors))
        array = tensors[name].copy()
        what = rng.integers(8)
        if what < 3:
            array.reshape(-1).view(np.uint8)[rng.integers(array.nbytes)] ^= 1 << rng.integers(8)
        elif what == 3:
            array = array.reshape(-1).view(_pick(rng, (np.float32, np.int32, np.uint8, np.float16, np.bool_)))
        elif what == 4:
            array = _pick(
                rng,
                (
                    array[None],
                    array.reshape(-1),
                    array.T.copy(),
                    array[:0],
                    array[1:],
                    array.astype(np.float64),
                    np.concatenate([array, array]),
                ),
            )
        elif what == 5:
            array = np.full_like(
                array,
                _pick(rng, (np.nan, np.inf, 1e38, -1) if array.dtype == np.float32 else (-(2**31), 2**31 - 1, -1, 0)),
            )
        elif what == 6 and len(tensors) > 1:
            del tensors[name]
            continue
        else:
            name = _pick(rng, NAMES)
        tensors[name] = array
        if not all(a.size for a in tensors.values()):
            break
    line = header["__metadata__"]["gluon_bnn"].rpartition("; ")[0]
    return serialize(tensors, {"gluon_bnn": f"{line}; crc32 {crc32(line, tensors):08x}"})


PLAIN = (flip_bits, cut, put_in, edit_header_length)
INFORMED = (edit_header, edit_json, edit_line, edit_line_with_checksum, edit_line_with_checksum, edit_tensors)
MUTATIONS = (*PLAIN, *INFORMED, *INFORMED)


def mutated(contents, seed, index):
    """(name of the mutation, content) of file number `index` of this seed."""
    rng = np.random.default_rng([seed, index])
    mutation = _pick(rng, MUTATIONS)
    return mutation.__name__, mutation(_pick(rng, contents), rng)


def outcome(path, javascript):
    """What loading the file came to, and which function refused what: ("ValueError", "_read: KeyError").

    javascript : a JavaScript that loads and runs it too, or None
    """
    try:
        graph, content = read(path)
    except (OSError, ValueError) as error:
        if os.fspath(path) not in str(error):
            return f"{type(error).__name__} that does not name the file: {error}", ""
        with open(path, "rb") as file:
            if _library_refuses(file.read()) is None:
                return f"the library loads what Python refuses: {error}", ""
        if javascript and javascript.answer(path)[0] is None:
            return f"JavaScript loads what Python refuses: {error}", ""
        return type(error).__name__, _origin(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}", _origin(error)
    refused = _library_refuses(content)
    if library.available() and refused is not None:
        return f"the library refuses what Python loads: {refused}", ""
    return _run(graph, runtime.load(path), path, javascript), ""


def _library_refuses(content):
    """Why the compiled library refuses a file's content, None where it loads it; also where there is no library."""
    if not library.available():
        return "there is no library"
    try:
        bindings.Model(content)
    except ValueError as error:
        return error
    return None


def _origin(error):
    """The function of gluon_bnn in which the first of a chain of exceptions was raised, and its type."""
    origin = "?"
    while error is not None:
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename.startswith(PACKAGE) and not frame.name.startswith("<"):
                origin = f"{frame.name}: {type(error).__name__}"
        error = error.__context__
    return origin


def _run(graph, model, path, javascript):
    """Run a row of each type that the model takes, and compare it with NumPy's."""
    rng = np.random.default_rng(0)
    inputs, expected = [], []
    small = sum(value.size for value in graph.values) <= LARGEST_ROW
    if small:
        inputs.append(rng.standard_normal((1, graph.inputs), np.float32))
        if model.input_scale is not None:
            inputs.append(rng.integers(0, 256, inputs[0].shape, np.uint8))
        expected = [engine.run(graph, x) for x in inputs]
    for x, y in zip(inputs, expected):
        if not same(model(x), y):
            return f"the library and NumPy differ on {x.dtype}"
        model.predict(x)
    if javascript:
        refused, outputs, _ = javascript.answer(path, *inputs)
        if refused is not None:
            return f"JavaScript refuses what Python loads: {refused}"
        if not all(map(same, outputs, expected)):
            return "JavaScript and NumPy differ"
    return RAN if small else TOO_LARGE


def _work(pipe, seed, indices, path):
    """Sends (index, mutation, outcome, function that refused) for each index."""
    with JavaScript() if NODE else contextlib.nullcontext() as javascript:
        _limit_memory()  # not that of Node, which reserves more than it uses
        contents = seeds()
        for index in indices:
            name, content = mutated(contents, seed, index)
            with open(path, "wb") as file:
                file.write(content)
            pipe.send((index, name, *outcome(path, javascript)))
    pipe.close()


def _limit_memory():
    """MEMORY for this process and no more, where the system has such a limit."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    except (ImportError, OSError):
        pass


@contextlib.contextmanager
def _removed(path):
    """The file, where there is one, is gone afterwards."""
    try:
        yield
    finally:
        if os.path.exists(path):
            os.unlink(path)


def fuzz(count, seed, save_dir, progress=True):
    """Load `count` mutated files; {"outcomes", "refused_by", "mutations": counts, "bad": list}.

    Files that led to anything else than RAN, ValueError or OSError are kept as <index>.safetensors.
    """
    os.makedirs(save_dir, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    multiprocessing.resource_tracker.ensure_running()  # its start would let the first worker hear Ctrl-C
    outcomes, refused_by, mutations = (collections.Counter() for _ in range(3))
    bad, index = [], 0

    def note(index, name, found, where):
        outcomes[found] += 1
        mutations[name] += 1
        if where:
            refused_by[where] += 1
        if found not in (RAN, "ValueError", "OSError", TOO_LARGE):
            file = os.path.join(save_dir, f"{index}.safetensors")
            with open(file, "wb") as kept:
                kept.write(mutated(seeds(), seed, index)[1])
            bad.append({"index": index, "mutation": name, "outcome": found})

    path = os.path.join(save_dir, f"mutated-{os.getpid()}.safetensors")
    with _removed(path), progress_bar(total=count, disable=not progress, unit="file", dynamic_ncols=True) as bar:
        while index < count:
            ours, theirs = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(theirs, seed, range(index, count), path), daemon=True)
            with interrupt.kept_from_others():
                worker.start()
            theirs.close()
            try:
                while index < count:
                    if not ours.poll(TIMEOUT):
                        found = f"hang: nothing for {TIMEOUT} s"
                        break
                    note(*ours.recv())
                    index += 1
                    bar.update()
            except EOFError:
                worker.join()
                found = f"crash: exit status {worker.exitcode}"
            finally:
                ours.close()
                worker.kill()
                worker.join()
            if index < count:
                note(index, mutated(seeds(), seed, index)[0], found, "")
                index += 1
                bar.update()
    return {
        "outcomes": dict(outcomes.most_common()),
        "refused_by": dict(refused_by.most_common()),
        "mutations": dict(mutations.most_common()),
        "bad": bad,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("--count", type=positive(int), default=100000, help="mutated files")
    parser.add_argument("--seed", type=SEED, default=0, help="the same seed gives the same files")
    parser.add_argument(
        "--save-dir",
        default=os.path.join("runs", "fuzz_runtime"),
        help="for the record, and for files that broke something",
    )
    args = parser.parse_args()
    if not seeds():
        sys.exit(f"fuzz_runtime.py: there are no golden files to damage in {GOLDEN}; they are part of the checkout")
    writable(args.save_dir, RECORD)
    began = time.perf_counter()
    found = fuzz(args.count, args.seed, args.save_dir)
    for title in ("outcomes", "refused_by"):
        print(title.replace("_", " "))
        for name, times in found[title].items():
            print(f"  {times:8d}  {name}")
    path = os.path.join(args.save_dir, RECORD)
    write_record(
        path,
        count=args.count,
        seed=args.seed,
        seconds=round(time.perf_counter() - began, 1),
        instruction_set=library.instruction_set(),
        javascript=NODE is not None,
        **found,
    )
    print(f"written to {path}")
    if found["bad"]:
        sys.exit(f"{len(found['bad'])} files were handled badly; they are in {args.save_dir}")


if __name__ == "__main__":
    main()
