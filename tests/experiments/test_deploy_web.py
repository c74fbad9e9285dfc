"""Nets in JavaScript: the module under Node against the package, to the bit, and the page in Chromium."""

import functools
import glob
import gzip
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from safetensors.numpy import load_file

from gluon_bnn import data, runtime, zoo
from gluon_bnn.graph import bits, engine
from gluon_bnn.graph.graph import MOST_NODES, Graph, Node
from gluon_bnn.graph.kinds.activation import FUNCTIONS
from gluon_bnn.graph.kinds.arithmetic import FUNCTIONS as OPERATIONS
from gluon_bnn.runtime.file import dumps, loads

from javascript import NODE, WEB, JavaScript, floats, needs_node
from paths import GOLDEN, ROOT
from random_nets import SCALE, Net, awkward_nets, chain, dense_over, random_graph, same

sys.path.append(os.path.join(ROOT, "tests", "runtime"))
import test_model_files as files


@pytest.fixture(scope="module")
def javascript():
    with JavaScript() as javascript:
        yield javascript


@needs_node
def test_golden_files(javascript):
    """Those of formats 1 and 2 give the answers that were recorded, and say the same of themselves."""
    paths = [path for path in glob.glob(os.path.join(GOLDEN, "*.safetensors")) if ".answers." not in path]
    assert len(paths) >= 15
    for path in paths:
        answers = load_file(path.replace(".safetensors", ".answers.safetensors"))
        inputs = [answers[name] for name in ("x", "pixels") if name in answers]
        refused, outputs, said = javascript.answer(path, *inputs)
        assert refused is None
        for found, name in zip(outputs, ("y", "y_uint8")):
            assert same(found, answers[name].astype(np.float32, copy=False)), (path, name)
        model = runtime.load(path)
        assert (said["labels"], said["accuracy"]) == (model.labels and list(model.labels), model.accuracy)


def awkward_inputs(rng, graph):
    """Rows of floats with zeros, infinities and NaN among them, and of uint8 where the graph takes it."""
    x = rng.standard_normal((3, graph.inputs)).astype(np.float32)
    x[1, rng.random(graph.inputs) < 0.3] = -0.0
    x[2] *= rng.choice(
        np.float32([0, 1, 1e-42, 1e30, np.inf, np.nan]), graph.inputs, p=(0.2, 0.5, 0.1, 0.1, 0.05, 0.05)
    )
    pixels = rng.integers(0, 256, x.shape, np.uint8)
    return [x] if graph.input_scale is None else [x, pixels]


@needs_node
def test_every_kind_has_the_bits_of_the_engine(rng, tmp_path, javascript):
    """Chains and random graphs over awkward sizes: every kind, form and function, each kind of input scale."""
    graphs = [*awkward_nets(rng), *(random_graph(rng, images=1) for _ in range(20))]
    assert {node.kind for graph in graphs for node in graph.nodes} >= set(files.KINDS)
    for graph in graphs:
        (tmp_path / "model").write_bytes(dumps(graph))
        inputs = awkward_inputs(rng, graph)
        with np.errstate(all="ignore"):
            expected = [engine.run(graph, x) for x in inputs]
        refused, outputs, _ = javascript.answer(tmp_path / "model", *inputs)
        assert refused is None
        assert all(map(same, outputs, expected)), [(node.kind, node.attributes) for node in graph.nodes]


@needs_node
@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_have_the_bits_of_the_engine(rng, tmp_path, javascript, function):
    """Over all magnitudes: near 0, where some have another formula, and where they overflow."""
    graph = chain(rng, 400, f"activation function={function}")
    magnitudes = [2.0 ** np.arange(-150, 128) * rng.uniform(1, 2, 278), rng.uniform(0, 25, 122)]
    x = np.concatenate(magnitudes).astype(np.float32) * np.float32([[1], [-1]])
    (tmp_path / "model").write_bytes(dumps(graph))
    with np.errstate(all="ignore"):
        expected = engine.run(graph, x)
    _, (found,), _ = javascript.answer(tmp_path / "model", x)
    assert same(found, expected)


