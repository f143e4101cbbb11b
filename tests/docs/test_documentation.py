"""The documentation names only what exists: links, files, commands, parameters, messages, tests."""

import argparse
import ast
import builtins
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import yaml

from faceops.base.reasons import Reason
from faceops.cli import build_parser
from faceops.config.sections import Expectation, Params

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CARD = ROOT / "src/faceops/registry/published/model_card.md"
PAGES = sorted([README, CARD, *(ROOT / "docs").glob("*.md")])
PARSER = build_parser()

SECTIONS = {field.alias or name: field for name, field in Params.model_fields.items()}
TRACKED = (
    *("src", "tests", "docs", "flows", "experiments", "benchmarks", "deploy"),
    *("demo.py", ".dvc", ".ci"),
)
ROOT_FILE = re.compile(r"[A-Za-z][\w-]*\.(?:yaml|yml|toml|dvc)|Dockerfile|Makefile|[A-Z_]+\.md")
# Programs of others that code blocks may call.
OTHER_PROGRAMS = {
    "cd", "cp", "curl", "dask", "docker", "dvc", "echo", "eval", "git", "kubectl", "mlflow",
    "openssl", "pip", "prefect", "rm", "source", "torchrun",
}  # fmt: skip


def parametrize_pages() -> pytest.MarkDecorator:
    names = [page.relative_to(ROOT).as_posix() for page in PAGES]
    return pytest.mark.parametrize("page", PAGES, ids=names)


@cache
def code_blocks(page: Path, language: str) -> list[str]:
    """Return the contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


@cache
def prose(page: Path) -> str:
    """Return the text outside of fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)


