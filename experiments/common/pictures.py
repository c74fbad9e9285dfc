"""Pictures: a training run's curves, confusion matrix and first-layer binary filters; speed of inference; the papers'
methods. At their own size they are 850 pixels wide, and so read without enlarging."""

import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend must be chosen first
import numpy as np

from common.palette import BLACK, BLUE, GRAY, GREEN, LINES, ORANGE, PURPLE, RED, SKY
from common.record import save_figure

WIDTH = 7.6  # inches
FEWEST_TICKS, MOST_TICKS = 4, 9  # of a logarithmic axis
# The ticks within a factor of ten, evenly spread, from few to many.
DECADES = (1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
MOST_NAMED = 30  # classes of which the confusion matrix has names and counts


def curves(history, moved, path):
    """Loss and errors by epoch, the best epoch marked. `moved` says whether training images were shifted or bent: their
    error is then higher than that of images as they are."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3))
    epochs = np.arange(1, len(history["loss"]) + 1)
    loss = np.array(history["loss"])
    marker = "." if len(epochs) == 1 else None  # a line through one point is not seen
    left.plot(epochs, loss, color=BLACK, marker=marker)
    left.set(xlabel="epoch", ylabel="training loss")
    if loss.min() > 0:
        left.set_yscale("log")
        _plain(left)
    training = "training, on moved images" if moved else "training"
    right.plot(epochs, 100 * np.array(history["error"]), "--", label=training, color=BLUE, marker=marker)
    right.plot(epochs, 100 * np.array(history["validation_error"]), label="validation", color=RED, marker=marker)
    best = history["best_epoch"]
    right.plot(best + 1, 100 * history["validation_error"][best], "o", color=RED, label=f"best epoch, {best + 1}")
    right.set(xlabel="epoch", ylabel="error, %")
    if min(history["error"] + history["validation_error"]) > 0:
        right.set_yscale("log")
        _plain(right)
    else:
        right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if len(epochs) == 1:
            axes.set_xlim(0.5, 1.5)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    figure.tight_layout()
    right.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=8, columnspacing=1)
    save_figure(figure, path)


def _plain(axes):
    """Ticks of a logarithmic axis as plain numbers, so few that they do not collide; where there would be fewer than
    two, because the values hardly differ, the axis becomes linear."""
    low, high = axes.get_ylim()
    ticks = []
    for decade in DECADES:
        finer = [m * 10.0**e for e in range(-6, 7) for m in decade if low <= m * 10.0**e <= high]
        if len(finer) > MOST_TICKS:
            break
        ticks = finer
        if len(ticks) >= FEWEST_TICKS:
            break
    if len(ticks) < 2:
        axes.set_yscale("linear")
        return
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def confusion_matrix(predictions, labels, names, path):
    """Counts by true label and prediction, of classes with these names; the diagonal is left pale so that errors stand
    out."""
    classes = len(names)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (np.asarray(labels, int), np.asarray(predictions, int)), 1)
    errors = counts * (1 - np.eye(classes, dtype=int))
    size = min(7.5, max(3.5, 0.46 * classes))
    figure, axes = plt.subplots(figsize=(size + 0.4, size))
    image = axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(1, errors.max()))
    for i, j in zip(*np.nonzero(counts)) if classes <= MOST_NAMED else ():
        dark = errors[i, j] > 0.6 * max(1, errors.max())
        color = "white" if dark else "black" if i != j else "gray"
        axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=8, color=color)
    axes.set(xlabel="prediction", ylabel="label", title=f"{errors.sum()} of {counts.sum()} wrong")
    if classes <= MOST_NAMED:
        texts = [_short(str(name)) for name in names]
        wide = 0.1 * (max(map(len, texts)) + 0.5)  # inches: a character is about 0.1, and the colour bar takes 0.3
        long = wide > 0.7 * size / classes
        axes.set_xticks(range(classes), texts, rotation=90 if long else 0, parse_math=False)
        axes.set_yticks(range(classes), texts, parse_math=False)
    figure.colorbar(image, label="errors", shrink=0.8, ticks=matplotlib.ticker.MaxNLocator(integer=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a script that matplotlib's font does not have
        save_figure(figure, path)


def _short(name):
    return name if len(name) <= 20 else f"{name[:9]}…{name[-10:]}"


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
        **{f"{name} (rows x units x inputs)": found["times_mxnet_float32"] for name, found in record["layers"].items()},
        "one image, " + "-".join(map(str, record["net"]["sizes"])): record["net"]["times_mxnet_float32"],
    }
    columns = 2
    rows = -(-(len(panels) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 3.1 * rows), squeeze=False)
    for ax, (title, speed) in zip(axes.flat, panels.items()):
        _speeds(ax, title, speed)
    ax = axes.flat[len(panels)]
    for (kernel, found), style in zip(record["growth"].items(), ("-", "--")):
        for axis, color in zip(found, (BLUE, RED, GREEN)):
            label = f"{kernel} by {axis}"
            ax.plot(found[axis]["size"], found[axis]["us"], style, color=color, marker=".", markersize=4, label=label)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel("the size that changes", fontsize=8)
    ax.set_ylabel("us per call", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.grid(alpha=0.3)
    ax.set_title("64x1024x1024, one size changed", fontsize=9)
    ax.legend(fontsize=7, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.4, -0.2))
    for ax in axes.flat[len(panels) + 1 :]:
        ax.set_axis_off()
    figure.suptitle(
        "Times as fast as MXNet float32; bars to the left are slower. Dashed: xor + popcount + add on registers\n"
        f"alone, or reading the weights, what takes longer. {record['processor']}, {record['threads']} threads, "
        f"{record['instruction_set']}",
        fontsize=9,
    )
    figure.tight_layout()
    save_figure(figure, path)


def _speeds(axes, title, speed):
    """Bars from 1, the speed of MXNet's float32, to the right where a candidate is faster and to the left where it is
    slower; the limit is a line behind them. The numbers are at the right of the bars, on a white background."""
    colors = {"PyTorch": ORANGE, "ONNX": PURPLE, "Larq": SKY}
    limit = min(speed.get(name, np.inf) for name in ("registers alone", "weights read"))
    not_bars = "registers alone", "weights read", "bytes alone"
    speed = {name: value for name, value in reversed(speed.items()) if name not in not_bars}
    shown = [next((c for start, c in colors.items() if name.startswith(start)), BLUE) for name in speed]
    axes.barh(list(speed), [value - 1 for value in speed.values()], left=1, color=shown, zorder=2)
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    for row, value in enumerate(speed.values()):
        at, offset = (max(1, value), row), dict(xytext=(3, 0), textcoords="offset points", va="center")
        axes.annotate(f"{value:.3g}", at, fontsize=7, bbox=white, zorder=3, **offset)
    axes.axvline(1, color=GRAY, linewidth=1, zorder=1)
    seen = [1, *speed.values()]
    if limit < np.inf:
        axes.axvline(limit, color=BLACK, linestyle="--", linewidth=1, zorder=1)
        seen.append(limit)
    axes.set_xscale("log")
    low, high = min(seen), max(seen)
    axes.set_xlim(low / (high / low) ** 0.05, high * (high / low) ** 0.2)  # room for the numbers
    axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.tick_params(labelsize=7)
    axes.set_title(title, fontsize=9)


def methods(records, path):
    """Validation error by epoch, one line per method, the best epoch marked; errors on the test set in the legend. Nets
    with real and with binary hidden activations have a panel each."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 4.6), sharey=True)
    groups = {"binary weights (and real ones), real activations": [], "binary weights and activations": []}
    for title, record in records.items():
        groups[list(groups)[record["settings"]["activation"].startswith("binary")]].append((title, record))
    for axes, (name, group) in zip(panels, groups.items()):
        for (title, record), line in zip(group, LINES):
            errors, best = 100 * np.array(record["curve"]["val_error"]), record["best_epoch"]
            label = f"{title}: test {100 * record['test_error']:.2f}%"
            axes.plot(np.arange(1, len(errors) + 1), errors, **line, linewidth=1.3, label=label)
            axes.plot(best, errors[best - 1], "o", color=line["color"], markersize=5)
        axes.set(xlabel="epoch", yscale="log")
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.3)
        if group:
            axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.18))
    panels[0].set_ylabel("validation error, %")
    _plain(panels[0])
    figure.tight_layout()
    save_figure(figure, path)