@needs_node
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_have_the_bits_of_the_engine(rng, tmp_path, javascript, operation):
    """Zeros of both signs, infinities and NaN with one another."""
    numbers = np.float32([0.0, -0.0, 1.5, -3, 1e-45, 3e38, np.inf, -np.inf, np.nan])
    x = np.stack(np.meshgrid(numbers, numbers), axis=-1).reshape(-1, 2)
    net = Net(rng, 2)
    net.add("arithmetic", net.add("slice", begin=0, end=1), net.add("slice", 0, begin=1, end=2), function=operation)
    (tmp_path / "model").write_bytes(dumps(net.graph()))
    with np.errstate(all="ignore"):
        expected = engine.run(net.graph(), x)
    _, (found,), _ = javascript.answer(tmp_path / "model", x)
    assert same(found, expected)


@needs_node
def test_products_of_pixels_beyond_2_to_the_24(rng, tmp_path, javascript):
    """70,000 pixels add up to more than float32 holds of whole numbers."""
    arrays = dense_over(np.ones((3, 70000), np.float32))
    net = Net(rng, 70000, SCALE)
    arrays.update(alpha_u8=arrays["alpha"], bias_u8=arrays["bias"])
    net.add("binary_dense", units=3, to="float", arrays=arrays)
    (tmp_path / "model").write_bytes(dumps(net.graph()))
    pixels = rng.integers(250, 256, (20, 70000), np.uint8)
    sums = pixels.sum(axis=1, dtype=np.int64)
    assert sums.min() > 2**24 and (sums % 2).any()
    _, (found,), _ = javascript.answer(tmp_path / "model", pixels)
    assert (found == sums[:, None].astype(np.float32)).all()


@needs_node
def test_weights_are_those_of_the_arrays(rng, tmp_path, javascript):
    """What the page draws: (units, taps, channels) of each layer."""
    graph = chain(
        rng,
        (3, 5, 4),
        "image shape=5x4x3",
        "binary_conv2d channels=17 kernel=2x3 strides=1x1 padding=0x0 dilation=1x1 pad=zero to=bits",
        "binary_conv2d channels=33 kernel=2x1 strides=1x1 padding=0x0 dilation=1x1 pad=plus to=float",
        "conv2d channels=6 kernel=1x2 strides=1x1 padding=0x0 dilation=1x1 groups=3",
        "flatten",
        "dense units=7",
        "binary_dense units=5 to=float",
    )
    (tmp_path / "model").write_bytes(dumps(graph))
    _, _, said = javascript.answer(tmp_path / "model", np.zeros((1, 60), np.float32))
    weights = [text and floats(text) for text in said["weights"]]
    arrays = [node.arrays for node in graph.nodes]
    assert (weights[2] == bits.unpack_weights(arrays[2]["weight_bits"], 17, 18).reshape(-1)).all()
    taps = [bits.unpack_weights(arrays[3]["weight_bits"][:, [tap]], 33, 17) for tap in range(2)]
    assert (weights[3] == np.stack(taps, axis=1).reshape(-1)).all()
    for index in (4, 6):
        assert (weights[index] == arrays[index]["weight"].T.reshape(-1)).all()
    assert (weights[7] == bits.unpack_weights(arrays[7]["weight_bits"], 5, 7).reshape(-1)).all()
    assert weights[:2] == [None, None] and weights[5] is None


