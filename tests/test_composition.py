"""Jobs' configs, composed the fast way, beside those that Hydra composes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from gradexp.config.application import without_hydra
from gradexp.config.axes import linspace, logspace, paired
from gradexp.config.choices import CONF
from gradexp.config.internals import ConfigLoaderImpl, search_path_from, set_version_base
from gradexp.sweeps.composition import Composer
from gradexp.sweeps.grid import grid
from gradexp.sweeps.job_files import JobFiles
from tests.conftest import in_tiers

# Overrides of jobs of one sweep, which differ in plain values, or in what is not so plain.
NASTY = {
    "floats": [["optimizer.lr=0.1"], ["optimizer.lr=1e-3"], ["optimizer.lr=.5"]],
    "float and integer": [["optimizer.lr=1"], ["optimizer.lr=1.0"], ["optimizer.lr=2"]],
    "booleans": [["optimizer.nesterov=true"], ["optimizer.nesterov=False"]],
    "null": [["surface.dim=null"], ["surface.dim=3"], ["surface.dim=null"]],
    "strings": [
        ["device=cpu"],
        ["device='cpu '"],
        ['device="a: b"'],
        ["device=1e5x"],
        ["device=''"],
    ],
    "string like a number": [["device='1'"], ["device=1"], ["device='null'"], ["device=null"]],
    "long string": [[f"device='{'a b ' * 40}'"], [f"device='{'c d ' * 41}'"]],
    "unicode": [["device='α'"], ["device='β → γ'"]],
    "lists": [
        ["init=point", "init.point=[1,2]"],
        ["init=point", "init.point=[1.0,2]"],
        ["init=point", "init.point=[]"],
        ["init=point", "init.point=[[1],2]"],
        ["init=point", "init.point=[a,'b c',null]"],
    ],
    "group choices": [["surface=sphere"], ["surface=levy"], ["surface=sphere"]],
    "choice and value": [
        ["surface=quadratic", "surface.condition_number=10"],
        ["surface=quadratic", "surface.condition_number=20"],
        ["surface=zakharov", "surface.dim=3"],
    ],
    "value before its choice": [
        ["surface.dim=3", "surface=levy"],
        ["surface.dim=4", "surface=levy"],
    ],
    "additions": [["+extra=1"], ["+extra=2"], ["++extra=3"], ["++steps=4"]],
    "addition of a mapping": [["+extra={a: 1}"], ["+extra={a: 2, b: 3}"]],
    "deletions": [["~optimizer.nesterov"], ["~schedule"], ["~steps"]],
    "deletion beside values": [
        ["optimizer.lr=1.0", "~optimizer.lr"],
        ["~optimizer.nesterov", "optimizer.lr=2.0"],
        ["~optimizer.nesterov", "optimizer.lr=3.0"],
    ],
    "interpolations": [
        ["steps=${seed}", "seed=1"],
        ["steps=${seed}", "seed=2"],
        ["seed=${steps}", "steps=5"],
        ["steps=7", "seed=8"],
    ],
    "where an interpolation stands": [
        ["init=uniform", "init.seed=3"],
        ["init=uniform", "init.seed=4"],
    ],
    "packages": [["+surface@second=sphere"], ["+surface@second=levy"]],
    "twice": [["steps=1", "steps=2"], ["steps=3", "steps=4"]],
    "whole and part": [["init=point", "init.point=[1,2]", "init.point.0=3"], ["steps=1"]],
    "a mapping": [["stop={gradient: 1}"], ["stop={gradient: 2}"], ["stop.gradient=3"]],
    "hydra's own": [["steps=1", "hydra.job.name=x"], ["steps=2", "hydra.job.name=x"]],
    "order": [["steps=1", "seed=2"], ["seed=3", "steps=4"]],
    "missing": [["steps=???"], ["steps=3"]],
    "quotes and escapes": [["device=a\\,b"], ["device='it\\'s'"], ['device="\\${x}"']],
}


@pytest.fixture(scope="module")
def loader() -> ConfigLoaderImpl:
    set_version_base()
    setup_globals()
    return ConfigLoaderImpl(search_path_from(CONF))


@pytest.fixture(scope="module")
def of_sweep(loader: ConfigLoaderImpl) -> DictConfig:
    """The config of a sweep, which jobs' are made from: composing it takes longest."""
    return loader.load_configuration("config", ["hydra.sweep.dir=s"], RunMode.MULTIRUN)


@pytest.fixture
def master(of_sweep: DictConfig) -> Iterator[DictConfig]:
    HydraConfig.instance().set_config(of_sweep)
    yield of_sweep
    HydraConfig.instance().cfg = None


def by_hydra(
    loader: ConfigLoaderImpl, master: DictConfig, overrides: list[str], number: int
) -> DictConfig:
    """A job's config as Hydra's own launcher makes it."""
    config = loader.load_sweep_config(master, overrides)
    with open_dict(config):
        config.hydra.job.id = str(number)
        config.hydra.job.num = number
    return config


OFTEN = (
    *("floats", "null", "strings", "lists", "group choices", "choice and value", "additions"),
    *("deletions", "interpolations", "a mapping", "hydra's own", "quotes and escapes"),
)
"""Those that are tried in the quick tier: a job takes Hydra a tenth of a second."""


