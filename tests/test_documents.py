"""The documents: links lead somewhere, files that are named are there, the index is whole."""

import functools
import itertools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = (".", "docs", "tests", "benchmarks", ".github")
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
PARTS = "schema|serving|components|pipeline|kubeflow|tests|benchmarks|docs"
README_LINES = 150
NAMED_FILE = re.compile(rf"`((?:{PARTS})/[\w/.-]+\.(?:py|md|sh|awk|yaml|pbtxt))(?::[^`]*)?`")


def read_prose(document):
    """Returns the text of a document without its blocks of code, which show what other programs print."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def make_anchor(heading):
    """Returns the anchor that GitHub gives a heading: lower case, no punctuation, a hyphen for each space."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@functools.cache
def find_anchors(document):
    """Returns the anchors of a document; a heading that comes again gets a number."""
    anchors = [make_anchor(heading) for heading in re.findall(r"^#+ (.*)$", read_prose(document), re.MULTILINE)]
    return {f"{name}-{n}" if n else name for name in anchors for n in range(anchors.count(name))}


def find_broken_links(document):
    """Yields each link of a document to a file or a heading that is not there."""
    for link in re.findall(r"\]\(([^)\s]+)\)", read_prose(document)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / document).parent / name if name else ROOT / document
        if not target.exists() or (anchor and anchor not in find_anchors(str(target.resolve().relative_to(ROOT)))):
            yield link


def test_anchors_are_those_of_github():
    """As its pages have them: punctuation goes, each space becomes a hyphen."""
    assert make_anchor("Before a run: `./graft check`") == "before-a-run-graft-check"
    assert make_anchor("Two at once, and what is damaged") == "two-at-once-and-what-is-damaged"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    """To a file, a folder or a heading of the project; other addresses are not looked up."""
    assert list(find_broken_links(document)) == []


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_files_that_are_named_are_there(document):
    """By their path from the top or from the document; the changelog tells of what is gone."""
    places = (ROOT, (ROOT / document).parent)
    named = NAMED_FILE.findall(read_prose(document))
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_index_has_every_page_once():
    """Pages of other folders come besides."""
    listed = re.findall(r"^\| \[([\w-]+\.md)\]", read_prose("docs/README.md"), re.MULTILINE)
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(pages)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_heading_has_something_under_it(document):
    """A sentence, a table or an example, before the next heading."""
    blocks = re.split(r"^(#+ .*)$", (ROOT / document).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [heading for heading, below in zip(blocks[1::2], blocks[2::2], strict=True) if not below.strip()] == []


def test_readme_is_short():
    """What is long has a page of its own."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_no_paragraph_stands_in_two_documents():
    """What is said twice is one day said in two ways. Tables and commands may come again."""
    seen = {}
    for document in DOCUMENTS:
        for paragraph in {" ".join(text.split()) for text in read_prose(document).split("\n\n")}:
            if len(paragraph) > 150 and not paragraph.startswith(("|", "./", "photos/")):
                seen.setdefault(paragraph, []).append(document)
    twice = [documents for documents in seen.values() if len(documents) > 1]
    assert list(itertools.chain.from_iterable(twice)) == []