# What JavaScript's own objects and numbers could make of a header: replacements in a good one.
OWN = {
    "a prototype as a tensor": (b'"1.alpha"', b'"__proto__"'),
    "a prototype as an array": (b'"1.alpha"', b'"1.__proto__"'),
    "a constructor as an array": (b'"1.alpha"', b'"1.constructor"'),
    "a prototype as a field": (b'"dtype":"F32"', b'"__proto__":{"dtype":"F32"}'),
    "a prototype as another field": (b'"dtype":"F32"', b'"dtype":"F32","__proto__":{}'),
    "a prototype as metadata": (b'{"__metadata__":{', b'{"__metadata__":{"__proto__":"x",'),
    "a prototype of metadata": (b'"__metadata__":{', b'"__metadata__":{"__proto__":{"gluon_bnn":"x"},'),
    "metadata twice, one of them escaped": (b'{"__metadata__"', b'{"__met\\u0061data__":{},"__metadata__"'),
    "a tensor that begins too late": (b'"data_offsets":[0,4]', b'"data_offsets":[2,4]'),
    "2^53 + 1": (b'"data_offsets":[0,', b'"data_offsets":[9007199254740993,'),
    "19 digits": (b'"shape":[1]', b'"shape":[9999999999999999999]'),
    "20 digits": (b'"shape":[1]', b'"shape":[10000000000000000000]'),
    "more than any number": (b'"shape":[1]', b'"shape":[1e999]'),
    "a product beyond any number": (b'"shape":[1]', b'"shape":[%s1]' % (b"9999999999999999999," * 7)),
    "minus zero": (b'"data_offsets":[0,', b'"data_offsets":[-0,'),
    "a hexadecimal number": (b'"shape":[1]', b'"shape":[0x1]'),
    "infinity": (b'"shape":[1]', b'"shape":[Infinity]'),
    "a byte order mark": (b'{"__metadata__"', b'\xef\xbb\xbf{"__metadata__"'),
    "a byte order mark in a name": (b'{"__metadata__"', b'{"\xef\xbb\xbf__metadata__"'),
    "a surrogate in UTF-8": (b'{"__metadata__":{', b'{"__metadata__":{"\xed\xa0\x80":"x",'),
    "an overlong slash": (b'{"__metadata__":{', b'{"__metadata__":{"\xc0\xaf":"x",'),
    "a pair of surrogates": (b'{"__metadata__":{', b'{"__metadata__":{"\\ud83d\\ude00":"\xf0\x9f\x98\x80",'),
    "halves the wrong way round": (b'{"__metadata__":{', b'{"__metadata__":{"\\ude00\\ud83d":"x",'),
    "a space that only some know": (b'{"__metadata__"', b'{\xc2\xa0"__metadata__"'),
    "a line separator": (b'{"__metadata__":{', b'{"__metadata__":{"a":"\xe2\x80\xa8",'),
    "a comma at the end": (b"]}}", b"]},}"),
    "a comment": (b'{"__metadata__"', b'{/**/"__metadata__"'),
    "a quote of one stroke": (b'"gluon_bnn"', b"'gluon_bnn'"),
    "kind constructor": (b"; dense 6 units=6", b"; constructor 6"),
    "kind __proto__": (b"; dense 6 units=6", b"; __proto__ 6 units=6"),
    "kind of two lines": (b"; dense 6 units=6", b"; dense 6 units=6\\n"),
    "function constructor": (b"function=tanh", b"function=constructor"),
    "form __proto__": (b"to=bits01", b"to=__proto__"),
    "a size beyond 2^53": (b"units=6", b"units=9007199254740993"),
    "a size with an exponent": (b"units=6", b"units=6e0"),
}


