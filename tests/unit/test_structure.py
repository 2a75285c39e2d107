"""The shape of the repository: short files, thin nodes, nouns as types, no import circles.

The tables name what is exempt, each entry with its reason, and what is still to do. A table of the second kind should
be empty; an entry that is no longer needed fails its test, so that it is removed.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping

from incontext_lora.tests.repository_files import CODE, TEXT, files, read

LONGEST_FILE = 400
LONGEST_NODE = 40

# files that are one table
LONG_FOR_A_REASON: Mapping[str, str] = {}
STILL_TOO_LONG: frozenset[str] = frozenset()
NODES_STILL_TOO_LONG: frozenset[str] = frozenset()
STILL_IN_CIRCLES: frozenset[str] = frozenset()
STILL_PARTICIPLES: frozenset[str] = frozenset()

PARTICIPLE = re.compile(
    r"_?(?!Need)(?:[A-Z][a-z]+ed|Found|Given|Made|Kept|Written|Known|Drawn|Seen|Told|Read|Sent|Built|Held|Left|Lost|Put|Cut|Shown|"
    r"Wishes)"
)


def test_there_is_something_to_look_at() -> None:
    assert {"run.py", "launcher/main.py", "js/incontext_layout.js"} <= set(files(*CODE))
    assert "README.md" in files(*TEXT)


class TestFiles:
    def test_are_short(self) -> None:
        long = {name: n for name in files(*CODE) if (n := line_count(name)) > LONGEST_FILE}
        for name in (*LONG_FOR_A_REASON, *STILL_TOO_LONG):
            long.pop(name, None)
        assert not long, f"split these into files that do one job each, of at most {LONGEST_FILE} lines"

    def test_the_tables_have_no_old_entries(self) -> None:
        long = {name for name in files(*CODE) if line_count(name) > LONGEST_FILE}
        assert_no_old(sorted({*LONG_FOR_A_REASON, *STILL_TOO_LONG} - long))


def assert_no_old(entries: list[str]) -> None:
    assert not entries, "these are done, so remove them from the table: " + ", ".join(entries)


def line_count(name: str) -> int:
    return len(read(name).splitlines())


class TestNodes:
    """What a node has beside its schema: to convert, to call the library, to wrap."""

    def test_are_thin(self) -> None:
        sizes = node_sizes()
        assert len(sizes) > 20, "the nodes are not where this test looks for them"
        thick = {name: size for name, size in sizes.items() if size > LONGEST_NODE and name not in NODES_STILL_TOO_LONG}
        assert not thick, f"move what these nodes decide into the library; {LONGEST_NODE} lines are enough for a node"

    def test_the_table_has_no_old_entries(self) -> None:
        thick = {name for name, size in node_sizes().items() if size > LONGEST_NODE}
        assert_no_old(sorted(NODES_STILL_TOO_LONG - thick))


@functools.cache
def node_sizes() -> dict[str, int]:
    """Lines of code of each node without its schema.

    The signature of a method repeats the schema, one name per line, so it counts as one line.
    """
    sizes: dict[str, int] = {}
    for name in files(".py"):
        if name.startswith("nodes/"):
            text = read(name)
            for node in ast.parse(text).body:
                if isinstance(node, ast.ClassDef) and any("ComfyNode" in ast.unparse(base) for base in node.bases):
                    sizes[node.name] = _lines_beside_schema(node, text.splitlines())
    return sizes


def _lines_beside_schema(node: ast.ClassDef, lines: list[str]) -> int:
    count = 0
    for member in node.body:
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
            if member.name == "define_schema":
                continue
            count += 1
            members = member.body
        else:
            members = [member]
        for part in members:
            written = lines[part.lineno - 1 : part.end_lineno]
            count += sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in written)
    return count


class TestNames:
    def test_types_are_nouns(self) -> None:
        """A participle alone (Found, Given, Written) does not say what was found, given or written."""
        found = {
            node.name
            for name in files(".py")
            if not name.startswith("tests/")
            for node in ast.walk(ast.parse(read(name)))
            if isinstance(node, ast.ClassDef) and PARTICIPLE.fullmatch(node.name) and not is_exception(node)
        }
        assert not sorted(found - STILL_PARTICIPLES), "name these types by nouns"
        assert_no_old(sorted(STILL_PARTICIPLES - found))


def is_exception(node: ast.ClassDef) -> bool:
    """Whether the class says what happened, for which a participle is usual (`Cancelled`)."""
    return any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)


class TestImports:
    def test_have_no_circles(self) -> None:
        found = {" <-> ".join(sorted(circle)) for circle in circles(import_graph()) if len(circle) > 1}
        assert not sorted(found - STILL_IN_CIRCLES), "one of these modules should not know the other"
        assert_no_old(sorted(STILL_IN_CIRCLES - found))

    def test_a_circle_would_be_seen(self) -> None:
        graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set(), "e": {"a"}}
        assert [sorted(circle) for circle in circles(graph) if len(circle) > 1] == [["a", "b", "c"]]

    def test_are_all_seen(self) -> None:
        graph = import_graph()
        assert {"launcher/arguments", "launcher/errors", "launcher/progress"} <= graph["launcher/main"]
        assert "demo/server" in graph["launcher/processes"]
        assert "launcher/versions" in graph["launcher/comfyui"], "from . import versions"


@functools.cache
def import_graph() -> dict[str, set[str]]:
    """Which module imports which, wherever in it: a deferred import closes a circle as well. Types are not counted."""
    modules = {name.removesuffix(".py").removesuffix("/__init__") for name in files(".py")}
    graph: dict[str, set[str]] = {}
    for name in files(".py"):
        module = name.removesuffix(".py").removesuffix("/__init__")
        package = name.split("/")[:-1]
        imported = set(_relative_imports(ast.parse(read(name)), package, modules))
        graph[module] = imported - {module}
    return graph


def _relative_imports(tree: ast.AST, package: list[str], modules: set[str]) -> Iterator[str]:
    for node in _at_run_time(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module or "").split(".")
            source = "/".join(part for part in base if part)
            for alias in node.names:
                inner = f"{source}/{alias.name}"
                yield inner if inner in modules else source


def _at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    yield tree
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        return
    for child in ast.iter_child_nodes(tree):
        yield from _at_run_time(child)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, by Tarjan's algorithm; a module in no circle is a group of one."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module] & graph.keys()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            cut = stack.index(module)
            found.append(stack[cut:])
            del stack[cut:]

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return found