def code_spans(page: Path) -> list[str]:
    """Return the code spans; one that is wrapped at the end of a line is joined by a space."""
    spans = re.findall(r"`((?:[^`\n]|\n(?!\n))+)`", prose(page))
    return [" ".join(span.split("\n")) for span in spans]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shell_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command, without variables that are set for it."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"(^|\s)#[^\n]*", r"\1", text)
    lexer = shlex.shlex(re.sub(r"\$\([^()]*\)", "X", text), posix=True, punctuation_chars="|&;\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word.strip("|&;\n"):
            if words or not re.match(r"[A-Z_]+=", word):
                words.append(word)
        elif words:
            yield words
            words = []


def module_problem(module: str, options: list[str]) -> str:
    """Return what is wrong with `python -m module options`, or an empty string."""
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    if spec is None or spec.origin is None:
        return f"there is no module {module}"
    source = Path(spec.origin).read_text("utf-8")
    wrong = [o for o in options if o.startswith("--") and f'"{o.split("=")[0]}"' not in source]
    return f"{module} has no option {wrong[0]}" if wrong else ""


def make_problem(words: list[str]) -> str:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = [word for word in words if "=" not in word]
    wrong = [t for t in targets if not re.search(rf"^{re.escape(t)}:", makefile, re.M)]
    return f"make has no target {wrong[0]}" if wrong else ""


def faceops_problem(words: list[str]) -> str:
    """Return what is wrong with the subcommand and the options; arguments may be missing."""
    parser = PARSER
    for word in words:
        if word.startswith("-"):
            if word.split("=")[0] not in parser._option_string_actions:
                return f"{parser.prog} has no option {word}"
        elif choices := subcommands(parser):
            if word not in choices:
                return f"{parser.prog} has no subcommand {word}"
            parser = choices[word]
    return ""


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def leaf_commands(parser: argparse.ArgumentParser) -> list[str]:
    below = subcommands(parser)
    return [leaf for one in below.values() for leaf in leaf_commands(one)] or [parser.prog]


def command_problem(words: list[str]) -> str:
    """Return what is wrong with a command, or an empty string."""
    match words:
        case ["faceops", *rest]:
            return faceops_problem(rest)
        case ["make", *rest]:
            return make_problem(rest)
        case ["python", "-m", module, *rest] | ["python", "-W", _, "-m", module, *rest]:
            return module_problem(module, rest)
        case ["python", script, *_]:
            return "" if (ROOT / script).is_file() else f"there is no {script}"
        case ["torchrun", *_, "-m", module]:
            return module_problem(module, [])
    return ""


@parametrize_pages()
def test_links_and_anchors_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@parametrize_pages()
def test_files_of_the_repository_exist(page):
    for span in code_spans(page):
        path = span.rstrip("/")
        in_folder = path.split("/")[0] in TRACKED and re.fullmatch(r"[\w./*-]+", path)
        if (in_folder or ROOT_FILE.fullmatch(path)) and "NAME" not in path:
            assert list(ROOT.glob(path)), span


@parametrize_pages()
def test_commands_in_code_blocks_are_valid(page):
    for block in code_blocks(page, "sh"):
        for words in shell_commands(block):
            assert words[0] in {"faceops", "make", "python", *OTHER_PROGRAMS}, words
            assert not command_problem(words), words
            if words[0] == "faceops":
                PARSER.parse_args(words[1:])  # all arguments are there


@parametrize_pages()
def test_commands_in_the_text_are_valid(page):
    for span in code_spans(page):
        if re.match(r"([A-Z_]+=\w+ )*(faceops|make|python|torchrun) ", span):
            for words in shell_commands(span.replace("...", "")):
                assert not command_problem(words), span


@parametrize_pages()
def test_parameters_exist(page):
    for span in code_spans(page):
        if found := re.match(r"(\w+)\.(\w+)(?=$|:|\s|=)", span):
            section, key = found.groups()
            if section in SECTIONS and key not in ("json", "csv", "md"):
                assert key in SECTIONS[section].annotation.model_fields, span


@pytest.mark.parametrize(
    "command",
    ["faceops release promot", "faceops identify --colour", "make tea", "python -m flows.nothing",
     "python -m flows.identify --colour"],
)  # fmt: skip
def test_wrong_commands_are_found(command):
    assert command_problem(command.split())


def test_the_readme_links_every_page():
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", prose(README)))
    written = {page.relative_to(ROOT).as_posix() for page in PAGES if page.parent == ROOT / "docs"}
    assert written <= linked


def test_every_command_is_documented():
    text = " ".join(page.read_text("utf-8") for page in PAGES)
    assert [leaf for leaf in leaf_commands(PARSER) if leaf not in text] == []


def test_the_readme_names_all_packages_and_files_of_the_tree():
    (tree,) = code_blocks(README, "text")
    source = ROOT / "src/faceops"
    packages = {path.parent.name for path in source.glob("*/__init__.py")}
    packages |= {path.stem for path in source.glob("[a-z]*.py")}
    assert set(re.findall(r"^  (\w+)(?:/|\.py)", tree, re.M)) == packages
    for name in map("".join, re.findall(r"^([\w./]+)|  (\w+\.\w+)  ", tree, re.M)):
        assert (ROOT / name).exists() or (source / name).exists(), name


def first_cells(page: str, heading: str) -> list[str]:
    """Return the code spans in the first column of the tables below a heading."""
    text = prose(ROOT / "docs" / page)
    section = re.search(rf"^(#+) {heading}\n(.*?)(?=^\1 |\Z)", text, re.M | re.S)
    assert section, heading
    cells = re.findall(r"^\| (`.+?`) \| ", section[2].split("\n## ")[0], re.M)
    return [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


def test_all_reason_codes_are_documented():
    assert sorted(first_cells("troubleshooting.md", "Reason codes")) == sorted(map(str, Reason))


def test_all_stages_are_documented():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
    assert first_cells("rebuilding.md", "Stages") == list(stages)


def test_all_expectations_are_documented():
    assert sorted(first_cells("rebuilding.md", "Expectations")) == sorted(get_args(Expectation))


def literals(path: Path) -> Iterator[str]:
    """Yield the strings of a Python file, with the code of the values in f-strings."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
                for part in node.values
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )


@cache
def source_text() -> str:
    """Return all strings of the code and the lines of the Makefile, in which messages are."""
    files = [path for folder in ("src", "flows") for path in sorted((ROOT / folder).rglob("*.py"))]
    texts = [text.replace("`", "") for path in files for text in literals(path)]
    return "\0".join(texts + (ROOT / "Makefile").read_text("utf-8").splitlines())


@pytest.mark.parametrize(
    "message", first_cells("troubleshooting.md", "Messages"), ids=lambda text: text[:40]
)
def test_messages_of_the_troubleshooting_page_are_in_the_code(message):
    parts = [re.escape(part) for part in message.split("...") if part]  # ... stands for a value
    assert len(message.replace("...", "")) >= 6
    assert re.search("[^\0]*".join(parts), source_text())


def extension_examples() -> dict[str, tuple[Path, str]]:
    """Return the examples of docs/extending.md and the file that each edits, by heading."""
    page = (ROOT / "docs/extending.md").read_text("utf-8")
    files = dict(re.findall(r"^\| \[(.+?)\].*?`(src/\S+\.py)`", page, re.M))
    blocks = re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", page, re.M | re.S)
    return {name: (ROOT / files[name[0].lower() + name[1:]], block) for name, block in blocks}


@pytest.mark.parametrize(
    ("file", "example"), extension_examples().values(), ids=extension_examples()
)
def test_examples_use_names_of_the_file_that_they_edit(file, example):
    module, block = ast.parse(file.read_text("utf-8")), ast.parse(example)
    known = set(dir(builtins))
    for node in [*ast.walk(module), *ast.walk(block)]:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                known.add(node.name)
            case ast.Import() | ast.ImportFrom():
                known.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
            case ast.Name(ctx=ast.Store()):
                known.add(node.id)
            case ast.arg():
                known.add(node.arg)
    for registry, entry in re.findall(r"^# in (\w+): (.+)$", example, re.M):
        assert registry in known
        block.body += ast.parse(f"{{{entry}}}").body
    used = {node.id for node in ast.walk(block) if isinstance(node, ast.Name)}
    assert used - known == set()


def test_the_named_tests_exist():
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = [span for span in code_spans(ROOT / "docs/extending.md") if span.startswith("test_")]
    assert named and [name for name in named if f"def {name}(" not in tests] == []
