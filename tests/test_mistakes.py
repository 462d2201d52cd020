"""A person's mistakes: one clear line, exit status 2, and nothing left behind."""

from pathlib import Path
from typing import NoReturn

import pytest

from gradexp.engine.codegen.build import CannotCompile
from gradexp.engine.problem import Problem
from tests.conftest import Gradexp, left_behind

# what is typed after `gradexp`, then parts of the one line that is answered
MISTAKES = [
    # unknown names, with the nearest known one
    (["run", "surface=rosenbrok"], ["surface=rosenbrok", "did you mean rosenbrock?"]),
    (["run", "optimizer=sdg"], ["optimizer=sdg", "did you mean sgd?"]),
    (["run", "optimizer=AdamW"], ["optimizer=AdamW", "did you mean adamw?"]),
    (["run", "noise=0.1"], ["noise=0.1", "no such noise", "known: gaussian"]),
    (["run", "-m", "noise=0.1,gaussian"], ["noise=0.1", "no such noise", "known: gaussian"]),
    (["run", "schedule.first=cosine"], ["schedule.first=cosine", "schedule=together has it"]),
    (["run", "clip.max_norm=1"], ["clip.max_norm=1", "clip=norm has it"]),
    (["run", "optimiser=sgd"], ["optimiser=sgd", "did you mean optimizer?"]),
    (["run", "optimizer.lrr=1"], ["optimizer.lrr=1", "did you mean lr?", "momentum"]),
    (["run", "+optimizer.lrr=1"], ["optimizer.lrr=1", "did you mean lr?", "momentum"]),
    (["run", "surface=himmelblau", "surface.b=1"], ["surface.b=1", "no such key"]),
    (["run", "stepps=1"], ["stepps=1", "did you mean steps?"]),
    (["run", "+stepps=1"], ["stepps=1", "did you mean steps?"]),
    (["run", "-cn", "learnin_rate"], ["learnin_rate", "did you mean learning_rate?"]),
    (["list", "surfacs"], ["surfacs", "did you mean surfaces?"]),
    (["lst"], ["lst", "run", "list"]),
    ([], ["gradexp --help"]),
    (["run", "--foo"], ["--foo", "gradexp run --help"]),
    (["run", "--config-dir", "/nowhere"], ["/nowhere", "no such folder"]),
    # wrong types and ranges
    (["run", "steps=abc"], ["steps=abc", "a whole number, at least 1"]),
    (["run", "steps=0"], ["steps=0", "a whole number, at least 1"]),
    (["run", "steps=-3"], ["steps=-3", "a whole number, at least 1"]),
    (["run", "steps=1.5"], ["steps=1.5", "a whole number"]),
    (["run", "seed=-1"], ["seed=-1", "a whole number, at least 0"]),
    (["run", "seed=9223372036854775808"], ["seed=9223372036854775808", "a whole number"]),
    (["run", "optimizer.lr=-1"], ["optimizer.lr=-1", "a number in (0, ∞)"]),
    (["run", "optimizer.lr=0"], ["optimizer.lr=0", "a number in (0, ∞)"]),
    (["run", "optimizer.lr=nan"], ["optimizer.lr=nan", "a number in (0, ∞)"]),
    (["run", "optimizer.lr=inf"], ["optimizer.lr=inf", "a number in (0, ∞)"]),
    (["run", "optimizer.lr=fast"], ["optimizer.lr=fast", "a number in (0, ∞)"]),
    (["run", "optimizer.lr='0.1'"], ["optimizer.lr=0.1", "a number in (0, ∞)"]),
    (["run", "optimizer.lr=true"], ["optimizer.lr=true", "a number in (0, ∞)"]),
    (["run", "optimizer.lr=null"], ["optimizer.lr=null", "a number in (0, ∞)"]),
    (["run", "optimizer.lr=[0.1]"], ["optimizer.lr=[0.1]", "a number in (0, ∞)"]),
    (["run", "optimizer.momentum=1"], ["optimizer.momentum=1", "a number in [0, 1)"]),
    (["run", "optimizer.momentum=-0.1"], ["optimizer.momentum=-0.1", "a number in [0, 1)"]),
    (["run", "optimizer.nesterov=perhaps"], ["optimizer.nesterov=perhaps", "true or false"]),
    (["run", "optimizer.nesterov=true"], ["optimizer.nesterov=true", "momentum above 0"]),
    (
        ["run", "optimizer.nesterov=true", "optimizer.momentum=0.9", "optimizer.dampening=0.1"],
        ["optimizer.nesterov=true", "dampening 0"],
    ),
    (["run", "optimizer=adam", "optimizer.betas=[0.9]"], ["betas=[0.9]", "a list of 2"]),
    (["run", "optimizer=adam", "optimizer.betas=[0.9,1]"], ["betas[1]=1", "in [0, 1)"]),
    (["run", "optimizer=rprop", "optimizer.etas=[2,0.5]"], ["optimizer.etas=", "below 1"]),
    (
        ["run", "optimizer=polyak", "surface=monkey"],
        ["optimizer=polyak", "least value is known"],
    ),
    (
        ["run", "schedule=cosine", "schedule.of=momentun"],
        ["schedule.of=momentun", "did you mean momentum?"],
    ),
    (
        ["run", "schedule=linear", "schedule.of=momentum", "schedule.start_factor=2",
         "optimizer.momentum=0.9"],
        ["schedule=linear", "at step 0 momentum=1.8 must be a number in [0, 1)"],
    ),
    (["run", "schedule=cosine", "schedule.T_max=0"], ["schedule.T_max=0", "a number in"]),
    (["run", "optimizer=adam", "schedule=linear", "schedule.of=betas[0]"],
     ["schedule.of=betas[0]", "is written schedule.of=betas.0"]),
    (["run", "optimizer=torch", "engine=reference", "optimizer._target_=torch.optim.Adam",
      "optimizer.lrr=0.1"],
     ["optimizer.lrr=0.1", "Adam has no such option", "did you mean lr?"]),
    (["run", "lr=0.1"], ["lr=0.1", "no such key; did you mean optimizer.lr?"]),
    (["run", "std=0.1"], ["did you mean init.std or noise.std?"]),
    (["show", "--blub"], ["--blub; see gradexp show --help"]),
    (["run", "-m", "optimizer=sgd,adam", "optimizer.eps=1e-6"],
     ["optimizer.eps=", "in optimizer=sgd", "optimizer=adam"]),
    (["run", "surface=own", "surface._target_=gradexp.__version__.foo"], ["has no foo"]),
    (
        ["run", "schedule=piecewise", "schedule.milestones=[9,3]"],
        ["schedule.milestones[1]=3.0", "at least the milestone before it"],
    ),
    (
        ["run", "schedule=one_cycle", "optimizer=adagrad"],
        ["schedule.cycle_momentum=true", "momentum"],
    ),
    (["run", "schedule=together", "schedule.second.of=lr"], ["schedule.second", "lr"]),
    (["run", "clip=norm", "clip.max_norm=0"], ["clip.max_norm=0", "a number in (0, ∞)"]),
    (["run", "noise=student_t", "noise.degrees_of_freedom=0"], ["degrees_of_freedom=0", "(0, ∞)"]),
    (
        ["run", "optimizer=torch", "optimizer._target_=torch.optim.Adamm", "engine=reference"],
        ["optimizer._target_=torch.optim.Adamm", "did you mean Adam?"],
    ),
    (
        ["run", "optimizer=torch", "optimizer._target_=torch.optim.Adam", "engine=reference",
         "+optimizer.lr=abc"],
        ["optimizer._target_=Adam", "a trial step with lr=abc failed"],
    ),
    (["run", "surface.dim=1"], ["surface.dim=1", "at least 2"]),
    (["run", "surface=sphere", "surface.dim=0"], ["surface.dim=0", "at least 1"]),
    (["run", "surface.b=0"], ["surface.b=0", "a number in (0, ∞)"]),
    (["run", "surface=high_index", "surface.negative=9"], ["negative=9", "which is 4"]),
    (["run", "stop.gradient=-1"], ["stop.gradient=-1", "a number in [0, ∞), or null"]),
    (["run", "record.points=1"], ["record.points=1", "at least 2"]),
    (["run", "record.tolerances=[1e-3,-1]"], ["record.tolerances[1]=-1", "(0, ∞)"]),
    (["run", "record.what=all"], ["record.what=all", "trace, loss, metrics"]),
    (["run", "dtype=float16"], ["dtype=float16", "float64, float32"]),
    (["run", "optimizer.lr=1e-50", "dtype=float32"], ["optimizer.lr=0.0", "(0, ∞), in float32"]),
    (["run", "optimizer.momentum=0.999999999", "dtype=float32"], ["momentum=1.0", "[0, 1)"]),
    (["run", "engine.compile=sometimes"], ["engine.compile=sometimes", "auto, always, never"]),
    (["run", "device=tpu"], ["device=tpu", "auto, cpu, cuda"]),
    (["run", "device=null"], ["device=null", "a string"]),
    # starts that do not fit
    (["run", "init=point", "init.point=[1,2,3]"], ["init.point=[1.0, 2.0, 3.0]", "2 coordinates"]),
    (["run", "init=point", "init.point=[1]"], ["init.point=[1.0]", "2 coordinates"]),
    (["run", "init=point", "init.point=[1,nan]"], ["init.point[1]=nan", "a finite number"]),
    (["run", "init=point", "init.point=3"], ["init.point=3", "must be a list"]),
    (["run", "init=near_saddle"], ["init.index=0", "rosenbrock declares none of kind saddle"]),
    (["run", "init.point=[1,2]"], ["init.point=[1,2]", "no such key"]),
    # what does not go together
    (
        ["run", "optimizer=torch", "optimizer._target_=torch.optim.Adam"],
        ["optimizer=adam", "engine=reference"],
    ),
    (
        ["run", "optimizer=torch", "optimizer._target_=torch.optim.LBFGS"],
        ["no batched rule", "engine=reference"],
    ),
    (
        ["run", "schedule=together", "schedule.first=cosine"],
        ["schedule.first=cosine", "schedule@schedule.first=cosine"],
    ),
    (
        ["run", "schedule=together", "schedule@schedule.second=exponential",
         "schedule.second.gamma=1e-60", "dtype=float32"],
        ["schedule.second.gamma=0.0", "(0, ∞), in float32"],
    ),
    (
        ["run", "optimizer._target_=gradexp.surfaces.convex.Sphere"],
        ["optimizer.lr=0.001", "Sphere has no such key"],
    ),
    (["run", "surface._target_=gradexp.schedules.Constant", "~surface.dim", "~surface.b"],
     ["surface", "group surface"]),
    # the grammar
    (["run", "surface"], ["surface", "EQUAL"]),
    (["run", "optimizer.lr=1,2"], ["optimizer.lr=1,2", "add -m"]),
    (["run", "optimizer.lr=range(3)"], ["optimizer.lr=range(3)", "add -m"]),
    (["run", "optimizer.lr=${nowhere}"], ["optimizer.lr", "'nowhere' not found"]),
    (["run", "optimizer=heavy_ball", "~optimizer.lr"], ["optimizer.lr", "needs a value"]),
    (["run", "~optimizer"], ["optimizer", "needs a value"]),
    (["run", "surface=own"], ["surface._target_", "needs a value"]),
    # folders
    (["run", "hydra.run.dir=/dev/null/x"], ["hydra.run.dir=/dev/null/x", "cannot be written"]),
    (["run", "hydra.run.dir=/proc/x"], ["hydra.run.dir=/proc/x", "cannot be written"]),
    (["run", "-m", "hydra.sweep.dir=/proc/x"], ["hydra.sweep.dir=/proc/x", "cannot be written"]),
    (["run", "-m", "steps=1,2", "hydra.sweep.subdir=same"], ["hydra.sweep.subdir=same", "differ"]),
    # one bad job stops a sweep before it begins
    (["run", "-m", "optimizer.lr=-1,-2"], ["optimizer.lr=-1", "a number in (0, ∞)"]),
    (["run", "-m", "surface=sphere,spere"], ["surface=spere", "did you mean sphere?"]),
    (["run", "-m", "hydra.sweep.dir=s/t", "steps=0,-1"], ["steps=0", "at least 1"]),
    # configs of one's own
    (["run", "--config-path", "/nowhere"], ["--config-path=/nowhere", "no such folder"]),
    (["run", "--config-path", "/"], ["--config-path=/", "no config.yaml"]),
    (["run", "-cn", ""], ["no such experiment"]),
    (["run", "surface=null"], ["surface=null", "no such surface"]),
    (["run", "surface="], ["surface: needs a name", "rosenbrock"]),
    (["run", "somefolder"], ["key=value"]),
    (["run", "surface.b=∞"], ["key=value"]),
    (["run", "surface.dim=1000000000000"], ["surface.dim=1000000000000", "at most 1000000"]),
    (["run", "surface=own", "surface.height=1"], ["surface._target_", "needs a value"]),
    (["run", "log.trajectory=always", "record=loss"], ["log.trajectory=always", "record=trace"]),
    # torch.optim's own mistakes
    (["run", "engine=reference", "optimizer=torch", "optimizer._target_=torch.optim.SparseAdam"],
     ["optimizer._target_=SparseAdam", "a trial step with the default options failed"]),
    (["run", "engine=reference", "optimizer=torch", "optimizer._target_=torch.optim.Adam",
      "+optimizer.betas=[0.9]"],
     ["optimizer._target_=Adam", "a trial step with betas=(0.9,) failed"]),
    # no pickles
    (["run", "--experimental-rerun", "x"], ["--experimental-rerun", "pickles"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "parts"), MISTAKES, ids=lambda value: " ".join(value))
def test_mistakes(arguments: list[str], parts: list[str], gradexp: Gradexp, tmp_path: Path) -> None:
    status, out, err = gradexp(*arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("gradexp: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    assert left_behind(tmp_path) == []


def test_a_sweep_without_jobs_leaves_nothing(gradexp: Gradexp, tmp_path: Path) -> None:
    status, _, err = gradexp("run", "-m", "seed=range(0,0)")
    assert status == 2
    assert "the sweep has no jobs" in err
    assert left_behind(tmp_path) == []


def test_cuda_is_refused_where_there_is_none(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for device in ("cuda", "cuda:0"):
        status, _, err = gradexp("run", f"device={device}")
        assert status == 2
        assert err == f"gradexp: device={device}: there is no CUDA device here; use auto or cpu\n"
    assert left_behind(tmp_path) == []


def test_what_cannot_be_compiled_is_said_in_one_line(
    gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(problem: Problem) -> NoReturn:
        raise CannotCompile("there is no C++ compiler")

    monkeypatch.setattr("gradexp.engine.codegen.block_for", refuse)
    status, _, err = gradexp("run", "engine.compile=always", "device=cpu")
    assert status == 2
    assert err == "gradexp: engine.compile=always: cannot be done: there is no C++ compiler\n"
    assert left_behind(tmp_path) == []


# Code that a config may not import, wherever it hides. `touch` would leave a file.
HIDDEN = [
    ["surface._target_=os.mkdir"],
    ["surface._target_=gradexp.config.gate.components.os.mkdir"],
    ["surface._target_=torch.optim.sgd.torch.hub.load"],
    ["surface._target_=gradexp.cli.program.main"],
    ["surface._target_=gradexp"],
    ["surface._target_=gradexpo.Surface"],
    ["surface._target_=7"],
    ["+surface.inner={_target_:os.mkdir,path:evil}"],
    ["+surface.inner.deeper={_target_:os.mkdir,path:evil}"],
    ["+surface.inner=[1,{_target_:os.mkdir,path:evil}]"],
    ["+surface.inner=[[{_target_:os.mkdir,path:evil}]]"],
    ["+surface.name=os.mkdir", "surface._target_=${surface.name}"],
    ["+surface.inner={_target_:os.mkdir,path:evil}", "optimizer=${surface.inner}"],
    ["+surface._partial_=true"],
    ["+surface._args_=[evil]"],
    ["+surface._recursive_=false"],
    ["optimizer=torch", "optimizer._target_=torch.hub.load"],
    ["+hydra.callbacks.evil={_target_:os.mkdir,path:evil}"],
    ["+hydra.callbacks.evil={_target_:hydra.utils.call,config:{_target_:os.mkdir,path:evil}}"],
    ["+hydra.callbacks.evil=${steps}"],
    ["hydra.launcher._target_=os.mkdir"],
    ["hydra.sweeper._target_=hydra.utils.instantiate"],
    ["+hydra.job_logging.handlers.evil={class:os.mkdir}"],
    ["+hydra.job_logging.handlers.evil={class:logging.StreamHandler,stream:\"ext://os.mkdir\"}"],
    ["+hydra.hydra_logging.formatters.evil={\"()\":os.mkdir}"],
    ["hydra.searchpath=[pkg://evil]"],
]  # fmt: skip


@pytest.mark.parametrize("overrides", HIDDEN, ids=lambda value: " ".join(value))
@pytest.mark.parametrize(
    "sweep", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["run", "sweep"]
)
def test_a_config_imports_nothing_that_is_not_allowed(
    overrides: list[str], sweep: bool, gradexp: Gradexp, tmp_path: Path
) -> None:
    status, _, err = gradexp("run", *(["-m", "steps=1,2"] if sweep else []), *overrides)
    assert status == 2, err
    assert err.count("\n") == 1
    assert left_behind(tmp_path) == []


# Below `hydra:` in a config file; each would import or call something of the module `evil`.
CALLBACK = "hydra.experimental.callbacks.LogJobReturnCallback"
HIDDEN_IN_HYDRA = [
    ("searchpath: ['pkg://evil']", "hydra.searchpath"),
    ("callbacks: {x: {_target_: evil.X}}", "hydra.callbacks.x._target_"),
    ("callbacks: {x: '${oc.create:{_target_:evil.X}}'}", "hydra.callbacks.x"),
    (f"callbacks: {{x: {{_target_: {CALLBACK}, a: '${{oc.create:{{_target_:evil.X}}}}'}}}}", "a"),
    (f"callbacks: {{x: {{_target_: {CALLBACK}, a: {{_target_: evil.X}}}}}}", ".x.a._target_"),
    ("launcher: {_target_: '${hydra.help.footer}'}\n  help: {footer: evil.X}", "launcher._target_"),
    ("sweeper: {params: {a: '${oc.env:HOME}'}}", "hydra.sweeper.params.a"),
    ("job_logging: {formatters: {x: {'()': hydra.utils.get_object, path: evil.X}}}", "x.()"),
    ("job_logging: {formatters: {x: {'()': logging.os.mkdir, path: evil}}}", "x.()"),
    ("hydra_logging: {handlers: {x: {class: evil.X}}}", "x.class"),
    ("job_logging: {handlers: {x: {class: logging.handlers.QueueHandler, queue: evil.X}}}", ""),
    ("job_logging: {handlers: {console: {stream: 'ext://evil.X'}}}", "console.stream"),
    ("job_logging: {handlers: {console: {stream: '${oc.env:NO,ext://evil.X}'}}}", "console.stream"),
    ("job_logging: {handlers: {console: {stream: '${hydra.help.footer}'}}}\n"
     "  help: {footer: 'ext://evil.X'}", "console.stream"),
    ("job_logging: {root: {handlers: ['ext://evil.X']}}", "root.handlers[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key"), HIDDEN_IN_HYDRA, ids=lambda value: str(value))
def test_the_hydra_node_of_a_config_file_imports_nothing(
    text: str, key: str, gradexp: Gradexp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("open('imported', 'w').close()\nX = list\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = tmp_path / "mine" / "shared.yaml"
    config.parent.mkdir()
    config.write_text(f"defaults: [config, _self_]\nsteps: 2\nhydra:\n  {text}\n")
    before = left_behind(tmp_path)
    status, _, err = gradexp("run", "--config-dir", "mine", "-cn", "shared")
    assert status == 2, err
    assert err.count("\n") == 1
    assert key in err.split("=")[0]
    assert left_behind(tmp_path) == before


BROKEN = [
    "defaults: [config",
    "defaults: [config, _self_]\nsteps: 1\nsteps: 2\n",
    "defaults: [shared, _self_]\n",
    "hydra: null\n",
    "- a list\n",
    "defaults: [config, _self_]\nsteps: !!python/object/apply:os.getcwd []\n",
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_config_file_is_a_mistake(text: str, gradexp: Gradexp, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "shared.yaml").write_text(text)
    before = left_behind(tmp_path)
    status, _, err = gradexp("run", "--config-dir", "mine", "-cn", "shared")
    assert status == 2, err
    assert err.count("\n") == 1
    assert left_behind(tmp_path) == before


def test_a_config_file_imports_nothing_either(gradexp: Gradexp, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("open('imported', 'w').close()\n")
    config = tmp_path / "mine" / "shared.yaml"
    config.parent.mkdir()
    for text in (
        "defaults: [config, _self_]\nsurface: {_target_: evil.Surface}\n",
        "defaults: [config, _self_]\nhydra: {searchpath: ['pkg://evil']}\n",
        "defaults: [config, _self_]\nhydra: {callbacks: {x: {_target_: evil.X}}}\n",
        "defaults: [config, _self_]\nhydra: {mode: MULTIRUN, sweeper: "
        "{params: {surface._target_: 'evil.A,evil.B'}}}\n",
    ):
        config.write_text(text)
        before = left_behind(tmp_path)
        status, _, err = gradexp("run", "--config-dir", "mine", "-cn", "shared")
        assert status == 2, err
        assert err.count("\n") == 1
        assert left_behind(tmp_path) == before
