"""`python -m gluon_bnn predict`: pictures prepared for a model, its answers, and what cannot be answered."""

import io
import json
import os
import sys

import numpy as np
import pytest

from gluon_bnn import cli, runtime, zoo
from gluon_bnn.graph.graph import Graph, Node
from gluon_bnn.native import library

from programs import run
from random_nets import SCALE, chain

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(params=["library", "numpy"])
def engine(request, monkeypatch):
    """The command runs on the library, then on NumPy."""
    if request.param == "numpy":
        monkeypatch.setattr(library, "available", lambda: False)
    elif not library.available():
        pytest.skip(library.problem())


@pytest.fixture
def here(rng, tmp_path, monkeypatch):
    """The current directory, with a model of three classes of grey pictures of 5 x 7."""
    monkeypatch.chdir(tmp_path)
    runtime.save(chain(rng, (1, 5, 7), "dense units=3", scale=SCALE), "model", labels=["cat", "dog", "a, b"])
    return tmp_path


def picture(rng, name, shape=(5, 7)):
    pixels = rng.integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(name)
    return pixels


def answers(capsys, *arguments, code=0):
    """What `predict --json` prints; nothing on stderr where all is well."""
    assert cli.main(["predict", "--json", *arguments]) == code
    printed = capsys.readouterr()
    assert code or not printed.err
    return json.loads(printed.out)


