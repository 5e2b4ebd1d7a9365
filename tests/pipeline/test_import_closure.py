"""The files that a module runs on, in small projects and in Graft itself."""

import ast
import functools
import importlib
import pathlib
import re
import sys

import pytest

from pipeline.code_digests import COMPONENTS, find_version
from pipeline.import_closure import PACKAGES, Project, parse

ROOT = pathlib.Path(__file__).parents[2]
MODULES = sorted({module for modules in COMPONENTS.values() for module in modules if module.startswith("components.")})
# They have optional uses: of object stores that none of the tests has.
NOT_INSTALLED = {"boto3", "tensorflow_io"}


@pytest.fixture
def closure(tmp_path):
    """Writes sources; returns the closure of `components.start`, without itself and its packages."""

    def find(start, **files):
        files = {"components/__init__.py": "", "components/start.py": start} | files
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(content)
        found = Project(tmp_path).find_closure(["components.start"])
        return set(found.files) - {"components/__init__.py", "components/start.py"}, found.libraries

    return find


WING = {"components/wing/__init__.py": "", "components/wing/part.py": "", "components/wing/other.py": ""}
CHECKED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
PART = {"components/wing/__init__.py", "components/wing/part.py"}


@pytest.mark.parametrize(
    "start",
    [
        "import components.wing.part",
        "import components.wing.part as p",
        "from components.wing import part",
        "from components.wing.part import function",
        "def f():\n    from components.wing import part",
        "class A:\n    def f(self):\n        if x:\n            import components.wing.part",
        "try:\n    import components.wing.part\nexcept ImportError:\n    pass",
        "name = 'components.wing.part'",
        "name = 'components.wing.part.preprocessing_fn'",
        "command = ['python', '-m', 'components.wing.part']",
        "command = 'python -m components.wing.part --port 1'",
        "command = f'python -m components.wing.part --port {port}'",
        f"{CHECKED}    import components.wing.other\nelse:\n    from components.wing import part",
    ],
)
def test_each_way_to_use_a_module_counts(closure, start):
    """And the package above it, which is imported first."""
    assert closure(start, **WING) == (PART, set())


@pytest.mark.parametrize(
    "start",
    [
        f"{CHECKED}    from components.wing import part",
        "import typing\nif typing.TYPE_CHECKING:\n    from components.wing import part",
        '"""See components.wing.part."""',
        "def f():\n    '''As components.wing.part does.'''",
        "# components.wing.part",
        "x = other.components.wing.part",
        "x = 'mycomponents.wing.part'",
        "x = 'serving.json'",
    ],
)
def test_what_never_runs_does_not_count(closure, start):
    """Docstrings, comments, what only type checkers import, and words that are no modules."""
    assert closure(start, **WING) == (set(), set())


def test_imports_are_followed(closure):
    """Also in a circle."""
    middle = "from serving.end import f"
    files, _ = closure(
        "import components.middle",
        **{"components/middle.py": middle, "serving/__init__.py": "", "serving/end.py": "import components.start"},
    )
    assert files == {"components/middle.py", "serving/__init__.py", "serving/end.py"}


def test_what_python_runs_of_a_package_counts(closure):
    """`python -m serving.server` runs its `__main__`."""
    server = {
        "serving/__init__.py": "",
        "serving/server/__init__.py": "",
        "serving/server/__main__.py": "import serving.a",
    }
    files, _ = closure("command = [python, '-m', 'serving.server']", **server, **{"serving/a.py": ""})
    assert files == {*server, "serving/a.py"}


def test_a_script_that_is_named_by_its_path_counts(closure):
    """Alone: Python imports no package for it."""
    assert closure("script = ROOT / 'components/wing/part.py'", **WING) == ({"components/wing/part.py"}, set())


def test_data_counts_by_its_name(closure):
    """It lies beside a source, which finds it by `__file__`."""
    data = {"schema/a.pbtxt": "", "schema/b.pbtxt": ""}
    assert closure("file = HERE.with_name('a.pbtxt')", **data)[0] == {"schema/a.pbtxt"}


def test_libraries_are_named_and_the_standard_library_is_not(closure):
    """By their first name, also where a function imports them."""
    start = "import os.path, numpy as np\nfrom google.protobuf import text_format\ndef f():\n    import PIL.Image"
    assert closure(start)[1] == {"numpy", "google", "PIL"}


def test_an_unknown_module_is_an_error(tmp_path):
    """A component that was moved would have the digest of nothing."""
    with pytest.raises(ValueError, match=r"components\.moved: no such module"):
        Project(tmp_path).find_closure(["components.moved"])


