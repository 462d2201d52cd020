"""What is used of Hydra and OmegaConf beyond their public interfaces: a test names what moved."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import ConfigCompositionException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from gradexp.config import internals
from gradexp.config.choices import CONF
from gradexp.sweeps import shortcuts
from tests.conftest import Gradexp, in_tiers
from tests.test_sweeps import state

NAMES = {
    "hydra._internal.callbacks.Callbacks": "what HydraContext needs",
    "hydra._internal.config_loader_impl.ConfigLoaderImpl": "composes configs",
    "hydra._internal.config_repository.ConfigRepository": "reads config files",
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher": "a launcher that configs may name",
    "hydra._internal.hydra.Hydra": "composes configs with our loader",
    "hydra._internal.utils.create_config_search_path": "where configs are looked for",
    "hydra._internal.utils.get_args_parser": "the arguments of a command line",
    "hydra.core.override_parser.overrides_parser.create_functions": "linspace, logspace, zip",
    "omegaconf._utils.get_omega_conf_dumper": "plain data as OmegaConf writes it",
}
"""each private name, and what gradexp uses it for"""


@pytest.fixture(scope="module")
def loader() -> Any:
    internals.set_version_base()
    return internals.ConfigLoaderImpl(internals.search_path_from(CONF))


@pytest.mark.parametrize("name", NAMES)
def test_private_names_are_where_they_were(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute), f"{name} moved: {NAMES[name]}"


def test_every_private_name_is_used_in_one_module() -> None:
    root = Path(internals.__file__).parents[2]
    files = [*(root / "gradexp").rglob("*.py"), *(root / "hydra_plugins").rglob("*.py")]
    assert len(files) > 100
    private = ("from hydra._internal", "import hydra._internal", "from omegaconf._")
    used = [file.name for file in files if any(text in file.read_text() for text in private)]
    assert used == ["internals.py"]


def test_hydra_composes_with_a_given_loader(loader: Any) -> None:
    hydra = internals.Hydra(task_name="name", config_loader=loader)
    config = hydra.compose_config("config", ["steps=3"], RunMode.MULTIRUN)
    assert config.steps == 3
    assert hydra.config_loader is loader


def test_a_loader_asks_its_repository(loader: Any) -> None:
    assert isinstance(loader.repository, internals.ConfigRepository)
    assert loader.repository.group_exists("surface")
    assert not loader.repository.group_exists("steps")
    read: Any = loader.repository.load_config("surface/sphere")
    assert read.config._target_.endswith("Sphere")


def test_a_repository_tells_where_a_config_lies(loader: Any) -> None:
    place = internals.config_place(loader.repository, "surface/sphere")
    assert place == ("file", str(CONF), "main", "surface/sphere.yaml")
    assert internals.config_place(loader.repository, "hydra/config")[0] == "structured"
    assert internals.config_place(loader.repository, "surface/spher") == ()


def test_callbacks_are_what_a_context_needs(loader: Any) -> None:
    callbacks = internals.Callbacks(OmegaConf.create({"hydra": {"callbacks": None}}))
    HydraContext(config_loader=loader, callbacks=callbacks)
    callbacks.on_multirun_start(config=OmegaConf.create({}), config_name="config")


def test_the_parser_has_the_arguments_that_are_read() -> None:
    line = ["-m", "-cn", "name", "--config-dir", "folder", "steps=1"]
    args = internals.hydra_parser().parse_args(line)
    read = (args.multirun, args.run, args.config_name, args.config_dir, args.config_path)
    assert read == (True, False, "name", "folder", None)
    assert args.overrides == ["steps=1"]


def test_parsers_know_added_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    hydras = getattr(
        overrides_parser.create_functions, "_hydras", overrides_parser.create_functions
    )
    monkeypatch.setattr(overrides_parser, "create_functions", hydras)
    internals.extend_grammar({"twice": lambda x: 2 * x})
    (override,) = OverridesParser.create().parse_overrides(["steps=twice(21)"])
    assert override.value() == 42


def test_the_message_about_a_group_that_is_not_chosen_from(tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "choice.yaml").write_text("key: 1\n")
    (tmp_path / "main.yaml").write_text("steps: 1\n")
    loader = internals.ConfigLoaderImpl(internals.search_path_from(tmp_path))
    with pytest.raises(ConfigCompositionException) as caught:
        loader.load_configuration("main", ["group=choice"], RunMode.RUN)
    match = internals.NOT_IN_DEFAULTS.match(str(caught.value))
    assert match is not None, f"Hydra says it in other words: {caught.value}"
    assert match[1] == "group"


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED])
def test_what_a_job_returned_or_raised(
    status: JobStatus, capfd: pytest.CaptureFixture[str]
) -> None:
    error = ValueError("a reason")
    job = JobReturn()
    job.status, job.return_value = status, error
    assert internals.returned(job) is error
    assert capfd.readouterr() == ("", "")


def a_config() -> DictConfig:
    return OmegaConf.create({"a": {"b": 1, "c": [1, "${a.b}"]}, "d": "x"})


def test_nodes_are_replaced_without_a_copy() -> None:
    config = a_config()
    node = internals.node_with(internals.node_at(config.a, "b"), 2.5)
    internals.put_node(config.a, "b", node)
    assert internals.node_at(config.a, "b") is node
    assert OmegaConf.to_container(config, resolve=True) == {
        "a": {"b": 2.5, "c": [1, 2.5]},
        "d": "x",
    }
    items = [internals.node_with(internals.node_at(config.a.c, 0), value) for value in (7, "y")]
    internals.put_nodes(config.a.c, items)
    assert OmegaConf.to_container(config.a.c) == [7, "y"]
    assert internals.node_at(config.a.c, 1) is items[1]


def test_a_view_shares_what_it_shows() -> None:
    config = a_config()
    view = internals.view(config, "a")
    assert OmegaConf.to_container(view) == OmegaConf.to_container(
        OmegaConf.masked_copy(config, "a")
    )
    config.a.b = 5
    assert view.a.b == 5


def test_plain_data_is_written_as_configs_are() -> None:
    plain = {
        "a": [1, 1.0, "1", None, True],
        "b": {"c": "x: y", "d": "α"},
        "e": "1e5",
        "f": "a b " * 60,
    }
    assert internals.to_yaml(plain) == OmegaConf.to_yaml(OmegaConf.create(plain))


def test_a_resolver_learns_where_it_stands() -> None:
    def where(_node_: Any) -> str:
        return internals.full_key(_node_)

    internals.set_resolver("where", where)
    try:
        config = OmegaConf.create({"a": {"b": [0, "${where:}"]}})
        assert config.a.b[1] == "a.b[1]"
        internals.set_resolver("where", lambda: 1)  # replaces the other
        assert config.a.b[1] == 1
    finally:
        OmegaConf.clear_resolver("where")


# The shortcuts that rest on these.


def hydra_that_composes_otherwise(loader: Any, master: DictConfig, overrides: list[str]) -> Any:
    """Composes as Hydra does, and makes one value of another, which no other job's config shows."""
    config = internals.ConfigLoaderImpl.load_sweep_config(loader, master, overrides)
    config.steps = 20 + config.seed
    return config


