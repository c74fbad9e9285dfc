"""Markdown tables: of times and errors, made from records, what experiments/README.md shows of them; and where in a
README a script puts its tables."""

TRAINED = (  # record, what it is
    ("mnist_relu", "binary weights, ReLU"),
    ("mnist_relu_long", 'the same, 120 epochs, batch 50, `"ste"`'),
    ("mnist_binary", "binary weights, binary hidden activations"),
)


def markdown(head, rows, align):
    """A table; align has l or r for each column."""
    rule = "|".join({"l": "---", "r": "---:"}[side] for side in align)
    first, *others = (f"| {' | '.join(map(str, row))} |" for row in (head, *rows))
    return "\n".join([first, f"|{rule}|", *others])


def placed(text, name, content, script):
    """The text of a README with `content` between the marks of this name, which say the script that writes there."""
    begin, end = f"<!-- {name}: made by experiments/{script} -->", f"<!-- end of {name} -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{content}\n{end}{after}"


def machine(record):
    """Where and when a record was made."""
    found = [record["processor"], *([f"{record['threads']} threads"] if "threads" in record else [])]
    if "instruction_set" in record:
        found.append(record["instruction_set"])
    return f"{', '.join(found)}; {record['date']}"


def short(value):
    """A time with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def trained(records):
    """Test errors of the notebook's net, from {name: record}."""
    rows = [
        (title, f"{100 * records[name]['test_error']:.2f}", f"[{name}.json](results/{name}.json)")
        for name, title in TRAINED
    ]
    return markdown(("784-100-10", "test error, %", "record"), rows, "lrl")


def training_steps(record):
    """Milliseconds per step, and those divided by the fastest PyTorch's, from a record of bench_training.py."""
    nets, names, best = record["nets"].values(), {}, []
    for net in nets:
        names.update(dict.fromkeys(net["step"]))
        best.append(min(ms for name, ms in net["step"].items() if name.startswith(("PyTorch", "torch"))))
    rows = []
    for name in names:
        cells = []
        for net, fastest in zip(nets, best):
            ms = net["step"].get(name)
            cells += ["", ""] if ms is None else [short(ms), f"{ms / fastest:.2f}"]
        rows.append((name, *cells))
    head = ["", *(cell for net in nets for cell in (net["net"], "share"))]
    return f"{machine(record)}, PyTorch {record['torch']}:\n\n" + markdown(head, rows, "l" + "rr" * len(nets))


def random_images(records, titles):
    """Milliseconds of a training step and of inference of whole nets, from records of bench_nets.py.

    titles : of the nets, by the names of their recipes
    """
    rows = []
    for record in records:
        for name, net in record["nets"].items():
            pairs = [net["us"][what] for what in ("step", "one image", "an image of 100")]
            cells = (f"{short(us['binary'] / 1000)} ({short(us['real'] / 1000)})" for us in pairs)
            rows.append((titles[name], f"{net['bits']:,}", net["batch"], *cells))
    head = ("net, random images; ms, in brackets with real weights in MXNet", "weights of 1 bit", "batch", "a step")
    head += ("one image", "an image of 100")
    return f"{machine(records[0])}:\n\n" + markdown(head, rows, "lrrrrr")


def layers(record):
    """Microseconds of each layer and implementation, from a record of bench_inference.py."""
    found = record["layers"]
    names = [name for name in next(iter(found.values()))["us"] if name != "weights read"]
    rows = [(name, *(short(layer["us"][name]) for layer in found.values())) for name in names]
    peers = "".join(f"; {package} {version}" for package, version in record["peers"].items())
    return f"{machine(record)}{peers}:\n\n" + markdown(("us", *found), rows, "l" + "r" * len(found))


def convolutions(record):
    """Microseconds of each 3x3 convolution of signs, and of one image through the all-binary LeNet."""
    found, lenet = record["convs"], record["lenet"]["us"]
    names = dict.fromkeys(name for conv in found.values() for name in conv["us"])
    rows = [(name, *(short(conv["us"][name]) for conv in found.values()), "") for name in names]
    rows += [(name, *[""] * len(found), short(us)) for name, us in lenet.items()]
    head = ("us; rows x size x channels", *found, "LeNet, one image")
    return f"{machine(record)}:\n\n" + markdown(head, rows, "l" + "r" * (len(found) + 1))