@pytest.mark.parametrize(
    "edit", ["x = 2", "x = 1.0", "x = '1'", "x = -1", "y = 1", "x: int = 1", "x = 1\nx = 1", "x == 1"]
)
def test_code_that_does_another_thing_has_another_digest(edit):
    """A value, its type, a name, a statement."""
    assert parse(edit.encode()).digest != parse(b"x = 1").digest


@pytest.mark.parametrize("edit", ["x = 1  # one", "\n\nx=(1)", "'One.'\nx = 1", "x = 1\n'What x is.'"])
def test_words_and_layout_leave_the_digest_as_it_is(edit):
    """Comments, docstrings, blank lines, brackets."""
    assert parse(edit.encode()).digest == parse(b"x = 1").digest


@functools.cache
def read_closure(module):
    return Project(ROOT).find_closure([module])


def parse_sources(module):
    """Returns the syntax trees of the sources in a closure, by path."""
    return {path: parse_source(path) for path in read_closure(module).files if path.endswith(".py")}


@functools.cache
def parse_source(path):
    return ast.parse((ROOT / path).read_bytes())


@functools.cache
def read_names(path):
    """Returns the names and attributes in a source."""
    return {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(parse_source(path))}


@functools.cache
def list_strings(tree):
    """Returns the string constants of a source, without its docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return [node.value for node in found if isinstance(node.value, str)]


@pytest.mark.parametrize("module", MODULES)
def test_closure_has_all_that_is_imported(module, monkeypatch):
    """An oracle: imports a component anew, with all of Graft, and looks at what Python has loaded."""
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        monkeypatch.delitem(sys.modules, name)
    importlib.import_module(module)
    ours = {name: found for name, found in sys.modules.items() if name.partition(".")[0] in PACKAGES}
    loaded = {str(pathlib.Path(found.__file__).relative_to(ROOT)) for found in ours.values()}
    for name in ours:
        monkeypatch.delitem(sys.modules, name)
    assert len(loaded) > 2
    assert loaded <= set(read_closure(module).files)


def test_closure_has_each_module_and_file_that_is_named_in_a_string():
    """TFX and subprocesses get names; a component that names a module in another way would miss its changes."""
    files = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.*")}
    sources = {path.removesuffix(".py").removesuffix("/__init__"): path for path in files if path.endswith(".py")}
    names = {name.replace("/", "."): path for name, path in sources.items() if "/" in name} | {p: p for p in files}

    @functools.cache
    def find_named(path, tree):
        text = "\n".join(list_strings(tree))
        found = [name for name in names if name in text]
        return {names[name] for name in found if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text)}

    named = {m: set().union(*(find_named(*item) for item in parse_sources(m).items())) for m in MODULES}
    assert {module: paths - set(read_closure(module).files) for module, paths in named.items()} == {
        module: set() for module in MODULES
    }


def test_no_component_makes_up_the_name_of_a_module():
    """It would be in no closure: `"components." + name`, or a call of an importer with anything but a string."""
    importers = {"import_module", "__import__", "run_module", "run_path", "spec_from_file_location", "exec", "eval"}
    found = []
    for path, tree in {path: tree for module in MODULES for path, tree in parse_sources(module).items()}.items():
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        named = [call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", "")) in importers]
        found += [f"{path}:{call.lineno}" for call in named if not isinstance(call.args[0], ast.Constant)]
        found += [f"{path}: {text}" for text in list_strings(tree) if re.search(rf"({'|'.join(PACKAGES)})\.$", text)]
    assert found == []


def test_files_beside_a_source_are_read_in_three_places():
    """Each is looked at here: what is read must be in the closure, so its name must stand in a string."""
    found = {path for module in MODULES for path in parse_sources(module) if "__file__" in read_names(path)}
    assert found == {"components/pusher/card.py", "components/schema_gen.py", "serving/client/launch.py"}
    assert "schema/schema.pbtxt" in read_closure("components.schema_gen").files
    assert "serving/process/end_with_parent.py" in read_closure("components.serving_validator.component").files


def test_each_library_of_the_components_has_a_version():
    """A distribution may have another name than its package."""
    found = frozenset().union(*(read_closure(module).libraries for module in MODULES))
    assert {name for name in found if not find_version(name)} <= NOT_INSTALLED
    assert {"tensorflow", "keras", "tfx", "tensorflow_transform", "apache_beam", "numpy", "sklearn"} <= found