def hostile_files(rng):
    """(name, content) of the damaged files of the runtime's tests, and of those above, with good ones among them."""
    good = dumps(loads(files.golden("format2_chain")))
    yield "good", good
    for name, (damage, _) in {**files.DAMAGES, **files.DAMAGES1}.items():
        if (damage, _) == files.DAMAGES.get(name):
            tensors, line = files.thirteen_nodes(rng)
        else:
            tensors, line = files.deserialize(files.golden()), files.line_of(files.golden())[0]
        yield name, written(tensors, damage(tensors, line))
    for name, description in files.DESCRIPTIONS.items():
        arrays = chain(rng, 6, "dense units=2").nodes[1].arrays
        tensors = {f"1.{array}": values for array, values in arrays.items()}
        yield name, written(tensors, f"format 2; input shape=6; dense 0 units=2\n{description}")
    for name, (wreck, _) in files.WRECKS.items():
        yield name, wreck(files.golden())
    tensors, line = files.thirteen_nodes(rng)
    content = written(tensors, line)
    for name, (old, new) in OWN.items():
        if old.startswith((b";", b"function", b"to", b"units")):
            changed = line.replace(old.decode(), new.decode().replace("\\n", "\n"), 1)
            assert changed != line
            yield name, written(tensors, changed)
        else:
            yield name, files.swapped(old, new)(content)
    yield "a prototype as an array more", written({**tensors, "1.__proto__": files.ONE}, line)
    yield "an array of Object's more", written({**tensors, "1.toString": files.ONE}, line)
    huge = "format 2; input shape=1073741824; activation 0 function=relu"
    yield "2^30 words", written({}, huge)
    yield "2^31 words", written({}, f"{huge}; activation 1 function=relu")
    yield "2^24 elements and two of concat", written({}, "format 2; input shape=8388609; concat 0,0")
    tensors = files.deserialize(dumps(chain(rng, 6, "dense units=2", scale=SCALE)))
    line = "format 2; input shape=6; dense 0 units=2"
    yield "a scale of 0", written({**tensors, "0.scale": 0 * files.ONE}, line)
    pool = "max_pool kernel=1x1 strides=1x1 padding=0x0 rounding=floor"
    tensors = files.deserialize(
        dumps(chain(rng, 5, "image shape=1x1x5", "pack to=bits", pool, "flatten", "binary_dense units=2 to=float"))
    )
    line = f"format 2; input shape=5; image 0 shape=1x1x5; pack 1 to=bits; {pool.replace(' ', ' 2 ', 1)}; flatten 3; "
    line += "binary_dense 4 units=2 to=float"
    yield "a good pool", written(tensors, line)
    yield "a channel past the last that falls", written({**tensors, "3.falls": np.int32([32])}, line)


def written(tensors, line):
    crc = files.crc32(line, tensors)
    return files.serialize(tensors, {"gluon_bnn": f"{line}; crc32 {crc:08x}"})


@needs_node
def test_hostile_files_are_refused_where_python_refuses_them(rng, tmp_path, javascript):
    taken = []
    for name, content in hostile_files(rng):
        (tmp_path / "model").write_bytes(content)
        refused, _, _ = javascript.answer(tmp_path / "model")
        try:
            loads(content)
        except ValueError as error:
            assert refused and len(refused) < 1000, f"{name}: JavaScript loads what Python refuses: {error}"
        else:
            assert refused is None, f"{name}: JavaScript refuses what Python loads: {refused}"
            taken.append(name)
    own = ["a prototype as metadata", "minus zero", "a pair of surrogates", "a line separator"]
    assert taken == ["good", *own, "2^30 words", "a good pool"]


@needs_node
def test_refusals_say_what_is_wrong(rng, tmp_path, javascript):
    tensors, line = files.thirteen_nodes(rng)

    def why(tensors, line):
        (tmp_path / "model").write_bytes(written(tensors, line))
        return javascript.answer(tmp_path / "model")[0]

    assert why(tensors, line.replace("format 2", "format 3")).startswith(
        "it has format 3, and formats 1 and 2 are read"
    )
    assert 'node 7 must be "dense <sources> units=<...>"' in why(tensors, line.replace("dense 6 units", "dense units"))
    assert why({**tensors, "1.alpha": tensors["1.alpha"][:5]}, line) == (
        "node 1, binary_dense: alpha must be Float32 33, got 5"
    )
    assert "tensors must be named <node>.<array>, nodes 0 to 12" in why({**tensors, "13.bias": files.ONE}, line)
    wrong = {**tensors, "3.sums": tensors["3.sums"] + 1}
    assert why(wrong, line) == "node 3, binary_dense: sums must be the sums of the signs"
    (tmp_path / "model").write_bytes(written(tensors, line)[:-1])
    assert "the copy was cut off" in javascript.answer(tmp_path / "model")[0]


