"""TensorBoard, opened in a browser: what a person sees of a sweep."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from gradexp.cli import main
from gradexp.results import read_record

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium with its chromedriver"),
]

RUNS = 12

Wait: TypeAlias = Callable[[Callable[[], Any], str], Any]

FIND = """
const found = [];
const walk = (node) => {
  if (node.nodeType === 1 && node.tagName.toLowerCase() === arguments[0]) found.push(node);
  if (node.shadowRoot) walk(node.shadowRoot);
  node.childNodes.forEach(walk);
};
walk(document.body);
"""
"""Finds all elements of a name, in the trees that web components hide, too."""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "s"
    axes = ["optimizer.lr=0.001,0.003,0.01", "optimizer.momentum=0,0.9", "seed=1,2", "init=uniform"]
    arguments = ["surface=himmelblau", "steps=100", f"hydra.sweep.dir={folder}"]
    assert main(["run", "-m", *axes, *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1600,2400"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def wait(browser: Any) -> Wait:
    """Waits until a condition gives something that is true, and gives that."""
    from selenium.webdriver.support.wait import WebDriverWait

    def until(condition: Callable[[], Any], what: str) -> Any:
        waiting = WebDriverWait(browser, timeout=90, poll_frequency=0.2)
        return waiting.until(lambda _: condition(), f"it did not come to this: {what}")

    return until


@pytest.fixture(scope="module")
def address(sweep: Path, wait: Wait) -> Iterator[str]:
    """TensorBoard's, over the sweep."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(sweep)]
    command += ["--port", str(port), "--load_fast=false"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        place = f"http://127.0.0.1:{port}"
        try:
            wait(lambda: names(place) == RUNS + 1, "TensorBoard lists the runs and their summary")
            yield place
        finally:
            server.kill()


def names(place: str) -> int:
    try:
        with urlopen(f"{place}/data/runs") as answer:
            return int(answer.read().count(b'"')) // 2
    except URLError:
        return 0


@pytest.fixture
def tab(browser: Any, address: str) -> Callable[[str], Callable[[str, str], list[str]]]:
    """Opens a tab of TensorBoard; gives a function that reads what elements of a name say."""

    def open_tab(name: str) -> Callable[[str, str], list[str]]:
        browser.get("about:blank")
        browser.get(f"{address}/#{name}")

        def read(element: str, value: str = "node.textContent.trim()") -> list[str]:
            script = f"{FIND} return found.map((node) => {value});"
            return [str(text) for text in browser.execute_script(script, element)]

        return read

    return open_tab


def test_the_table_of_hyperparameters_has_a_row_a_run(tab: Any, wait: Wait) -> None:
    read = tab("hparams")
    trials = [f"s/{number}" for number in range(RUNS)]
    cells = wait(
        lambda: set(trials) <= set(found := read("vaadin-grid-cell-content")) and found,
        "each run has a row",
    )
    cells = [cell for cell in cells if cell]
    heads = cells[: cells.index("s/0")]
    for head in ("Trial ID", "optimizer.lr", "optimizer.momentum", "seed", "distance", "end/steps"):
        assert head in heads
    # TensorBoard shows the first five of both kinds; all others can be ticked on the left.
    assert len(heads) == 2 + 5 + 5
    listed = read("paper-checkbox")
    assert {"surface", "init", "steps", "loss_gap", "gradient_norm", "learning_rate"} <= set(listed)
    assert "None" not in listed
    rows = [cells.index(trial) for trial in trials]
    rates = {cells[row + 1] for row in rows}
    assert rates == {"0.0010000", "0.0030000", "0.010000"}


def test_each_run_is_a_line_of_the_parallel_coordinates(browser: Any, tab: Any, wait: Wait) -> None:
    read = tab("hparams")
    wait(lambda: f"s/{RUNS - 1}" in read("vaadin-grid-cell-content"), "the table is there")
    click = f"{FIND} found.find((one) => one.textContent.includes('PARALLEL')).click();"
    paths = "node.shadowRoot.querySelectorAll('.foreground path').length"

    browser.execute_script(click, "paper-tab")
    lines = [str(RUNS)]
    wait(lambda: read("tf-hparams-parallel-coords-plot", paths) == lines, "each run has a line")


def test_the_scalars_are_those_of_the_runs(sweep: Path, tab: Any, wait: Wait) -> None:
    read = tab("timeseries")
    ends = [read_record(sweep / str(number))["metrics"] for number in range(RUNS)]
    far = [figures["distance"] for figures in ends if figures["distance"] > 0.01]
    assert far
    # The table under the curves has each run's last value.
    expected = [f"{distance:.4f}".rstrip("0") for distance in far]

    def shown() -> bool:
        cards = [card for card in read("scalar-card") if card.startswith("distance")]
        return len(cards) == 1 and all(value in cards[0] for value in expected)

    wait(shown, "the card of distances has each run's last one")
    read = tab("scalars")
    tags = {"distance", "gradient_norm", "learning_rate", "loss", "loss_gap", "momentum", "end"}
    wait(
        lambda: tags <= set(read("tf-category-paginated-view", CATEGORY)), "each tag has its place"
    )


def test_custom_scalars_come_in_their_order(tab: Any, wait: Wait) -> None:
    read = tab("custom_scalars")
    expected = ["convergence", "hyperparameters", "by setting: median and quartiles"]
    wait(
        lambda: [name for name in read("tf-category-paginated-view", CATEGORY) if name] == expected,
        "the categories are there",
    )


CATEGORY = "node.category ? node.category.name : ''"


def test_the_images_are_there(tab: Any, wait: Wait) -> None:
    read = tab("images")
    wait(
        lambda: {"heat_map", "trajectories"} <= set(read("tf-image-loader", "node.tag")),
        "the summary's images are there",
    )
    (width, *_) = wait(
        lambda: [w for w in read("img", "node.naturalWidth") if int(w) > 0], "an image has loaded"
    )
    assert int(width) > 500