def one_image(record):
    """Microseconds of one image through the whole net, from a record of bench_inference.py."""
    net = record["net"]
    titles = {"runtime": "our runtime", "runtime, uint8": "our runtime, uint8", "MXNet packed": "frozen net in MXNet"}
    rows = [(titles.get(name, name), short(us)) for name, us in sorted(net["us"].items(), key=lambda item: item[1])]
    title = f"one image, {'-'.join(map(str, net['sizes']))}"
    sizes = f"The file has {net['bytes']['runtime']:,} bytes, float32 {net['bytes']['float32']:,}."
    return f"{machine(record)}. {sizes}\n\n" + markdown((title, "us"), rows, "lr")


PROVEN = (  # forms in the record of prove.py whose times are shown; {} is the best instruction set of the machine
    ("runtime, {}", "runtime"),
    ("ONNX Runtime", "ONNX Runtime"),
    ("C, the header alone", "C"),
    ("JavaScript, Node", "JavaScript"),
    ("MXNet, packed", "MXNet, packed"),
)


def proven(record):
    """Of each net how many forms ran, what differed, bytes, and the time of one image at a time in some forms."""
    rows, names = [], set()
    for name, net in record["nets"].items():
        forms = {row["form"]: row for row in net["rows"]}  # of a form on floats and on pixels that on pixels, the last
        best = [form for form in forms if form.startswith("runtime, ")][-1].partition(", ")[2]  # the fastest comes last
        names.add(best)
        chosen = [forms.get(form.format(best)) for form, _ in PROVEN]
        ties = {tie["row"] for row in net["rows"] for tie in row["near_ties"]}
        cells = [f"{found['bytes']:,}" if found else "" for found in chosen[:2]]
        cells += [short(1e6 * found["seconds_per_image"]["one_by_one"]) if found else "" for found in chosen]
        shortcuts = "arithmetic" in net["nodes"]
        error = f"{100 * (1 - net['right']):.2f}"
        ran = sum(row["bytes"] > 0 for row in net["rows"])  # without the one that compares pixels with floats
        rows.append((name, "yes" if shortcuts else "", error, ran, len(ties), *cells))
    head = ("net", "shortcuts", "error, %", "forms", "near ties", "bytes", "bytes, ONNX")
    head += tuple(f"{title}, us" for _, title in PROVEN)
    return f"{machine(record)}, {', '.join(sorted(names))}:\n\n" + markdown(head, rows, "ll" + "r" * (len(head) - 2))


def forms(record, net):
    """Bytes and times of every form of one net, from a record of prove.py."""
    rows = []
    for row in record["nets"][net]["rows"]:
        if row["bytes"]:  # all but the row that compares pixels with floats
            times = row["seconds_per_image"]
            us = (short(1e6 * times[way]) if way in times else "" for way in ("batch", "one_by_one"))
            imported = f"{row['import_seconds']:.2f}" if "import_seconds" in row else ""
            rows.append((row["form"], row["inputs"], f"{row['bytes']:,}", imported, *us, f"{row['not_equal']:,}"))
    head = (net, "inputs", "bytes", "import, s", "us per image, in batches", "one by one", "other bits")
    return f"{machine(record)}:\n\n" + markdown(head, rows, "ll" + "r" * (len(head) - 2))


def onnx(record):
    """Bytes and times of ONNX files, ours and ONNX Runtime's int8 of the same net, from a record of bench_onnx.py."""
    keys = list(next(iter(record["nets"].values()))["us"])
    rows = []
    for name, net in record["nets"].items():
        size, floats = net["bytes"]["ours"], net["bytes"]["float32"]
        cells = [name, f"{size:,}", f"{floats / size:.1f}", f"{size / net['bytes']['bound']:.2f}"]
        for key in keys:
            us = net["us"][key]
            int8 = [value for who, value in us.items() if who.startswith("int8") and not who.endswith("ReLU")]
            cells += [short(us["ours"]), short(min(int8))]
        rows.append(cells)
    head = ["net", "bytes", "times smaller than float32", "of the least possible"]
    head += [text for key in keys for text in (f"us per image, {key}", "the fastest int8")]
    return f"{machine(record)}, ONNX Runtime {record['onnxruntime']}:\n\n" + markdown(
        head, rows, "l" + "r" * (len(head) - 1)
    )


def headers(record):
    """Bytes and instructions of nets as C headers, from a record of bench_c.py."""
    rows = [
        (name, *(f"{number:,}" for number in (net["bits"], *net["bytes"].values(), net["instructions"])))
        for name, net in record["nets"].items()
    ]
    head = ("net", "weights of 1 bit", "code, bytes", "constants", "buffers", "instructions per image")
    return f"{record['compiler']}, `{record['options']}`:\n\n" + markdown(head, rows, "lrrrrr")
