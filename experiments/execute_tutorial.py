"""Executes tutorial.ipynb from nothing and saves it with its outputs.

    python experiments/execute_tutorial.py

The tests execute it in the same way, and compare. This needs no Jupyter: nbclient and ipykernel would bring 37 packages
of 107 MB, and what they would be asked for is short. The notebook has plain Python in its cells; a cell shows what it
prints, its figures at plt.show(), and its last expression.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("tutorial.ipynb is whole, old or new")

import argparse
import ast
import base64
import contextlib
import io
import json
import os

NOTEBOOK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tutorial.ipynb")


class Outputs(io.TextIOBase):
    """The outputs of one cell, as nbformat has them, in the order in which they came; a stream that takes prints."""

    def __init__(self):
        self.all = []

    def write(self, text):
        if not (self.all and self.all[-1]["output_type"] == "stream"):
            self.all.append({"name": "stdout", "output_type": "stream", "text": ""})
        self.all[-1]["text"] += text
        return len(text)

    def figures(self, pyplot):
        """Every open figure as a PNG; closes them."""
        for number in pyplot.get_fignums():
            file = io.BytesIO()
            pyplot.figure(number).savefig(file, format="png", bbox_inches="tight", metadata={"Software": None})
            data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": "<Figure>"}
            self.all.append({"data": data, "metadata": {}, "output_type": "display_data"})
        pyplot.close("all")

    def result(self, value, count):
        """The value of the last expression."""
        data = {"text/plain": repr(value)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_()
        self.all.append({"data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result"})

    def to_json(self):
        """As a notebook keeps them: texts as lists of lines."""
        for output in self.all:
            if "text" in output:
                output["text"] = output["text"].splitlines(keepends=True)
            for kind, text in output.get("data", {}).items():
                output["data"][kind] = text if kind == "image/png" else text.splitlines(keepends=True)
        return self.all


def execute(notebook):
    """Run the code cells of a notebook, a dict, in this process, one after the other; their outputs replace those that
    it has. What a cell raises is raised."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = {"__name__": "__main__"}
    show = pyplot.show
    try:
        for count, cell in enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), 1):
            outputs = Outputs()
            pyplot.show = lambda: outputs.figures(pyplot)
            tree = ast.parse("".join(cell["source"]))
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            where = f"cell {cell['id']}"
            with contextlib.redirect_stdout(outputs):
                exec(compile(tree, where, "exec"), names)
                value = None if last is None else eval(compile(ast.Expression(last.value), where, "eval"), names)
            if value is not None:
                outputs.result(value, count)
            cell["execution_count"], cell["outputs"] = count, outputs.to_json()
    finally:
        pyplot.show = show


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", default=NOTEBOOK, help="where it is saved")
    output = parser.parse_args().output

    from common.record import replace, writable

    writable(os.path.dirname(os.path.abspath(output)), os.path.basename(output), what="the directory of --output")
    with open(NOTEBOOK, encoding="utf-8") as file:
        notebook = json.load(file)
    execute(notebook)
    replace(output, (json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode())
    print(output)


if __name__ == "__main__":
    main()
