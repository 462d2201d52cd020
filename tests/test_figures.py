"""Figures: that they show the numbers they were given, and what `compare` and `show` draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from gradexp.comparison import gather
from gradexp.comparison.figures import contenders, figures, names_of, on_one_surface
from gradexp.plots import png, save
from gradexp.plots.contact_sheet import Picture, draw_contact_sheet
from gradexp.plots.curves import band, draw_curves
from gradexp.plots.heat_map import draw_heat_map
from gradexp.plots.learning_rates import draw_learning_rates
from gradexp.plots.profile import draw_profile
from gradexp.plots.race import Runner, animate_race, draw_race
from gradexp.plots.relief import draw_relief, draw_surface
from gradexp.plots.starts import draw_starts
from gradexp.surfaces import get, names
from tests.conftest import COVERING, Gradexp, in_tiers, left_behind


def texts(figure: Figure) -> str:
    """All that is written in a figure."""
    found = [*figure.texts, *(axes.title for axes in figure.axes)]
    legends = [axes.get_legend() for axes in figure.axes] + list(figure.legends)
    found += [text for legend in legends if legend is not None for text in legend.get_texts()]
    return "\n".join(text.get_text() for text in found)


def line(axes: Axes, label: str) -> np.ndarray:
    """The points of a line, ``(N, 2)``."""
    (found,) = (one for one in axes.get_lines() if one.get_label() == label)
    return np.column_stack([np.asarray(part, float) for part in found.get_data()])


def test_a_band_is_of_quartiles_and_holds_the_last_values_of_ended_runs() -> None:
    steps = np.arange(4)
    curves = [(steps, np.array([8.0, 4.0, 2.0, 1.0]) * k) for k in (1, 2, 3, 4)]
    curves[0] = (steps[:2], np.array([8.0, 4.0]))  # at rest after one step
    curves[3] = (steps[:2], np.array([32.0, np.nan]))  # diverged
    some = band(curves)
    assert some.runs == 4
    assert some.low.tolist() == [12.0, 6.0, 4.0, 2.5]
    assert some.middle.tolist() == [20.0, 10.0, 5.0, 3.5]
    assert some.high.tolist() == [28.0, np.inf, np.inf, np.inf]
    rough = band(
        [(np.array([0, 10]), np.array([2.0, 1.0])), (np.array([0, 5]), np.array([3.0, 0.5]))]
    )
    assert rough.step.tolist() == [0, 5, 10]
    assert rough.high.tolist() == [3.0, 2.0, 1.0]
    figure = draw_curves({"slow": some}, "loss", "title", "4 runs")
    (axes,) = figure.axes
    assert line(axes, "slow (4 runs)")[:, 1].tolist() == some.middle.tolist()
    assert "4 runs" in texts(figure)


def mesh(image: QuadMesh) -> Any:
    """The values of a mesh of two rows, -1 where there is none."""
    values: Any = image.get_array()
    return np.ma.filled(values, -1).reshape(2, -1).tolist()


def test_losses_below_zero_and_not_finite_ones_are_drawn() -> None:
    steps = np.arange(3)
    below = draw_curves({"a": band([(steps, np.array([1.0, -5.0, -50.0]))])}, "loss", "t", "1")
    assert below.axes[0].get_yscale() == "symlog"
    assert line(below.axes[0], "a (1 run)")[:, 1].tolist() == [1.0, -5.0, -50.0]
    little = draw_curves({"a": band([(steps, np.array([-1e-9, -2e-9, -3e-9]))])}, "loss", "t", "1")
    lost = draw_curves({"a": band([(steps, np.full(3, np.nan))])}, "loss", "t", "1")
    rest = draw_curves({"a": band([(steps, np.zeros(3))])}, "loss", "t", "1")
    for figure in (below, little, lost, rest):
        assert png(figure).startswith(b"\x89PNG")


def test_a_heat_map_shows_values_outcomes_and_the_edge() -> None:
    x, y = np.array([0.01, 0.1, 1.0]), np.array([0.0, 0.5])
    values = np.array([[100.0, 10.0, np.nan], [50.0, 5.0, np.nan]])
    words = np.array([["converged", "converged", "diverged"]] * 2, dtype=object)
    edge = np.array([0.2, 0.3]), y
    names_ = ("lr", "momentum")
    figure = draw_heat_map(
        x, y, values, words, names=names_, label="steps", title="t", caption="6 runs", edge=edge
    )
    axes = figure.axes[0]
    under, over = (mesh(one) for one in axes.collections if isinstance(one, QuadMesh))
    assert over == [[100, 10, -1], [50, 5, -1]]
    assert under == [[-1, -1, 1], [-1, -1, 1]]
    assert axes.get_xscale() == "log"
    (*_, image) = (one for one in axes.collections if isinstance(one, QuadMesh))
    borders = np.asarray(image.get_coordinates())[0, :, 0]
    assert borders == pytest.approx(10.0 ** np.array([-2.5, -1.5, -0.5, 0.5]))
    assert line(axes, "edge of stability, theory")[:, 0].tolist() == [0.2, 0.3]
    assert "diverged, most runs" in texts(figure)
    assert "converged, most runs" not in texts(figure)


def test_a_profile_rises_where_problems_are_solved() -> None:
    figure = draw_profile({"a": np.array([1.0, 4.0, np.inf, 1.0])}, "steps", "t", "4 problems")
    steps = line(figure.axes[0], "a")
    assert steps[:, 0].tolist()[1:4] == [1.0, 1.0, 4.0]
    assert steps[:, 1].tolist() == [0.0, 0.25, 0.5, 0.75, 0.75]


def test_starts_are_drawn_with_their_outcomes() -> None:
    start = np.array([[1.0, 1.0], [-2.0, 2.0], [3.0, 0.0], [0.0, 4.0]])
    words = ["converged", "diverged", "converged", "budget"]
    end = np.array([[3.0, 2.0], [np.nan, np.nan], [3.0, 2.0], [0.0, 3.0]])
    figure = draw_starts(get("himmelblau"), start, end, words, "t", "4 runs")
    (axes,) = figure.axes
    assert line(axes, "converged (2)").tolist() == [[1.0, 1.0], [3.0, 0.0]]
    assert line(axes, "diverged (1)").tolist() == [[-2.0, 2.0]]
    assert len(line(axes, "minimizer")) == 4
    ways = [one for one in axes.get_lines() if len(np.asarray(one.get_xdata())) == 2]
    assert len([one for one in ways if str(one.get_label()).startswith("_")]) == 2


def runner(k: float) -> Runner:
    step = np.arange(30)
    point = np.stack([0.9**step * k, 0.8**step * k], axis=1)
    return Runner(step, (point**2).sum(axis=1), point)


def test_a_race_shows_all_ways_and_its_animation_their_beginnings(tmp_path: Path) -> None:
    runners = {"one": runner(3.0), "other": runner(-3.0)}
    figure = draw_race(get("sphere"), runners, "t", "2 runs", "step")
    left, right = figure.axes
    assert line(left, "one").tolist() == runners["one"].point.tolist()
    heights = [np.asarray(some.get_ydata(), float).tolist() for some in right.get_lines()]
    assert heights == [some.loss.tolist() for some in runners.values()]
    path = tmp_path / "race.gif"
    animate_race(get("sphere"), runners, "t", "2 runs", "step", path)
    with Image.open(path) as film:
        frames = [np.asarray(frame.convert("L"), float) for frame in ImageSequence.Iterator(film)]
    assert len(frames) > 15
    early, late = frames[3], frames[-1]
    assert (abs(early - late) > 30).sum() > 100


def test_a_contact_sheet_has_a_way_a_run_in_its_own_picture() -> None:
    ways = [np.array([[-5.0, -5.0], [0.0, 0.0], [5.0, 5.0]]), np.array([[0.0, 0.0], [99.0, 0.0]])]
    pictures = [
        Picture("7", "0.1, 0.9", "converged", ways[0]),
        Picture("8", "a" * 50, "diverged", ways[1]),
    ]
    figure = draw_contact_sheet(get("himmelblau"), pictures, "t", "2 of 9 runs")
    (axes,) = figure.axes
    (lines,) = (one for one in axes.collections if isinstance(one, LineCollection))
    first, second = (np.asarray(path.vertices) for path in lines.get_paths())
    # From corner to corner of the first picture, whose right neighbour begins at 1; y is downwards.
    assert first[:, 0] == pytest.approx([0.02, 0.5, 0.98])
    assert (np.diff(first[:, 1]) < 0).all()
    assert second[0, 0] == pytest.approx(1.5)
    assert np.isnan(second[1]).all()  # outside of what is shown
    told = [text.get_text() for text in axes.texts]
    assert told == ["7: converged\n0.1, 0.9", f"8: diverged\n{'a' * 34}…"]
    assert "2 of 9 runs" in texts(figure)


@pytest.mark.parametrize("name", in_tiers(names(), COVERING.__contains__))
def test_every_surface_can_be_drawn(name: str) -> None:
    figure = draw_surface(get(name), name)
    assert png(figure).startswith(b"\x89PNG")


def test_a_function_is_drawn_with_its_derivative() -> None:
    figure = draw_surface(get("sphere", dim=1), "t")
    top, bottom = figure.axes
    x, slope = (np.asarray(part, float) for part in bottom.get_lines()[0].get_data())
    assert slope == pytest.approx(2 * x)
    assert np.asarray(top.get_lines()[0].get_ydata(), float) == pytest.approx(x**2)


def test_a_relief_bears_its_run() -> None:
    figure = draw_relief(get("sphere", dim=3), np.array([[2.0, 1.0, 0.5], [1.0, 0.5, 0.5]]), "t")
    axes: Any = figure.axes[0]
    x, y, z = axes.get_lines()[0].get_data_3d()
    assert (list(x), list(y)) == ([2.0, 1.0], [1.0, 0.5])
    # log(1 + f - least), the least height of the slice near x₃ = ½ being ¼
    assert z == pytest.approx(np.log10(1 + np.array([5.0, 1.25])), abs=1e-2)


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_the_same_figure_gives_the_same_file(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        save(
            draw_profile({"a": np.array([1.0, 2.0])}, "steps", "t", "2"),
            tmp_path / f"{name}.{kind}",
        )
    one, other = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
    assert one == other


def swept(gradexp: Gradexp, *axes: str) -> None:
    arguments = ["init=uniform", "steps=200", "log=none", "hydra.sweep.dir=s"]
    assert gradexp("run", "-m", *axes, *arguments)[0] == 0


def test_a_comparison_is_drawn_on_the_surface_of_the_best(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["surface=himmelblau,rosenbrock", "optimizer.lr=logspace(-4,-2,3)"]
    swept(gradexp, *axes, "optimizer.momentum=0,0.5,0.9", "seed=range(8)")
    sample = gather([tmp_path / "s"])
    one = on_one_surface(sample)
    assert set(one.runs["surface"]) == {"himmelblau"}
    assert [values["optimizer.momentum"] for values, _ in contenders(one)] == [0, 0.5, 0.9]
    marginal = gather([tmp_path / "s"], by=["optimizer.momentum"])
    assert "surface" in marginal.repeat_keys
    assert on_one_surface(marginal).runs["surface"].nunique() == 1
    drawn = dict(figures(sample))
    assert set(drawn) == {
        *("heat_map", "curves", "trajectories", "relief", "starts", "profiles", "learning_rates")
    }
    assert "144 runs; none failed; PAR10: mean steps" in texts(drawn["learning_rates"])
    assert "72 runs" in texts(drawn["heat_map"])
    assert "8 runs" in texts(drawn["curves"])
    assert "3 of 72 runs, one of each setting, from one start (seed 0)" in texts(
        drawn["trajectories"]
    )
    profiles = "3 of 9 settings, each at its best learning rate; 16 problems; none failed"
    assert profiles in texts(drawn["profiles"])
    assert gradexp("compare", "s", "--save", "t", "--formats", "svg,gif")[0] == 0
    written = {name for name in left_behind(tmp_path / "t") if not name.endswith("csv")}
    assert written == {f"{name}.svg" for name in drawn} | {"captions.txt", "race.gif"}
    assert "<svg" in (tmp_path / "t" / "curves.svg").read_text()


def test_optimizers_are_drawn_by_other_metrics_each_surface_on_its_scale(
    gradexp: Gradexp, tmp_path: Path
) -> None:
    axes = ["surface=himmelblau,six_hump_camel", "optimizer=sgd,adam", "seed=range(3)"]
    swept(gradexp, *axes, "optimizer.lr=1e-3,1e-2,1")  # at 1 sgd diverges
    drawn = dict(figures(gather([tmp_path / "s"], metric="final_loss")))["learning_rates"]
    assert "36 runs; none failed; where half of the runs diverged there is no point" in texts(drawn)
    valley, camel = drawn.axes
    assert valley.get_ylabel() == "median final loss"
    assert (valley.get_yscale(), camel.get_yscale()) == ("log", "linear")  # one has losses below 0
    adam, sgd = (np.isfinite(np.asarray(one.get_ydata(), float)) for one in valley.lines[:2])
    assert adam.all()
    assert sgd.tolist() == [True, True, False]


def test_lines_by_learning_rate_that_touch_nothing() -> None:
    rates = np.array([0.1, 1.0])
    panels = {
        "a": {"one": (rates, np.array([0.0, 1e-3])), "two": (rates, np.array([1e3, 5e-324]))},
        "b": {"one": (rates, np.array([np.inf, np.nan]))},
    }
    drawn = draw_learning_rates(panels, "label", "title", "caption", one_scale=False)
    some, none = drawn.axes
    assert (some.get_yscale(), none.get_yscale()) == ("log", "linear")
    assert some.get_ylim()[0] > 0
    assert png(drawn)


def test_settings_are_named_as_short_as_tells_them_apart() -> None:
    near = [{"optimizer.lr": rate, "optimizer.nesterov": True} for rate in (0.1, 0.1001, 0.2)]
    assert names_of(near[::2]) == ["lr 0.1", "lr 0.2"]
    assert names_of(near)[1] == "lr 0.1001"
    assert names_of(near[:1]) == ["lr 0.1, nesterov true"]
    assert names_of([{}]) == ["all runs"]


def test_without_points_there_are_no_ways_to_draw(gradexp: Gradexp, tmp_path: Path) -> None:
    axes = ["optimizer.lr=1e-4,1e-3", "surface=sphere", "record=loss", "seed=range(2)"]
    swept(gradexp, *axes)
    assert [name for name, _ in figures(gather([tmp_path / "s"]))] == ["curves"]


def test_show_draws_surfaces_and_runs(gradexp: Gradexp, tmp_path: Path) -> None:
    assert gradexp("show", "surface=himmelblau") == (0, "figure: himmelblau.png\n", "")
    with Image.open("himmelblau.png") as image:
        assert image.size == (1800, 880)
    assert gradexp("show", "surface=sphere", "surface.dim=1", "--save", "f.svg")[0] == 0
    assert gradexp("run", "surface=strict", "hydra.run.dir=r", "log=none")[0] == 0
    assert (
        gradexp("show", "r", "--save", "run.pdf")[1] == "figure: run.pdf\nfigure: run_relief.pdf\n"
    )
    assert (tmp_path / "run_relief.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["surface=himmelblu"], "did you mean himmelblau?"),
        (["surface=himmelblau", "--save", "a.jpg"], "must end in .png, .pdf, .svg"),
        (["surface=himmelblau", "--save", "/dev/null/a.png"], "cannot be written"),
        (["surface=sphere,himmelblau"], "sweep"),
        (["."], "holds no whole run"),
        (["r"], "its points were not recorded"),
        (["nowhere"], "nowhere"),
    ],
)
def test_mistakes_of_show(
    gradexp: Gradexp, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    if arguments == ["r"]:
        assert gradexp("run", "record=loss", "hydra.run.dir=r", "log=none", "steps=5")[0] == 0
    before = left_behind(tmp_path)
    status, _, err = gradexp("show", *arguments)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert reason in err
    assert left_behind(tmp_path) == before
