"""Finds the files that a module runs on: imports, modules named in strings, and data files.

A digest of these files changes when the behaviour of the module can change. Comments, docstrings and imports for type
checkers do not enter it.
"""

import ast
import functools
import hashlib
import itertools
import pathlib
import re
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

PACKAGES = ("schema", "serving", "components", "pipeline", "kubeflow")
# TFX's `preprocessing_fn`, the module of `python -m`, and the path of a script; not `self.schema.feature`.
_NAMED = re.compile(rf"(?<![\w./])(?:{'|'.join(PACKAGES)})(?:[./]\w+)+")
_SILENT_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}  # of a syntax tree, without effect at run time


class Syntax(NamedTuple):
    """Parsed text of a source file.

    Attributes:
        digest: SHA-256, hex, of the syntax tree without docstrings and comments.
        imports: imported dotted names, also inside functions; `from a import b` gives both `a` and `a.b`.
        strings: the string constants.
    """

    digest: str
    imports: frozenset[str]
    strings: frozenset[str]


class File(NamedTuple):
    """Digest and imports of a file of the project.

    Attributes:
        digest: SHA-256, hex: of the syntax of a source, of the bytes of any other file.
        needs: paths of the imported or named files, relative to the project's root.
        libraries: top-level names of the imported packages outside the project and the standard library.
    """

    digest: str
    needs: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()


class Closure(NamedTuple):
    """Files and libraries that modules run on.

    Attributes:
        files: digest of each file, by path relative to the project's root.
        libraries: top-level names of packages outside the project and the standard library.
    """

    files: dict[str, str]
    libraries: frozenset[str]


class Project:
    """Files of the project below a folder; reads each once, on first use."""

    def __init__(self, root: pathlib.Path):
        """Takes the folder that holds `schema/`, `serving/` and the other packages."""
        self._root = root
        self._read: dict[str, File] = {}
        paths = itertools.chain.from_iterable((root / name).rglob("*.*") for name in PACKAGES)
        self._paths = {path.relative_to(root).as_posix() for path in paths if path.suffix != ".pyc"}
        self._data = [path for path in self._paths if not path.endswith(".py")]

    def find_closure(self, names: Iterable[str]) -> Closure:
        """Follows imports and strings from some modules to all files that they run on.

        Args:
            names: dotted names of the modules, or of libraries.
        Raises:
            ValueError: if a name has the form of a module of the project, and there is no such module.
        """
        begin = {name: self.find_module(name) for name in names}
        if lost := [name for name, paths in begin.items() if not paths and _is_ours(name)]:
            raise ValueError(f"{', '.join(lost)}: no such module below {self._root}.")
        todo, found = set(itertools.chain.from_iterable(begin.values())), dict[str, File]()
        while todo:
            path = todo.pop()
            found[path] = self.read(path)
            todo |= found[path].needs - found.keys()
        libraries = _keep_libraries(begin).union(*(file.libraries for file in found.values()))
        return Closure({path: found[path].digest for path in sorted(found)}, libraries)

    def read(self, path: str) -> File:
        """Reads a file; the path is relative to the root."""
        if path not in self._read:
            content = (self._root / path).read_bytes()
            self._read[path] = self._parse(content) if path.endswith(".py") else File(_digest(content))
        return self._read[path]

    def _parse(self, content: bytes) -> File:
        syntax = parse(content)
        needs = itertools.chain(map(self.find_module, syntax.imports), map(self.find_named, syntax.strings))
        return File(syntax.digest, frozenset(itertools.chain.from_iterable(needs)), _keep_libraries(syntax.imports))

    def find_module(self, name: str) -> list[str]:
        """Returns the paths of a module and of the packages above it.

        The name may also be that of a function or class in a module. A name outside the project gives an empty list.
        """
        parts = name.split(".")
        above = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)] if _is_ours(name) else []
        return [path for folder in above for path in (f"{folder}/__init__.py", f"{folder}.py") if path in self._paths]

    def find_named(self, string: str) -> list[str]:
        """Returns the paths of the modules and files that a string names."""
        name = string.rpartition("/")[2]  # code names a data file beside it without the folder
        found = [path for path in self._data if path.endswith(f"/{name}")]
        for match in _NAMED.finditer(string):
            if match[0] in self._paths:
                found.append(match[0])
            elif len(paths := self.find_module(match[0])) > 1:  # "serving.json" is a user's file, and no module
                found += {*paths, *self.find_module(f"{match[0]}.__main__")}  # `python -m PACKAGE` runs __main__
        return found


@functools.cache  # by content, so that an edited file is parsed again
def parse(content: bytes) -> Syntax:
    """Parses the text of a source file.

    Raises:
        SyntaxError: if it is not valid Python.
    """
    reading = _Reading()
    reading.visit(ast.parse(content))
    content = " ".join(reading.tokens).encode("utf-8", "surrogatepass")
    return Syntax(_digest(content), frozenset(reading.imports), frozenset(reading.strings))


class _Reading:
    """Collects tokens, imports and strings in one walk through a syntax tree.

    `ast.dump` and two calls of `ast.walk` take three times as long.
    """

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.imports: set[str] = set()
        self.strings: set[str] = set()

    def visit(self, node: ast.AST) -> None:
        """Visits a node and all nodes below it."""
        self.tokens.append(type(node).__name__)
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.imports.update(_list_imports(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.strings.add(node.value)
        for field in node._fields:
            if field in _SILENT_FIELDS or (field == "body" and _is_for_type_checkers(node)):
                continue
            value = getattr(node, field)
            if isinstance(value, ast.AST):
                self.visit(value)
            elif type(value) is list:
                self._visit_list(value)
            else:
                self.tokens.append(repr(value))

    def _visit_list(self, nodes: list[Any]) -> None:
        self.tokens.append("[")
        for node in nodes:
            if not isinstance(node, ast.AST):
                self.tokens.append(repr(node))
            elif not _is_text(node):
                self.visit(node)
        self.tokens.append("]")


def _is_text(node: ast.AST) -> bool:
    """Tells whether a node is a docstring, or another string as a statement."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_type_checkers(node: ast.AST) -> bool:
    """Tells whether a node is `if TYPE_CHECKING:`, whose body never runs."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in (
        getattr(node.test, "id", None),
        getattr(node.test, "attr", None),
    )


def _list_imports(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.Import):
        return names
    module = node.module or ""  # there are no relative imports: tests/test_imports.py
    return [module, *(f"{module}.{name}" for name in names)]


def _keep_libraries(names: Iterable[str]) -> frozenset[str]:
    libraries = frozenset(name.partition(".")[0] for name in names if not _is_ours(name))
    return libraries - sys.stdlib_module_names


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES
