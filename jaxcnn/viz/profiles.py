"""The time and memory that each layer of a network takes, as a bar chart."""

from matplotlib.figure import Figure

from jaxcnn.inspect import Profile
from jaxcnn.train import integers
from jaxcnn.viz.style import BLUE, GREEN, ORANGE, VERMILION, figure


def profile_picture(profile: Profile, *, most: int = 40) -> Figure:
    """Bars of the time and of the bytes of each layer.

    Args:
      profile: what `inspect.profile` found.
      most: how many layers have a bar: those that take the longest, in the network's order. One more bar is the sum
        of all other layers.

    Returns:
      A figure with two axes, time at the left and bytes at the right.

    Raises:
      ValueError: most below 1.
    """
    most = integers.whole("viz.profile_picture", "most", most, 1)
    ranks = sorted(range(len(profile.rows)), key=lambda i: -profile.rows[i].milliseconds)
    shown, others = ([profile.rows[i] for i in sorted(part)] for part in (ranks[:most], ranks[most:]))
    groups = [(row.path, [row]) for row in shown] + ([(f"{len(others)} others", others)] if others else [])
    places = range(len(groups))

    fig, axes = figure(1, 2, (9.6, 0.24 * len(groups) + 1.7), sharey=True)
    left, right = axes[0]
    times = [sum(row.milliseconds for row in rows) for _, rows in groups]
    left.barh(places, times, color=BLUE)
    left.set(yticks=places, yticklabels=[name for name, _ in groups], xlabel="time (ms)")
    left.set_title("Each layer alone")
    left.set_ylim(len(groups) - 0.4, -0.6)  # the first layer on top
    start = [0.0] * len(groups)
    for label, color, column in (
        ("weights", VERMILION, "parameter_bytes"),
        ("output", GREEN, "output_bytes"),
        ("temporary", ORANGE, "temporary_bytes"),
    ):
        sizes = [sum(getattr(row, column) or 0 for row in rows) / 2**20 for _, rows in groups]
        right.barh(places, sizes, left=start, color=color, label=label)
        start = [a + b for a, b in zip(start, sizes, strict=True)]
    right.set(xlabel="memory (MiB)", title="Bytes of each layer")
    fig.legend(loc="outside lower right", ncols=3, frameon=False)
    for ax in (left, right):
        ax.grid(False, axis="y")
    fig.suptitle(
        f"{profile.name}, a batch of {profile.batch_size} on {profile.device}: "
        f"whole network {profile.whole.milliseconds:.3g} ms, layers one by one {sum(times):.3g} ms"
    )
    return fig