@needs_node
@pytest.mark.slow
def test_the_most_nodes(tmp_path, javascript):
    nodes = [Node("input", (), {"shape": (1,)}), *(Node("flatten", (index,)) for index in range(MOST_NODES - 1))]
    (tmp_path / "model").write_bytes(dumps(Graph(tuple(nodes))))
    x = np.float32([[7]])
    refused, (y,), _ = javascript.answer(tmp_path / "model", x)
    assert refused is None and same(y, x)


def classify(*arguments):
    """The ended process of `node classify.mjs ARGUMENTS`."""
    command = [NODE, os.path.join(WEB, "classify.mjs"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@needs_node
def test_classify(rng, tmp_path):
    """Arrays of images and of rows, uint8 and float32, and files that are neither."""
    net = chain(rng, (1, 4, 5), "binary_dense units=7 to=bits norm", "binary_dense units=3 to=float", scale=SCALE)
    runtime.save(net, tmp_path / "model")
    model = runtime.load(tmp_path / "model")
    arguments = tmp_path / "model", tmp_path / "x.npy", tmp_path / "y.npy"
    for x in (
        rng.integers(0, 256, (5, 1, 4, 5), np.uint8),
        rng.standard_normal((3, 20)).astype(np.float32),
        np.zeros((0, 20), np.uint8),
    ):
        np.save(tmp_path / "x.npy", x)
        done = classify(*arguments)
        assert done.returncode == 0, done.stderr
        assert same(np.load(tmp_path / "y.npy"), model(x.reshape(len(x), 20)))
        record = json.loads(done.stdout)
        assert record.keys() == {"load_seconds", "seconds_per_image"} and record["load_seconds"] > 0
        assert record["seconds_per_image"].keys() == {"one_by_one"}


@needs_node
@pytest.mark.slow
def test_classify_refuses_other_arrays(rng, tmp_path):
    runtime.save(chain(rng, 20, "dense units=3", scale=SCALE), tmp_path / "model")
    arguments = tmp_path / "model", tmp_path / "x.npy", tmp_path / "y.npy"

    def complaint(content):
        (tmp_path / "x.npy").write_bytes(content)
        done = classify(*arguments)
        assert done.returncode == 1 and done.stderr.startswith("classify.mjs: ") and done.stderr.count("\n") == 1
        return done.stderr

    for x, words in (
        (np.zeros((2, 21), np.uint8), "rows of 20 numbers, got 42 numbers in 2 rows"),
        (np.zeros((2, 20)), "must be a .npy file of uint8 or little-endian float32 in C order"),
        (np.asfortranarray(np.zeros((2, 20), np.uint8)), "in C order"),
        (np.array(7, np.uint8), "inputs must have rows"),
    ):
        buffer = io.BytesIO()
        np.save(buffer, x)
        assert words in complaint(buffer.getvalue())
    content = buffer.getvalue()
    for wrong in (b"", content[:7], content[:40], content + b"\0", b"text\n" * 50):
        assert complaint(wrong).startswith("classify.mjs: inputs")
    assert "usage: node classify.mjs MODEL" in classify(tmp_path / "model").stderr
    assert "no such file" in classify(tmp_path / "nowhere", tmp_path / "x.npy", tmp_path / "y.npy").stderr


def mnist_images():
    """MNIST's test images, uint8 (10000, 1, 28, 28)."""
    directory = data.find("mnist")
    if directory is None:
        pytest.skip("MNIST is not here")
    with gzip.open(directory / data.FILES[2]) as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("name, rows", [("mnist", 2000), ("tfc-0", 2000), ("larq-0", 300), ("lenet_xnor-0", 300)])
def test_mnist(tmp_path, name, rows):
    """Trained nets on test images, to the bit; `python -m gluon_bnn prove` does it on all of them."""
    if name not in zoo.names():
        pytest.skip("the nets of experiments/results/papers are not here")
    images = mnist_images()[:rows]
    path = zoo.info(name)["file"]
    np.save(tmp_path / "x.npy", images)
    done = classify(path, tmp_path / "x.npy", tmp_path / "y.npy")
    assert done.returncode == 0, done.stderr
    assert same(np.load(tmp_path / "y.npy"), zoo.load(name)(images))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """`python -m http.server`, which says nothing."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def page():
    """(a headless Chromium, the address of the page as it is served from its own folder)."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install -e '.[test]'")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1000,1000"):
        options.add_argument(argument)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=WEB))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser, f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        browser.quit()
        server.shutdown()
        server.server_close()


