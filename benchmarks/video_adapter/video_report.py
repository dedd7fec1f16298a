"""The Video Adapter experiment for people: tables, a verdict, film strips, plots of the grids."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from scorefield.files import whole_file, write_text
from scorefield.images import film_strips, save_image

_RIGHT = {
    "success": "all right",
    "motion": "motion",
    "color": "colour",
    "domain": "domain",
    "shape": "shape",
}
_DISTANCES = {
    "frechet_random": "FD random",
    "frechet_classifier": "FD classifier",
    "frechet_hand": "FD hand",
    "jitter": "jitter",
    "diversity": "diversity",
    "nearest": "to training",
}
_NEW = {"motion": "new motion", "color": "new colour", "both": "both new"}
_SPACES = {name: words for name, words in _DISTANCES.items() if name.startswith("frechet")}
_STRIPS = 12  # clips on a sheet of film strips


def markdown(results: Mapping[str, Any]) -> str:
    """Tables with 95% intervals, the floor and the verdict, whatever it is."""
    arms, settings = results["arms"], results["settings"]
    head = ["arm", "γ", "α", "steps", "evaluations", *_RIGHT.values()]
    lines = ["## What the clips show", "", *_header(head)]
    for row in arms.values():
        cells = [row["title"], *_how(row), *(_cell(row, name) for name in _RIGHT)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", _RIGHT_NOTE, "", "## How they are distributed", ""]
    lines += _header(["arm", *_DISTANCES.values()])
    for row in arms.values():
        lines.append(f"| {' | '.join([row['title'], *(_cell(row, k) for k in _DISTANCES)])} |")
    lines += [
        "",
        _distance_note(results),
        "",
        "## All right, by what the small model never saw",
        "",
    ]
    lines += _header(["arm", *_NEW.values(), "by seed"])
    for row in arms.values():
        kinds = [f"{row['by_new'][kind]:.2f}" for kind in _NEW]
        seeds = ", ".join(f"{share:.2f}" for share in row["by_seed"])
        lines.append(f"| {' | '.join([row['title'], *kinds, seeds])} |")
    lines += ["", "## Verdict: is small + prior better than both alone?", "", *verdict(results), ""]
    lines.append(
        f"Every arm has {settings['seeds']} x {settings['n']} clips of "
        f"{results['captions']['judging']} captions and at most {3 * settings['steps']} network "
        f"evaluations per clip, and was tuned on {results['captions']['tuning']} other captions "
        f"with other noise ({settings['tuning']} clips per setting). Seeds are of the noise; every "
        "network was trained once. Brackets are 95% bootstrap intervals over clips."
    )
    return "\n".join(lines)


_RIGHT_NOTE = (
    "Read by rules, without a network. All right: motion, colour and domain. γ is the prior's "
    "strength (inverse: the small model's; convex: the small model's share; guidance by the prior: "
    "β), α the inverse temperature or guidance scale (guidance by the prior: 1 with the text for "
    "the small model, 0 without)."
)


def _distance_note(results: Mapping[str, Any]) -> str:
    floor, judge = results["floor"], results["judge"]
    sizes = [f"{size:.0f}" for size in floor["clips"]]
    curves = "; ".join(
        f"{words} {', '.join(f'{value:.2f}' for value in floor[name.removeprefix('frechet_')])}"
        for name, words in _SPACES.items()
    )
    right = ", ".join(f"{name} {share:.1%}" for name, share in judge.items())
    return (
        "Frechet distances (FD) from real clips of the same captions, whose coordinates have unit "
        f"spread. The floor with {', '.join(sizes[:-1])} and {sizes[-1]} real clips: {curves}. "
        f"The classifier is right on fresh real clips: {right}. Jitter: of the clips in which "
        "something moves, pixels. Diversity: root-mean-square distance of two clips of a caption. "
        "To training: the same to the nearest of the small model's clips."
    )


def verdict(results: Mapping[str, Any]) -> list[str]:
    """A line per combination: what it gains over the small model and over the prior alone."""
    lines = []
    for name, others in results["verdict"].items():
        gains = [_gain(others[other], f"the {words} alone") for other, words in _ALONE.items()]
        wins = [_says(others[other]["success"]) for other in _ALONE]
        claim = (
            "more clips all right than with either alone"
            if all(win == "better" for win in wins)
            else "fewer clips all right than with one of them alone"
            if "worse" in wins
            else "not shown to be better than both alone"
        )
        lines.append(f"- **{results['arms'][name]['title']}**: {claim}. {'; '.join(gains)}.")
    return lines or ["- No arm combines the two."]


_ALONE = {"small": "small model", "prior": "prior"}


def _gain(differences: Mapping[str, Sequence[float]], other: str) -> str:
    spaces = ", ".join(
        f"{words} {_says(differences[name], less=True)}" for name, words in _SPACES.items()
    )
    return f"Against {other}: all right {_interval(differences['success'], '+')}; {spaces}"


def _says(difference: Sequence[float], *, less: bool = False) -> str:
    """What the interval (value, low, high) of a difference says, of a figure that should be more.

    less: or that should be less.
    """
    _, low, high = difference
    if less:
        low, high = -high, -low
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def _header(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]


def _how(row: Mapping[str, Any]) -> list[str]:
    if "setting" not in row:
        return ["-", "-", "-", "-"]
    setting = row["setting"]
    strength = setting["prior_strength"]
    return [
        f"{strength:g}" if row["combines"] else "-",
        f"{setting['inverse_temperature']:g}",
        f"{row['steps']} {'DDPM' if setting['eta'] else 'DDIM'}",
        f"{row['evaluations']:g}",
    ]


def _cell(row: Mapping[str, Any], name: str) -> str:
    measure = row["measures"].get(name)
    return "-" if measure is None else _interval(measure)


def _interval(estimate: Sequence[float], sign: str = "") -> str:
    value, low, high = estimate
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def write_report(
    results: Mapping[str, Any],
    clips: Mapping[str, UInt8[Tensor, "n frames 3 h w"]],
    captions: Sequence[str],
    folder: Path,
) -> list[Path]:
    """Write table.md, a sheet of film strips per arm and the plot of the grids.

    Args:
        results: as `Experiment.run` returns them.
        clips: per arm, in bytes.
        captions: of the clips.
        folder: where to write.

    Returns:
        The files.
    """
    written = [folder / "table.md"]
    write_text(written[0], markdown(results) + "\n")
    # From all over the captions, the same for every arm
    rows = [i * len(captions) // _STRIPS for i in range(min(_STRIPS, len(captions)))]
    for name, videos in clips.items():
        sheet = film_strips(videos[rows] / 255, [captions[i] for i in rows], enlarge=3)
        written.append(save_image(folder / "strips" / f"{name}.png", sheet))
    return [*written, plot_grids(results, folder / "grids.png")]


def plot_grids(results: Mapping[str, Any], path: Path) -> Path:
    """Plot the share of tuning clips all right over γ and α, a panel per combination."""
    from matplotlib.figure import Figure

    panels = [r for r in results["arms"].values() if r.get("combines") and r["tried"]]
    figure = Figure(figsize=(4 * max(1, len(panels)), 3.4), layout="constrained")
    for place, row in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        strengths = sorted({one["prior_strength"] for one in row["tried"]})
        temperatures = sorted({one["inverse_temperature"] for one in row["tried"]})
        for alpha in temperatures:
            line = [one for one in row["tried"] if one["inverse_temperature"] == alpha]
            x = [strengths.index(one["prior_strength"]) for one in line]
            axes.plot(x, [one["success"] for one in line], "o-", label=f"α = {alpha:g}")
        axes.set_xticks(range(len(strengths)), [f"{strength:g}" for strength in strengths])
        axes.set(title=row["title"], xlabel="γ", ylim=(-0.03, 1.03))
        if place == 0:
            axes.set_ylabel("share of clips all right")
        axes.legend(frameon=False)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)
    return path
