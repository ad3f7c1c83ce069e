"""Imports go downward only."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.layers import GROUND, LAYERS, PURE

ROOT = Path(__file__).parents[2]


def name_of(file: Path) -> str:
    """A file's name as a module."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(file): file for file in (ROOT / "appliance").rglob("*.py")}


@cache
def statements(module: str) -> list[ast.Import | ast.ImportFrom]:
    """All import statements of a module, but those that only the type checker reads."""
    found = []
    nodes: list[ast.AST] = [ast.parse(FILES[module].read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        elif not isinstance(node, ast.expr):
            nodes += ast.iter_child_nodes(node)
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, anywhere in it: whole names of our own modules, of others as they are written."""
    found: set[str] = set()
    for statement in statements(module):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        else:
            assert statement.level == 0, f"{module}: imports by full names only"
            base = statement.module or ""
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in FILES else base for alias in statement.names}
    return frozenset(found)


def level(module: str) -> int:
    """The position of the module's layer."""
    return next(number for number, layer in enumerate(LAYERS) if module in layer)


def test_every_module_has_one_layer() -> None:
    """Whoever adds a module says in tests/layers.py where it belongs."""
    listed = [module for layer in LAYERS for module in layer]
    assert set(FILES) - set(listed) == set(), "not in tests/layers.py"
    assert set(listed) - set(FILES) == set(), "in tests/layers.py only"
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_go_downward(module: str) -> None:
    """Nobody imports from a layer above the own."""
    upward = {other for other in imports(module) & FILES.keys() if level(other) > level(module)}
    assert upward == set()


def test_there_are_no_cycles() -> None:
    """Within a layer too, there is an order."""
    TopologicalSorter({module: imports(module) & FILES.keys() - {module} for module in FILES}).prepare()


@pytest.mark.parametrize("module", sorted([*GROUND, *PURE]))
def test_pure_modules_do_not_know_twisted(module: str) -> None:
    """So all of them can be tested without a reactor, to the last branch."""
    assert not {name for name in imports(module) if name.partition(".")[0] in {"twisted", "treq", "txacme", "zope"}}


def test_only_programs_know_the_global_reactor() -> None:
    """Everybody else is handed one, so that tests can hand in a clock."""
    reactor = {"twisted.internet.reactor"}
    users = set()
    for module in FILES:
        for statement in statements(module):
            base = f"{statement.module}." if isinstance(statement, ast.ImportFrom) else ""
            if reactor & {base + alias.name for alias in statement.names}:
                users.add(module)
    assert users == {"appliance.tap", "appliance.workers.__main__"}


def test_the_acme_package_is_not_used() -> None:
    """txacme brings an old one along; what would lean on it would break with it."""
    users = {module for module in FILES if any(name.partition(".")[0] == "acme" for name in imports(module))}
    assert users == set()
