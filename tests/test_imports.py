"""Which part of the project may import which: written here once, and read from the sources."""

import ast
import collections
import functools
import itertools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# A row imports those above it, and nothing of its own row.
FOLDERS = [("schema",), ("serving",), ("components",), ("pipeline",), ("kubeflow",)]
WINGS = [
    (
        "artifacts",
        "example_files",
        "probabilities",
        "progress",
        "proportions",
        "records",
        "run_parameters",
        "schema_gen",
        "tfdata",
    ),
    ("devices", "images", "network", "row_store", "statistics_gen"),
    ("transform",),
    ("embedder", "example_gen"),
    ("gates",),
    ("evaluator", "serving_validator", "trainer"),
    ("pusher",),
]
# Beam's workers, servers and clients of a version have no use for it, and it takes seconds to import.
WITHOUT_TFX = ("schema", "serving", "components.images", "components.transform", "components.example_gen.reading")


@functools.cache
def read_imports():
    """Module to {what it imports: whether that is when it is itself imported}, of all modules of the project."""
    paths = itertools.chain.from_iterable((ROOT / name).rglob("*.py") for [name] in FOLDERS)
    sources = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(paths)}
    sources = {name.removesuffix(".__init__"): path for name, path in sources.items()}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in sources.items()}
    return {name: dict(find_imports(tree, sources)) for name, tree in trees.items()}


def find_imports(tree, modules):
    at_once = {id(node) for node in tree.body}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in sorted(imports, key=lambda node: id(node) in at_once):  # those at once overwrite the others
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"line {node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in names]
        yield from ((name, id(node) in at_once) for name in names)


def find_arrows(depth):
    """From part to part of the project, the first names of their modules: (from, to) to the imports that it is."""
    arrows = collections.defaultdict(list)
    for module, imports in read_imports().items():
        for imported in imports:
            if imported in read_imports():
                ends = tuple(tuple(name.split(".")[:depth]) for name in (module, imported))
                arrows[ends].append(f"{module} imports {imported}")
    return {(start, end): found for (start, end), found in arrows.items() if start != end}


def find_wrong(arrows, rows):
    """The imports that do not go up; a part of the project that is in no row is an error."""
    height = {name: number for number, row in enumerate(rows) for name in row}
    wrong = (found for (start, end), found in arrows.items() if height[end[-1]] >= height[start[-1]])
    return sorted(itertools.chain.from_iterable(wrong))


def test_folders_import_one_way():
    """A server needs no component, and a component no configuration."""
    assert find_wrong(find_arrows(1), FOLDERS) == []


def test_wings_of_components_import_one_way():
    """What a wing needs can be read from top to bottom."""
    arrows = find_arrows(2)
    inside = {ends: found for ends, found in arrows.items() if {end[0] for end in ends} == {"components"}}
    inside = {ends: found for ends, found in inside.items() if all(len(end) == 2 for end in ends)}
    assert len(inside) > 30
    assert find_wrong(inside, WINGS) == []


@pytest.mark.parametrize("folder", ["serving", "pipeline", "kubeflow"])
def test_no_circle_in(folder):
    """Neither of folders nor of the files beside them."""
    ends = [ends for ends in find_arrows(2) if {end[0] for end in ends} == {folder}]
    while free := {end for _, end in ends} - {start for start, _ in ends}:  # those that import nothing else
        ends = [(start, end) for start, end in ends if end not in free]
    assert ends == []


def test_a_wing_imports_nothing_by_itself():
    """Else one module of a wing would bring all others: TFX to a worker of Beam, or to a server."""
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts) for [f] in FOLDERS for path in (ROOT / f).glob("*/__init__.py")
    }
    assert len(packages) > 20
    assert {name: read_imports()[name] for name in packages if read_imports()[name]} == {}


def find_closure(begin):
    """Returns modules with all their imports at module level; imports inside functions do not count."""
    todo, seen = list(begin), set()
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += [name for name, at_once in read_imports().get(module, {}).items() if at_once]
    return seen


def test_what_workers_and_servers_import_has_no_tfx():
    begin = [name for name in read_imports() if name.startswith(WITHOUT_TFX)]
    seen = find_closure(begin)
    assert len(begin) > 60
    assert {name for name in seen if name.split(".")[0] in ("tfx", "ml_metadata", "tensorflow_model_analysis")} == set()


def test_the_page_of_a_run_imports_no_tensorflow():
    """TensorFlow would take seconds of `./graft report`."""
    seen = find_closure(name for name in read_imports() if name.startswith("pipeline.report"))
    assert len(seen) > 60
    assert {name for name in seen if name.split(".")[0] in ("tensorflow", "tfx", "keras", "apache_beam")} == set()


def test_each_process_leaves_memory_of_a_card_to_others():
    """The package `serving` sets it, before TensorFlow starts: of commands, tasks, servers and Beam's workers."""
    begin = ["kubeflow.cli", "kubeflow.entry_point", "serving.server.__main__"]
    begin += [name for name, imports in read_imports().items() if "apache_beam" in imports and "components" in name]
    assert len(begin) > 6
    assert [name for name in begin if not any(seen.startswith("serving.") for seen in find_closure([name]))] == []
