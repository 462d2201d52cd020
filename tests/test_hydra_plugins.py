"""Hydra's own tests of launchers, on the vectorized one, with Hydra's sweeper and with ours."""

import pytest
from hydra import version
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)

from hydra_plugins.gradexp_sweeps import GridSweeper, VectorizedLauncher

# Hydra's suites set no version base, of which Hydra itself warns.
pytestmark = pytest.mark.filterwarnings("ignore:Future Hydra versions will no longer change")


@pytest.fixture(autouse=True)
def version_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version base that Hydra's suites expect, whatever a test before them has set."""
    compatible = getattr(version, "__compat_version__", version.getbase())  # Hydra 1.3, and later
    monkeypatch.setattr(version.VersionBase.instance(), "version_base", compatible)


OURS = "vectorized"
GRID = ["hydra/sweeper=grid"]


def test_hydra_finds_the_plugins() -> None:
    assert VectorizedLauncher.__name__ in [
        c.__name__ for c in Plugins.instance().discover(Launcher)
    ]
    assert GridSweeper.__name__ in [c.__name__ for c in Plugins.instance().discover(Sweeper)]


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [pytest.param(OURS, [], marks=pytest.mark.slow), (OURS, GRID)],
)
class TestLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [
        (OURS, ["hydra.sweeper.max_batch_size=2"]),
        (OURS, [*GRID, "hydra.sweeper.max_batch_size=2"]),
    ],
)
class TestBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.slow  # names and folders of jobs, a process each: 40 s for each sweeper
@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [
        ({"defaults": [{"override hydra/launcher": OURS}]}, ["-m"]),
        (
            {
                "defaults": [
                    {"override hydra/launcher": OURS},
                    {"override hydra/sweeper": "grid"},
                ]
            },
            ["-m"],
        ),
    ],
    ids=["basic", "grid"],
)
class TestIntegration(IntegrationTestSuite):
    pass
