"""Deployment, shown: a net of train_mnist.py is frozen, exported and saved, then classifies in each form.

    python experiments/deploy.py                            # trains on digits first: 40 s in all
    python experiments/deploy.py --dataset mnist            # 2 min
    python experiments/deploy.py --from runs/mnist-binary   # the net of an earlier train_mnist.py: 30 s

All options but --from are those of train_mnist.py, which trains in the directory "train" of --save-dir. --save-dir
itself gets net.params (as trained), float-* and packed-* (exports), model.safetensors (for the runtime and
for deploy_c/classify.c) and record.json. Every form classifies the test set, and is timed, in a fresh process.

Expected: forms on the same kernels give the same outputs to the bit. MXNet's sum over real-valued pixels, ours, and
the exact one over uint8 pixels are rounded differently (and MXNet's sigmoid and ours), so between these a class may
differ by a near tie: the two classes, or with binary hidden layers a value of the first one and 0, are closer in
float64 than the rounding errors that are measured here. Such rows are listed; any other difference is an error.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("no record is written")

import argparse
import dataclasses
import gzip
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from subprocess import PIPE, STDOUT

import numpy as np

from gluon_bnn import _table

from common.arguments import add_dataset, find_dataset, require_mnists_shape

# MXNet is imported where it is needed: forms that run without it are timed, and they run this file.

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH, ONE_BY_ONE = 1000, 500  # images
NOT_REAL = "only nets with binary or stochastic weights have bits to deploy"
NET = "mlp"
# What each form imports, and its files.
FORMS = {
    "net": ("nets", ["net.params"]),
    "float": ("gluon_bnn.train", ["float-symbol.json", "float-0000.params"]),
    "packed": ("gluon_bnn.deploy.exported", ["packed-symbol.json", "packed-0000.params"]),
    "runtime": ("gluon_bnn.runtime", ["model.safetensors"]),
}


def fail(message):
    sys.exit(f"deploy.py: {message}")


def load(form, directory, net_options, numpy_only):
    """A function of images, float32 or uint8 (rows, 784), to outputs."""
    files = [os.path.join(directory, name) for name in FORMS[form][1]]
    if form == "runtime":
        from gluon_bnn import runtime
        from gluon_bnn.native import library

        if numpy_only:
            library.path = lambda: None  # as where no library was built
        return runtime.load(*files)
    from gluon_bnn._compat import mx

    if form == "net":
        import nets

        net = nets.make(**net_options)
        net.load_parameters(*files)
        net.hybridize(static_alloc=True, static_shape=True)
    elif form == "float":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MXNet says that the type of the input is open
            net = mx.gluon.SymbolBlock.imports(files[0], ["data"], files[1])
    else:
        from gluon_bnn.deploy import exported

        net = exported.load_exported(os.path.join(directory, form))
    return lambda x: net(mx.nd.array(x)).asnumpy()


def classify(form, directory, net_options, numpy_only, images, outputs, began):
    """In a process of its own, which was started at `began`: load a form, classify, and print seconds."""
    importlib.import_module(FORMS[form][0])
    imported = time.time()
    net = load(form, directory, net_options, numpy_only)
    loaded = time.time()
    x = np.load(images)
    batches = [x[i : i + BATCH] for i in range(0, len(x), BATCH)]
    np.save(outputs, np.concatenate([net(batch) for batch in batches]))

    def seconds(pieces):
        net(pieces[0])
        found = []
        for piece in pieces:
            start = time.perf_counter()
            net(piece)
            found.append((time.perf_counter() - start) / len(piece))
        return float(np.median(found))

    ones = [x[i : i + 1] for i in range(min(len(x), ONE_BY_ONE))]
    print(
        json.dumps(
            {
                "import_seconds": imported - began,
                "load_seconds": loaded - imported,
                "seconds_per_image": {"batch": seconds(10 * batches), "one_by_one": seconds(ones)},
            }
        )
    )


@dataclasses.dataclass
class Backend:
    """A form on certain kernels and inputs, and its outputs; backends of the same numerics must be equal to the bit."""

    name: str
    form: str
    numerics: str
    isa: str = None
    times: dict = None
    outputs: np.ndarray = None  # None for the C program, which prints classes
    classes: np.ndarray = None

    def run(self, directory, net_options, scratch):
        """Classify in a fresh process."""
        outputs = os.path.join(scratch, "outputs.npy")
        images = "pixels.npy" if self.numerics == "uint8" else "images.npy"
        arguments = dict(
            form=self.form,
            directory=directory,
            net_options=net_options,
            numpy_only=self.isa == "NumPy",
            images=os.path.join(scratch, images),
            outputs=outputs,
            began=time.time(),
        )
        environment = dict(os.environ)
        if self.isa not in (None, "NumPy"):
            environment["GLUON_BNN_ISA"] = self.isa
        done = interrupt.run(
            [sys.executable, os.path.abspath(__file__), "--classify", json.dumps(arguments)],
            env=environment,
            stdout=PIPE,
            text=True,
        )
        if done.returncode:
            fail(f"{self.name} does not run, see above")
        self.times = json.loads(done.stdout.splitlines()[-1])
        self.outputs = np.load(outputs)
        self.classes = self.outputs.argmax(axis=1)

    def row(self, directory, labels):
        """What the record says of it."""
        return {
            "test_error": float((self.classes != labels).mean()),
            "sum_over_pixels": self.numerics,
            "bytes": sum(os.path.getsize(os.path.join(directory, name)) for name in FORMS[self.form][1]),
            **self.times,
        }


def backends(activation):
    """All backends of this machine except the C program, for nets with this activation; the net as trained first."""
    from gluon_bnn.native import library

    found = [Backend("net as trained", "net", "as trained"), Backend("float export", "float", "float")]
    if library.available():
        found.append(Backend("packed export", "packed", "packed" if activation == "sigmoid" else "float32"))
    else:
        print(f"no packed export, no C program, and the runtime in NumPy only: {library.problem()}")
    return found + [
        Backend(f"runtime, {numerics}, {isa}", "runtime", numerics, isa)
        for numerics in ("float32", "uint8")
        for isa in (*library.instruction_sets(), "NumPy")
    ]


def in_c(images, directory, scratch):
    """The Backend of deploy_c/classify.c on the data set in the directory `images`; None where there is no compiler.
    ValueError where the program does not compile or run."""
    from gluon_bnn import data
    from gluon_bnn.native import library

    if not (library.available() and shutil.which(os.environ.get("CC", "cc")) and shutil.which("make")):
        print("no C program: it needs the native library, make, and cc or a compiler named in CC")
        return None
    program = os.path.join(scratch, "classify")
    done = interrupt.run(
        ["make", "-s", "-C", os.path.join(HERE, "deploy_c"), "classify"],
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        env={**os.environ, "OUT": program, "LIB": str(library.path())},
    )
    if done.returncode:
        raise ValueError(f"deploy_c/classify.c does not compile:\n{done.stdout}")
    files = [os.path.join(scratch, name[: -len(".gz")]) for name in data.FILES[2:]]
    for packed, plain in zip(data.FILES[2:], files):
        with gzip.open(images / packed) as source, open(plain, "wb") as target:
            shutil.copyfileobj(source, target)
    began = time.perf_counter()
    done = interrupt.run(
        [program, "-p", os.path.join(directory, "model.safetensors"), *files], stdout=PIPE, stderr=PIPE, text=True
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise ValueError(f"deploy_c/classify.c does not run: {done.stderr}")
    classes = np.array([int(line) for line in done.stdout.splitlines()[:-1]])
    return Backend("classify.c, uint8", "runtime", "uint8", times={"process_seconds": seconds}, classes=classes)


def rows_of(images):
    """(rows, 784), as the C program reads them too."""
    return images.reshape(len(images), -1)


def save_forms(net, images, directory):
    """Write the files of all forms; the net frozen in the float form."""
    from gluon_bnn import deploy, runtime
    from gluon_bnn._compat import mx
    from gluon_bnn.native import library

    net.save_parameters(os.path.join(directory, "net.params"))
    frozen = {}
    for form in ("float", "packed") if library.available() else ("float",):
        frozen[form] = deploy.freeze(
            net, form, input_scale=float(images.scale), input_shift=images.shift.reshape(-1), verbose=form == "packed"
        )
        frozen[form].hybridize()
        frozen[form](mx.nd.array(rows_of(images.test[:1])))
        frozen[form].export(os.path.join(directory, form))
    runtime.save(frozen[form], os.path.join(directory, "model.safetensors"))
    return frozen["float"]


def hidden_values(net, frozen, images):
    """{numerics: values before the first hidden layer's activation}, which differ in how sums are rounded."""
    from gluon_bnn import runtime, train
    from gluon_bnn.graph.graph import Graph

    from common import cross_check

    x, pixels = rows_of(images.test), rows_of(images.test_pixels)
    inputs, dense = frozen.graph.nodes[:2]
    first = runtime.Model(Graph((inputs, dataclasses.replace(dense, attributes={**dense.attributes, "to": "float"}))))
    return {
        "as trained": cross_check.hidden_values(net, x)[0],
        "float": train.predict(frozen[:2], x, BATCH),
        "packed": first(x),
        "float32": first(x),
        "uint8": first(pixels),
    }


def print_table(table):
    cells = [("form", "right", "bytes", "import s", "load s", "us per image", "one by one")]
    for name, row in table.items():
        each = row.get("seconds_per_image", {})
        cells.append(
            (
                name,
                f"{1 - row['test_error']:.2%}",
                f"{row['bytes']:,}",
                *(f"{row[key]:.2f}" if key in row else "" for key in ("import_seconds", "load_seconds")),
                *(f"{1e6 * each[key]:.3g}" if key in each else "" for key in ("batch", "one_by_one")),
            )
        )
    print(_table.text(cells, right=range(1, len(cells[0]))))


def print_differences(compared, binary):
    print(
        f"{compared.near_ties} {'hidden values' if binary else 'images'} are near ties, within {compared.bound:.1e}; "
        "differences from the net as trained:"
    )
    for numerics, found in compared.differences.items():
        bits = f", {found['hidden_bits']} hidden bits" if binary else ""
        print(f"  {numerics}: {len(found['classes'])} classes{bits}")
        for row in found["classes"]:
            print("    image {row}: {classes[1]}, not {classes[0]}; {near_ties}".format(**row))


def parse_args(argv):
    """(own options, the command line with which train_mnist.py is to train into args.trained, None with --from)."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        allow_abbrev=False,
        epilog="All other options are those of train_mnist.py: see its --help.",
    )
    add = parser.add_argument
    add("--from", dest="trained", metavar="DIR", help="--save-dir of an earlier train_mnist.py; default: train now")
    add_dataset(parser, default=None)
    add("--save-dir", help="for the files and the record; default: runs/deploy-DATASET")
    args, rest = parser.parse_known_args(argv)
    if args.trained is not None:
        if args.dataset is not None or rest:
            parser.error(
                "--from takes net and data set of an earlier run: only --data-dir and --save-dir are allowed "
                f"with it, got {' '.join(rest) or '--dataset'}"
            )
        return args, None
    import train_mnist

    for name in ("dataset", "data_dir"):
        if getattr(args, name) is not None:
            rest += ["--" + name.replace("_", "-"), getattr(args, name)]
    training = train_mnist.parse_args(rest)
    if training.weights == "real":
        parser.error(f"{NOT_REAL}, got --weights real")
    if training.net != NET:
        parser.error(f"--net must be {NET}, whose layers are compared one by one, got {training.net}")
    args.trained = os.path.join(save_dir(args, training.dataset), "train")
    return args, [*rest, "--save-dir", args.trained]


def save_dir(args, dataset):
    return args.save_dir or os.path.join("runs", f"deploy-{os.path.basename(os.path.normpath(dataset))}")


def load_trained(directory, wanted):
    """(settings, net with the parameters of the best epoch) from a directory of train_mnist.py; leaves with a message
    that begins with what is `wanted` where it does not hold them."""
    from safetensors import safe_open

    from gluon_bnn._compat import mx

    import nets
    from common.images import INPUTS

    path = os.path.join(directory, "checkpoint.safetensors")
    try:
        with safe_open(path, framework="numpy") as file:
            settings = json.loads(file.metadata()["gluon_bnn"])["settings"]
            settings.setdefault("net", NET)  # files from before --net existed
            known = dict(net=[NET], weights=nets.WEIGHTS, activation=[*nets.ACTIVATIONS], inputs=INPUTS)
            for name, allowed in known.items():
                if settings[name] not in allowed:
                    raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {settings[name]!r}")
            if not isinstance(settings["dataset"], str):
                raise ValueError(f"dataset must be a string, got {settings['dataset']!r}")
            net = nets.make(**{name: settings[name] for name in nets.OPTIONS if name in settings})
            for name, parameter in net._collect_params_with_prefix().items():
                parameter.set_data(mx.nd.array(file.get_tensor(f"best/{name}")))
    except Exception as error:  # the file may hold anything, and nets.make is not made for that
        fail(f"{wanted}{path} cannot be used ({type(error).__name__}: {error})")
    if settings["weights"] == "real":
        fail(f"{NOT_REAL}, and {path} is of --weights real")
    return settings, net


def prepare(args, dataset, inputs):
    """(images, their directory, the directory for results), seen to be there and writable."""
    from common.images import Images
    from common.record import writable

    try:
        images, source = Images(dataset, args.data_dir, inputs), find_dataset(dataset, args.data_dir)
        require_mnists_shape(dataset, images.shape, images.classes)
    except (ImportError, OSError, ValueError) as error:
        fail(error)
    target = save_dir(args, dataset)
    writable(target, *(name for _, names in FORMS.values() for name in names), "record.json")
    return images, source, target


def main(argv=None):
    args, training = parse_args(argv)
    if training:
        import train_mnist

        options = train_mnist.parse_args(training)
        images, source, directory = prepare(args, options.dataset, options.inputs)
        train_mnist.main(training)
        interrupt.says(f"no record is written; --from {args.trained} deploys the net that was trained")
    settings, net = load_trained(
        args.trained, "" if training else "--from must be the --save-dir of an earlier train_mnist.py: "
    )
    if not training:
        images, source, directory = prepare(args, settings["dataset"], settings["inputs"])
    try:
        frozen = save_forms(net, images, directory)
    except ValueError as error:
        fail(error)
    import nets
    from common.cross_check import ROUNDING, reference_outputs
    from common.near_ties import compare
    from common.record import write_record

    found, complaints = backends(settings["activation"]), []
    print(f"{settings['dataset']}: {len(images.test)} test images, a fresh process for each form")
    with tempfile.TemporaryDirectory() as scratch:
        np.save(os.path.join(scratch, "images.npy"), rows_of(images.test))
        np.save(os.path.join(scratch, "pixels.npy"), rows_of(images.test_pixels))
        for backend in found:
            backend.run(directory, {name: settings[name] for name in nets.OPTIONS if name in settings}, scratch)
        try:
            found += filter(None, [in_c(source, directory, scratch)])
        except ValueError as error:
            complaints.append(str(error))
    (hidden, *_), outputs = reference_outputs(net, images.test)
    binary = settings["activation"].startswith("binary")
    compared = compare(found, hidden_values(net, frozen, images), (hidden, outputs), binary, ROUNDING)
    complaints += compared.complaints
    table = {backend.name: backend.row(directory, images.test_labels) for backend in found}
    print_table(table)
    if "process_seconds" in found[-1].times:
        print(f"{found[-1].name}: {found[-1].times['process_seconds']:.3f} s from start to end")
    print_differences(compared, binary)
    write_record(
        os.path.join(directory, "record.json"),
        settings=settings,
        images=len(images.test),
        forms=table,
        near_tie_bound=compared.bound,
        near_ties=compared.near_ties,
        differences_from_net_as_trained=compared.differences,
        complaints=complaints,
    )
    print(f"results are in {directory}")
    if complaints:
        fail("\n  ".join(["not all is as it should be:", *complaints]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--classify"]:
        classify(**json.loads(sys.argv[2]))
    else:
        main()