def wait(browser, condition):
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, 60, 0.05).until(lambda _: condition())


def text_of(browser, name):
    return browser.find_element("id", name).text


def opened(page, query=""):
    """The browser, once the page has loaded its net, or refused it."""
    browser, address = page
    browser.get(address + query)
    wait(browser, lambda: not browser.find_element("id", "waiting").is_displayed())
    return browser


def scores(browser):
    """What the page shows: [label, score]."""
    rows = browser.find_elements("css selector", "#scores tr")
    return [(row.find_element("tag name", "th").text, row.find_elements("tag name", "td")[-1].text) for row in rows]


# Puts an image of the test set on the drawing area, ten pixels of it to one, and lets the pen go.
PUT = """
const [pixels, side] = arguments;
const canvas = document.getElementById("paper");
const paper = canvas.getContext("2d");
const size = canvas.width / side;
pixels.forEach((gray, at) => {
  paper.fillStyle = `rgb(255 255 255 / ${gray / 255})`;
  paper.fillRect((at % side) * size, Math.floor(at / side) * size, size, size);
});
canvas.dispatchEvent(new PointerEvent("pointerup"));
"""


@pytest.mark.slow
def test_page_reads_a_digit_of_the_test_set(page):
    """The scores that it shows are those of the runtime for that image, whose box and centre are as MNIST has them."""
    images = mnist_images()
    model = zoo.load("mnist")
    browser = opened(page)
    facts = text_of(browser, "facts")
    assert "18,972 bytes" in facts and "1x28x28 → 100 → 10" in facts and "97.52% of the test images" in facts
    assert len(browser.find_elements("css selector", "#filters canvas")) == 100
    assert text_of(browser, "legend") == "The weights of its 100 units: white +1, black -1."
    assert text_of(browser, "answer") == "Nothing is drawn yet."
    for row in (0, 1, 2, 3):
        browser.find_element("id", "clear").click()
        browser.execute_script(PUT, images[row].reshape(-1).tolist(), 28)
        wait(browser, lambda: "This is" in text_of(browser, "answer"))
        expected = model(images[row])
        assert scores(browser) == [(str(label), f"{score:.2f}") for label, score in enumerate(expected)]
        assert text_of(browser, "answer") == f"This is “{expected.argmax()}”."
        assert re.search(r"[0-9.]+ ms for an image", text_of(browser, "facts"))


TWO = (
    (0.3, 0.3),
    (0.35, 0.2),
    (0.5, 0.15),
    (0.65, 0.2),
    (0.7, 0.35),
    (0.6, 0.5),
    (0.45, 0.65),
    (0.3, 0.8),
    (0.5, 0.8),
    (0.75, 0.8),
)