BROKEN = {
    "replacing": ("gradexp.sweeps.reusable_config.put_node", lambda *arguments: None),
    "making": ("gradexp.sweeps.reusable_config.node_with", lambda like, value: like),
    "of a list": ("gradexp.sweeps.reusable_config.put_nodes", None),  # raises TypeError
    "finding": ("gradexp.sweeps.reusable_config.node_at", None),
    "showing": ("gradexp.sweeps.launching.view", lambda config, key: OmegaConf.create({})),
    "writing": ("gradexp.sweeps.job_files._lines", lambda path, value: f"{path}: {value}\n"),
    "composing": (
        "gradexp.config.loader.GatedLoader.load_sweep_config",
        hydra_that_composes_otherwise,
    ),
}
"""what a Hydra or OmegaConf may do otherwise"""


@pytest.mark.parametrize("case", in_tiers(BROKEN, ("replacing", "composing").__contains__))
def test_what_behaves_otherwise_is_not_used(
    case: str, gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 2 s each
    command = ["run", "-m", "seed=1,2,3", "init=uniform", "log.trajectory=never"]
    monkeypatch.setattr(*BROKEN[case])
    said = {}
    for ways, given_up in (("slow", True), ("fast", False)):
        monkeypatch.setattr(shortcuts, "_passed", set())
        monkeypatch.setattr(shortcuts, "_given_up", given_up)
        (tmp_path / ways).mkdir()
        monkeypatch.chdir(tmp_path / ways)
        status, out, err = gradexp(*command, "hydra.sweep.dir=s")
        assert status == 0, err
        said[ways] = f"{out}{err}".count("each job is composed and run by Hydra itself")
    assert said == {"slow": 0, "fast": 1}
    found = state(tmp_path / "slow" / "s")
    assert (found["2/run.json"]["metrics"]["steps"] == 23) is (case == "composing")
    assert state(tmp_path / "fast" / "s") == found