def refused(capsys, *arguments):
    """The line in which `predict` says what is wrong."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", *arguments])
    assert isinstance(ended.value.code, str) and "\n" not in ended.value.code and not capsys.readouterr().out
    return ended.value.code


def test_answers(rng, here, engine, capsys):
    pixels = [picture(rng, "a.png"), picture(rng, "b.png")]
    model = runtime.load("model")
    outputs = [model(each[None]) for each in pixels]
    order = [np.argsort(-each) for each in outputs]
    expected = [
        {
            "image": name,
            "class": model.labels[best[0]],
            "scores": [{"class": model.labels[index], "score": float(each[index])} for index in best],
        }
        for name, each, best in zip(["a.png", "b.png"], outputs, order)
    ]
    assert answers(capsys, "model", "a.png", "b.png") == expected
    (one,) = answers(capsys, "--top", "1", "model", "b.png")
    assert one == {**expected[1], "scores": expected[1]["scores"][:1]}
    assert cli.main(["predict", "model", "a.png", "--top", "2"]) == 0
    scores = ", ".join(f"{score['class']} {score['score']:.2f}" for score in expected[0]["scores"][:2])
    assert capsys.readouterr().out == f"a.png: {expected[0]['class']} ({scores})\n"
    # Dark on white.
    (inverted,) = answers(capsys, "--invert", "model", "a.png")
    assert inverted["scores"][0]["score"] == float(model(255 - pixels[0][None]).max())


def test_without_labels(rng, here, capsys):
    """Classes are numbers then."""
    runtime.save(chain(rng, (5, 7), "dense units=3", scale=SCALE), "plain")
    pixels = picture(rng, "a.png")
    (answer,) = answers(capsys, "plain", "a.png")
    outputs = runtime.load("plain")(pixels)
    assert answer["class"] == outputs.argmax() and [each["class"] for each in answer["scores"]] == list(
        np.argsort(-outputs)
    )


def test_shapes_of_models(rng, here, capsys):
    """Flat inputs that are a square, rows and columns, and colour; the picture is resized to them."""
    grey, colour = picture(rng, "grey.png", (6, 6)), picture(rng, "colour.png", (6, 6, 3))
    for shape, name, pixels in (
        (36, "grey.png", grey.reshape(36)),
        ((6, 6), "grey.png", grey),
        ((1, 6, 6), "grey.png", grey[None]),
        ((3, 6, 6), "colour.png", colour.transpose(2, 0, 1)),
        ((3, 6, 6), "grey.png", np.stack([grey] * 3)),
    ):
        runtime.save(chain(rng, shape, "dense units=4", scale=SCALE), "m")
        (answer,) = answers(capsys, "m", name)
        assert answer["scores"][0]["score"] == float(runtime.load("m")(np.ascontiguousarray(pixels)).max())
    Image.fromarray(np.full((50, 30), 200, np.uint8)).save("large.png")
    runtime.save(chain(rng, 36, "dense units=4", scale=SCALE), "m")
    (answer,) = answers(capsys, "m", "large.png")
    assert answer["scores"][0]["score"] == float(runtime.load("m")(np.full(36, 200, np.uint8)).max())


@pytest.mark.parametrize(
    "shape, scale, words",
    [
        (35, SCALE, r"m: the inputs of the model, (35,), are no picture's"),
        ((2, 5, 7), SCALE, "are no picture's: save it with an input_shape of (channels, height, width)"),
        ((1, 1, 5, 7), SCALE, "are no picture's"),
        ((1, 5, 7), None, "does not say what pixels stand for"),
    ],
)
def test_models_of_other_inputs(rng, here, capsys, shape, scale, words):
    runtime.save(chain(rng, shape, "dense units=3", scale=scale), "m")
    picture(rng, "a.png")
    assert words in refused(capsys, "m", "a.png")


def test_pictures_that_cannot_be_read(rng, here, capsys):
    """Each is named in a line; the others are answered."""
    picture(rng, "a.png")
    (here / "text.png").write_text("no picture")
    (here / "od\nd.png").write_bytes((here / "a.png").read_bytes()[:60])
    os.mkdir("folder")
    names = ["nowhere.png", "a.png", "text.png", "folder", "od\nd.png", "a.png"]
    assert cli.main(["predict", "--json", "model", *names]) == 1
    printed = capsys.readouterr()
    assert [answer["image"] for answer in json.loads(printed.out)] == ["a.png", "a.png"]
    lines = printed.err.splitlines()
    assert len(lines) == 4 and all(
        name in line for name, line in zip(["nowhere.png", "text.png", "folder", "od d.png"], lines)
    )
    assert cli.main(["predict", "--json", "model", "nowhere.png"]) == 1
    assert capsys.readouterr().out == "[]\n"


def test_without_pillow(rng, here, capsys, monkeypatch):
    picture(rng, "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install pillow" in refused(capsys, "model", "a.png", "a.png")


@pytest.mark.parametrize("content", [None, b"", b"x" * 100, "folder"])
def test_models_that_cannot_be_loaded(rng, here, capsys, content):
    picture(rng, "a.png")
    if content == "folder":
        os.mkdir("m")
    elif content is not None:
        (here / "m").write_bytes(content)
    line = refused(capsys, "m", "a.png")
    assert "m" in line and ("zoo are mnist" in line) == (content is None)


def test_what_is_no_number(here, capsys):
    """NaN and infinity are null in JSON. The class is that of `Model.predict`."""
    scale = {"scale": np.float32([3e38]), "shift": np.float32([0, 0, 0, 0])}
    nodes = Node("input", (), {"shape": (1, 2, 2)}, scale), Node("activation", (0,), {"function": "relu"})
    runtime.save(Graph(nodes), "m", labels=list("abcd"))
    Image.fromarray(np.uint8([[0, 9], [1, 0]])).save("a.png")
    (answer,) = answers(capsys, "m", "a.png")
    assert answer["class"] == "b" and [each["score"] is None for each in answer["scores"]] == [True, False, False]
    assert cli.main(["predict", "m", "a.png", "--top", "1"]) == 0 and capsys.readouterr().out == "a.png: b (b -)\n"
    difference = Node("arithmetic", (0, 0), {"function": "subtract"})  # of infinity and infinity
    runtime.save(Graph((nodes[0], difference)), "m", labels=list("abcd"))
    (answer,) = answers(capsys, "m", "a.png")
    assert answer["class"] == "b" and [each["class"] for each in answer["scores"]] == ["b", "a", "c"]


def test_standard_input(rng, here, capsys, monkeypatch):
    picture(rng, "a.png")
    content = (here / "a.png").read_bytes()
    for given, code in ((content, 0), (content[:50], 1), (b"", 1)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert cli.main(["predict", "model", "-"]) == code
        printed = capsys.readouterr()
        assert printed.out.startswith("-: ") if code == 0 else printed.err.startswith("standard input ")


@pytest.mark.parametrize("option", [["--top", "0"], ["--top", "x"], ["--to", "1"], ["--no-such"], []])
def test_wrong_arguments(capsys, option):
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "mnist", *option, *["a.png"] * bool(option)])
    assert ended.value.code == 2 and "usage: python -m gluon_bnn " in capsys.readouterr().err


def test_a_net_of_the_zoo_without_mxnet(rng, here):
    """In a process in which neither MXNet nor SciPy can be imported."""
    Image.fromarray(np.pad(np.full((20, 4), 255, np.uint8), ((4, 4), (12, 12)))).save("one.png")
    code = """if True:
        import sys
        sys.modules.update(dict.fromkeys(("mxnet", "scipy", "tqdm")))
        from gluon_bnn.cli import main
        sys.exit(main(sys.argv[1:]))"""
    done = run("-c", code, "predict", "mnist", "one.png", cwd=here)
    assert done.returncode == 0 and done.stdout.startswith("one.png: 1 (1 "), done.stderr
    assert "mnist" in zoo.names()