@pytest.mark.slow
def test_page_reads_strokes_of_the_pen(rng, tmp_path, page):
    """A two, drawn with the mouse; then another net reads it, and the page is cleared."""
    from selenium.webdriver.common.action_chains import ActionChains

    browser = opened(page)
    paper = browser.find_element("id", "paper")
    size = paper.rect["width"]
    actions = ActionChains(browser, duration=20)
    for index, (x, y) in enumerate(TWO):
        actions.move_to_element_with_offset(paper, int((x - 0.5) * size), int((y - 0.5) * size))
        if index == 0:
            actions.click_and_hold()
    actions.release().perform()
    wait(browser, lambda: text_of(browser, "answer") == "This is “2”.")
    assert max(scores(browser), key=lambda score: float(score[1]))[0] == "2"
    conv = "binary_conv2d channels=9 kernel=3x2 strides=1x1 padding=0x0 dilation=1x1 pad=plus to=bits"
    rows = "image shape=28x28x1", "pack to=bits", conv, "flatten", "binary_dense units=4 to=float"
    runtime.save(chain(rng, (1, 28, 28), *rows, scale=SCALE), tmp_path / "conv")
    browser.find_element("id", "file").send_keys(str(tmp_path / "conv"))
    wait(browser, lambda: "1x28x28 → 26x27x9 → 4" in text_of(browser, "facts"))
    assert re.fullmatch("This is “[0-3]”.", text_of(browser, "answer")) and len(scores(browser)) == 4
    pictures = browser.find_elements("css selector", "#filters canvas")
    sizes = [(picture.get_attribute("width"), picture.get_attribute("height")) for picture in pictures]
    assert sizes == [("2", "3")] * 9
    browser.find_element("id", "clear").click()
    assert text_of(browser, "answer") == "Nothing is drawn yet."


@pytest.mark.slow
def test_page_says_what_is_wrong_with_a_file(rng, tmp_path, page):
    """And goes on with the net that it has."""
    browser = opened(page)
    assert not text_of(browser, "error")
    content = files.golden()
    (tmp_path / "cut").write_bytes(content[:-1])
    (tmp_path / "text").write_bytes(b"not a model\n" * 100)
    runtime.save(chain(rng, (3, 8, 8), "dense units=2", scale=SCALE), tmp_path / "small")
    runtime.save(chain(rng, (1, 28, 28), "dense units=2"), tmp_path / "floats")
    wide = "binary_conv2d channels=8 kernel=1x1 strides=1x1 padding=4096x4096 dilation=1x1 pad=plus to=bits"
    rows = "image shape=28x28x1", wide, "max_pool kernel=1x1 strides=4000x4000 padding=0x0 rounding=floor", "flatten"
    graph = chain(rng, (1, 28, 28), *rows, "binary_dense units=2 to=float", scale=SCALE)
    runtime.save(graph, tmp_path / "large")
    labels = ["<img src=x onerror=alert(1)>", "</table>"]
    runtime.save(chain(rng, (1, 28, 28), "dense units=2", scale=SCALE), tmp_path / "markup", labels=labels)
    for name, words in (
        ("cut", "cut cannot be shown: it is not a model file, or a damaged one. .* the copy was cut off"),
        ("text", "text cannot be shown: it is not a model file, or a damaged one"),
        ("small", "small cannot be shown: it takes inputs of 3x8x8, and what is drawn here has 28x28 pixels"),
        ("floats", "floats cannot be shown: it was frozen without an input scale"),
        ("large", "large cannot be shown: this net needs memory for [0-9]+ numbers, and at most"),
    ):
        browser.find_element("id", "file").send_keys(str(tmp_path / name))
        wait(browser, lambda words=words: re.match(words, text_of(browser, "error")))
        assert "mnist.safetensors" in text_of(browser, "facts")
    browser.find_element("id", "file").send_keys(str(tmp_path / "markup"))
    wait(browser, lambda: not browser.find_element("id", "error").is_displayed())
    assert [label for label, _ in scores(browser)] == labels
    browser = opened(page, "?model=nowhere.safetensors")
    assert text_of(browser, "error") == "nowhere.safetensors cannot be shown: the server has no such file (404)"


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1000])
def test_page_fits_its_window(page, width):
    browser = opened(page)
    metrics = dict(width=width, height=800, deviceScaleFactor=1, mobile=False)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    for element in browser.find_elements("css selector", "canvas[role], input, button"):
        assert element.accessible_name
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
