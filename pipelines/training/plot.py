"""The losses of a run as a picture."""

from __future__ import annotations

from pathlib import Path

NOT_LOSSES = {"step", "seconds", "rate"}


def plot_history(history: list[dict[str, float]], path: Path) -> None:
    """One curve per logged value over steps, on a logarithmic axis, as a PNG at `path`."""
    if len(history) < 2:
        return
    from matplotlib.figure import Figure  # heavy, and only training needs it

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", yscale="log")
    for name in dict.fromkeys(name for row in history for name in row if name not in NOT_LOSSES):
        points = [(row["step"], row[name]) for row in history if name in row]
        marker = "o" if name.startswith("validation") else None
        axes.plot(*zip(*points, strict=True), label=name, linewidth=2 if name == "loss" else 1, marker=marker)
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
