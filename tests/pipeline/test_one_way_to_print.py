"""Everything that is printed goes through one function, so that no name can command a terminal."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = ["schema", "serving", "components", "pipeline", "kubeflow"]
# What prints for all others; and processes of their own, which have no project to import.
ALLOWED = {
    "serving/process/output.py",
    "pipeline/console/printing.py",
    "pipeline/console/ending.py",
    "pipeline/local/log_lines.py",
}
ERRORS = {"GraftError", "UsageError", "DataError", "ServerError", "LoadError"}
PRINTS = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "Console", "rich.print"}


def find_prints(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTS:
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node.func)}"


def test_nothing_prints_by_itself():
    """`pipeline.console.printing` and `serving.process.output` print names; what prints past them escapes nothing."""
    sources = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    others = [path for path in sources if str(path.relative_to(ROOT)) not in ALLOWED]
    assert len(others) > 100
    assert [found for path in others for found in find_prints(path)] == []


def test_the_lines_of_an_error_are_its_arguments():
    """One text with line breaks would be one line: names in it may have some, too."""
    wrong = []
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            ours = isinstance(node, ast.Call) and ast.unparse(node.func) in ERRORS
            if ours and "\\n" in ast.unparse(node).replace("split('\\n')", ""):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []
