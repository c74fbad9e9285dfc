"""Pictures: a training run's curves, confusion matrix and first-layer binary filters; speed of inference."""

import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)
import numpy as np  # noqa: E402

from common.record import save_figure  # noqa: E402

MOST_NAMED = 40  # classes of which the confusion matrix has names and counts


def curves(history, path):
    """Loss and errors by epoch, the best epoch marked."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    epochs = np.arange(1, len(history["loss"]) + 1)
    left.plot(epochs, history["loss"], color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss", yscale="log")
    right.plot(epochs, 100 * np.array(history["error"]), label="training", color="tab:blue")
    right.plot(epochs, 100 * np.array(history["validation_error"]), label="validation", color="tab:orange")
    best = history["best_epoch"]
    right.plot(
        best + 1, 100 * history["validation_error"][best], "o", color="tab:orange", label=f"best epoch, {best + 1}"
    )
    right.set(xlabel="epoch", ylabel="error, %")
    if min(history["error"] + history["validation_error"]) > 0:
        right.set_yscale("log")
        _percent(right, (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50))
    else:
        right.set_ylim(bottom=0)
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    save_figure(figure, path)


def _percent(axes, ticks):
    """Ticks of a logarithmic axis, those of them that it reaches, written as plain numbers."""
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.get_yaxis().set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.get_yaxis().set_minor_formatter(matplotlib.ticker.NullFormatter())


def confusion_matrix(predictions, labels, names, path):
    """Counts by true label and prediction, of classes with these names; the diagonal is left pale so that errors stand
    out."""
    classes = len(names)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (np.asarray(labels, int), np.asarray(predictions, int)), 1)
    errors = counts * (1 - np.eye(classes, dtype=int))
    size = min(12.0, max(3.5, 0.46 * classes))
    figure, axes = plt.subplots(figsize=(size + 0.4, size))
    image = axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(1, errors.max()))
    for i, j in zip(*np.nonzero(counts)) if classes <= MOST_NAMED else ():
        dark = errors[i, j] > 0.6 * max(1, errors.max())
        color = "white" if dark else "black" if i != j else "gray"
        axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=8, color=color)
    axes.set(xlabel="prediction", ylabel="label", title=f"{errors.sum()} of {counts.sum()} wrong")
    if classes <= MOST_NAMED:
        texts = [_short(str(name)) for name in names]
        long = 0.1 * max(map(len, texts)) > size / classes  # inches, of a character about
        axes.set_xticks(range(classes), texts, rotation=90 if long else 0, parse_math=False)
        axes.set_yticks(range(classes), texts, parse_math=False)
    figure.colorbar(image, label="errors", shrink=0.8, ticks=matplotlib.ticker.MaxNLocator(integer=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a script that matplotlib's font does not have
        save_figure(figure, path)


def _short(name):
    return name if len(name) <= 20 else name[:19] + "…"


def filters(signs, shape, path):
    """The first layer's binary filters (units, inputs) as images of this shape, (channels, height, width).

    White +1, black -1; in colour each of red, green and blue is on for +1.
    """
    channels, height, width = shape
    columns = max(1, min(20, 600 // (width + 2)))
    signs = signs[: min(100, columns * max(1, 1200 // (height + 2)))].reshape(-1, channels, height, width)
    rows = -(-len(signs) // columns)
    canvas = np.full((rows * (height + 2), columns * (width + 2), channels), 0.5)
    for i, image in enumerate(signs):
        top, left = (height + 2) * (i // columns) + 1, (width + 2) * (i % columns) + 1
        canvas[top : top + height, left : left + width] = (image.transpose(1, 2, 0) + 1) / 2
    figure, axes = plt.subplots(figsize=(10, 10 * canvas.shape[0] / canvas.shape[1] + 0.4))
    axes.imshow(canvas if channels == 3 else canvas[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    meaning = "white is +1, black -1" if channels == 1 else "red, green, blue are on for +1, off for -1"
    axes.set_title(f"binary filters of the first layer, {len(signs)} units: {meaning}", fontsize=9)
    save_figure(figure, path)


def inference(record, path):
    """Speed by layer and of the whole net, as multiples of MXNet's float32; growth of time with size."""
    panels = {
        **{name: found["times_mxnet_float32"] for name, found in record["layers"].items()},
        "one image, " + "-".join(map(str, record["net"]["sizes"])): record["net"]["times_mxnet_float32"],
    }
    columns = 4
    rows = -(-(len(panels) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.7 * rows), squeeze=False)
    colors = {"MXNet float32": "gray", "PyTorch": "tab:green", "ONNX": "tab:purple", "Larq": "tab:brown"}
    for ax, (title, speed) in zip(axes.flat, panels.items()):
        roofline = min(speed.get(name, np.inf) for name in ("registers alone", "weights read"))
        names = [name for name in speed if name not in ("registers alone", "weights read")][::-1]
        bars = ax.barh(
            names,
            [speed[name] for name in names],
            color=[next((c for start, c in colors.items() if name.startswith(start)), "tab:blue") for name in names],
        )
        ax.bar_label(bars, [f"{speed[name]:.3g}" for name in names], fontsize=7, padding=2)
        ax.axvline(1, color="gray", linewidth=0.8)
        if roofline < np.inf:
            ax.axvline(roofline, color="tab:red", linestyle="--", linewidth=1)
        ax.set_xscale("log")
        ax.margins(x=0.12)
        ax.tick_params(labelsize=7)
        ax.set_title(title, fontsize=9)
    ax = axes.flat[len(panels)]
    for (kernel, found), style in zip(record["growth"].items(), ("-", "--")):
        for axis, color in zip(found, ("tab:blue", "tab:orange", "tab:green")):
            ax.plot(
                found[axis]["size"],
                found[axis]["us"],
                style,
                color=color,
                marker=".",
                markersize=4,
                label=f"{kernel} by {axis}",
            )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.tick_params(labelsize=7)
    ax.legend(fontsize=6)
    ax.grid(alpha=0.3)
    ax.set_title("us, 64x1024x1024 with one size changed", fontsize=9)
    for ax in axes.flat[len(panels) + 1 :]:
        ax.set_axis_off()
    figure.suptitle(
        "times as fast as MXNet float32 (rows x units x inputs; red: the roofline, xor + popcount + add "
        f"on registers or reading the weights)\n{record['processor']}, {record['threads']} threads, "
        f"{record['instruction_set']}",
        fontsize=10,
    )
    figure.tight_layout()
    save_figure(figure, path)


def methods(records, path):
    """Validation error by epoch, a line a method, the best epoch marked; errors on the test set in the legend."""
    figure, axes = plt.subplots(figsize=(9, 5))
    colors = plt.get_cmap("tab10").colors
    for i, (title, record) in enumerate(records.items()):
        errors = 100 * np.array(record["curve"]["val_error"])
        color, best = colors[i % len(colors)], record["best_epoch"]
        axes.plot(
            np.arange(1, len(errors) + 1),
            errors,
            color=color,
            linewidth=1.2,
            label=f"{title}: test {100 * record['test_error']:.2f}%",
        )
        axes.plot(best, errors[best - 1], "o", color=color, markersize=5)
    axes.set(xlabel="epoch", ylabel="validation error, %", yscale="log")
    _percent(axes, (0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save_figure(figure, path)