@pytest.mark.parametrize("name", in_tiers(NASTY, OFTEN.__contains__))
def test_jobs_are_composed_and_written_as_hydra_does(
    name: str, loader: ConfigLoaderImpl, master: DictConfig, tmp_path: Path
) -> None:
    composer = Composer(loader, master)
    files: dict[int, JobFiles] = {}
    kept = []
    for number, overrides in enumerate(NASTY[name]):
        expected = by_hydra(loader, master, overrides, number)
        job = composer.compose(overrides, number)
        kept.append(job)  # so that the id of its template is its own
        for found in (job.config(), job.reused_config()):
            assert OmegaConf.to_container(found) == OmegaConf.to_container(expected)
            assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
            assert found.hydra.sweep.subdir == expected.hydra.sweep.subdir
        task = without_hydra(expected)
        assert OmegaConf.to_yaml(job.reused_task_config()) == OmegaConf.to_yaml(task)
        own = {**job.values, **job.hydra}
        if id(job.template) not in files:
            files[id(job.template)] = JobFiles(job.reused_config(), own)
        files[id(job.template)].write(tmp_path / str(number), own)
        written = {
            "config.yaml": task,
            "hydra.yaml": OmegaConf.masked_copy(expected, "hydra"),
            "overrides.yaml": expected.hydra.overrides.task,
        }
        for name, config in written.items():
            assert (tmp_path / str(number) / name).read_text() == OmegaConf.to_yaml(config)


def test_plain_values_are_composed_once(
    shortcuts_allowed: None, loader: ConfigLoaderImpl, master: DictConfig
) -> None:
    composer = Composer(loader, master)
    jobs = [composer.compose([f"optimizer.lr={lr}", "seed=1"], 0) for lr in (0.1, 0.2, 1e-5)]
    assert len({id(job.template) for job in jobs}) == 1


def test_an_unknown_key_is_refused(loader: ConfigLoaderImpl, master: DictConfig) -> None:
    composer = Composer(loader, master)
    with pytest.raises(HydraException):
        composer.compose(["optimizer.lrr=0.1"], 0)


def expanded(*overrides: str) -> list[list[str]]:
    return grid(OverridesParser.create().parse_overrides(list(overrides)))


def test_the_grid_is_every_combination() -> None:
    assert expanded("a=1,2", "b=x", "c=range(2)") == [
        ["a=1", "b=x", "c=0"],
        ["a=1", "b=x", "c=1"],
        ["a=2", "b=x", "c=0"],
        ["a=2", "b=x", "c=1"],
    ]
    assert expanded("~a", "+b=[1,2],[3]") == [["~a=null", "+b=[1,2]"], ["~a=null", "+b=[3]"]]


def test_axes_with_a_tag_in_common_move_together() -> None:
    assert expanded("a=tag(t,choice(1,2))", "b=x,y", "c=tag(t,u,choice(3,4))") == [
        ["a=1", "b=x", "c=3"],
        ["a=1", "b=y", "c=3"],
        ["a=2", "b=x", "c=4"],
        ["a=2", "b=y", "c=4"],
    ]
    with pytest.raises(HydraException, match="a has 2 values, b has 3 values"):
        expanded("a=tag(t,choice(1,2))", "b=tag(t,range(3))")


def test_an_axis_without_a_list_of_values_is_refused() -> None:
    with pytest.raises(HydraException, match="needs a list of values"):
        expanded("a=interval(0,1)")


def test_functions_of_axes() -> None:
    assert logspace(-3, -1, 3).list == [0.001, 0.01, 0.1]
    assert linspace(0, 1, 3).list == [0.0, 0.5, 1.0]
    assert paired(1, 2).tags == {"zip"}
    assert paired(linspace(0, 1, 2)) == ChoiceSweep(tags={"zip"}, list=[0.0, 1.0])
    with pytest.raises(ValueError, match="at least 1"):
        linspace(0, 1, 0)


def test_overrides_are_written_as_a_list(tmp_path: Path) -> None:
    # What `_lines` of an empty path is used for.
    from gradexp.sweeps.job_files import _lines

    for overrides in ([], ["a=1"], ["a=1", "b='x y'", "c=[1,2]"]):
        assert yaml.safe_load(_lines((), overrides)) == overrides
        assert _lines((), overrides) == OmegaConf.to_yaml(OmegaConf.create(overrides))


@pytest.mark.parametrize(
    "value",
    [
        *(
            "optimizer.lr=1e-05",
            "/a/folder-1/with.dots_",
            "init.point=[-1.2,1.0],steps=10",
            "a=b=c",
        ),
        *("null", "yes", "1e-05", "1/2", "=", "a=", "/", "a: b=c", "a=#b", "a #=b", "'a=b'", "é=1"),
        *(
            "a=b c",
            "[a=b]",
            "{a=b}",
            "-a=b",
            "~a=b",
            "a=1," * 40,
            "a=x y " * 40,
            "a=b\n",
            "",
            "a=!b",
        ),
        *(0, -7, True, False, None, 1.0, 1e-5, float("inf")),
    ],
)
def test_values_are_written_as_omegaconf_does(value: Any) -> None:
    from gradexp.sweeps.job_files import _lines

    whole = {"hydra": {"job": {"name": value}}}
    lines = OmegaConf.to_yaml(OmegaConf.create(whole)).splitlines(keepends=True)
    assert _lines(("hydra", "job", "name"), value) == "".join(lines[2:])
