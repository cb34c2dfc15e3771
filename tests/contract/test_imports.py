"""The direction of the layers, read from the import statements."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "kvmguest"

# From the ground up: a module imports only from those before it.
LAYERS = (
    *("errors", "child", "deadline", "states", "vcs", "log", "options", "statedir", "arglist"),
    *("backend", "process_table", "drnet", "dr_iso", "guestxml", "saved_memory", "configsync"),
    *("dr_cdrom", "dr_online", "migration", "elsewhere", "virsh"),
    *("states_rhev", "decrypt", "rhev.settings", "rhev.transport", "rhev.wire", "rhev.replies"),
    *("rhev.login", "rhev.refusals", "rhev.session"),
    *("rhev.identity", "rhev.inventory", "rhev.rescue"),
    *("rhev.migration", "rhev.payload", "rhev.backend"),
    *("lifecycle", "actions", "entry", "cli"),
)
ENDS_THE_PROCESS = {"entry", "child", "cli"}


def modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" and "guest" not in path.parent.relative_to(PACKAGE).parts
    }


def imported(tree: ast.Module) -> set[str]:
    """Full names of everything that is imported anywhere in a module, late imports included."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def ours(tree: ast.Module) -> set[str]:
    """Modules of the package that a module imports."""
    known = set(modules())
    prefix = "kvmguest."
    names = {name.removeprefix(prefix) for name in imported(tree) if name.startswith(prefix)}
    return names & known


MODULES = modules()


def test_the_modules_are_found() -> None:
    assert set(LAYERS) - {"cli"} <= set(MODULES)
    assert ours(MODULES["lifecycle"]) >= {"arglist", "backend", "deadline", "errors", "states"}


def test_there_is_no_circle() -> None:
    TopologicalSorter({name: ours(tree) for name, tree in MODULES.items()}).prepare()


@pytest.mark.parametrize("name", [name for name in LAYERS if name in MODULES])
def test_imports_point_to_the_ground(name: str) -> None:
    above = LAYERS[LAYERS.index(name) + 1 :]
    allowed = {"virsh", "rhev.backend", "rhev.settings"} if name == "entry" else set()
    assert ours(MODULES[name]) & set(above) <= allowed


@pytest.mark.parametrize("name", MODULES)
def test_only_the_kvm_backend_speaks_libvirt(name: str) -> None:
    speaks = "libvirt" in imported(MODULES[name])
    assert not speaks or name in {"virsh", "migration", "elsewhere"}


@pytest.mark.parametrize("name", MODULES)
def test_only_the_rhev_backend_speaks_http(name: str) -> None:
    http = {"requests", "http", "http.client", "urllib.request", "urllib3", "socket", "ssl"}
    assert not imported(MODULES[name]) & http or name.startswith("rhev")


@pytest.mark.parametrize("name", ["lifecycle", "states", "backend"])
def test_policy_sees_no_hypervisor_and_no_exit_code(name: str) -> None:
    names = ours(MODULES[name])
    forbidden = ("virsh", "rhev", "vcs", "entry", "process_table")
    assert [other for other in names if other.split(".")[0] in forbidden] == []


@pytest.mark.parametrize("name", MODULES)
def test_only_entry_and_cli_end_the_process(name: str) -> None:
    calls = {
        ast.unparse(node.func) for node in ast.walk(MODULES[name]) if isinstance(node, ast.Call)
    }
    ends = calls & {"sys.exit", "os._exit", "exit", "quit", "os.abort"}
    assert not ends or name in ENDS_THE_PROCESS


@pytest.mark.parametrize("name", MODULES)
def test_nothing_goes_through_a_shell_and_no_wall_clock_measures(name: str) -> None:
    text = ast.unparse(MODULES[name])
    for word in ("shell=True", "os.system", "os.popen", "time.time()", "datetime.now", "eval("):
        assert word not in text


@pytest.mark.parametrize(
    "name", ["errors", "deadline", "states", "vcs", "arglist", "entry", "virsh"]
)
def test_what_every_monitor_loads_imports_nothing_slow_at_the_top(name: str) -> None:
    top = ast.Module(
        [node for node in MODULES[name].body if isinstance(node, (ast.Import, ast.ImportFrom))], []
    )
    slow = {"requests", "lxml", "subprocess", "configparser", "dataclasses", "logging", "argparse"}
    slow |= {
        "json",
        "re",
        "inspect",
        "pathlib",
        "tempfile",
        "shutil",
        "traceback",
        "kvmguest.guestxml",
    }
    assert imported(top) & slow == set()
