"""Documentation is part of the product: its snippets run, its generated parts are current, its links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xgboost
from click.testing import CliRunner

from model_zoo.__main__ import main as zoo
from model_zoo.datasets.sample import sample_dataset
from model_zoo.films_als.train import train
from nearhand.features import ItemTable, compile_program, read_program
from nearhand_converters.cli import main as nearhand
from nearhand_converters.data import write_dataset
from tests.cloud.endpoint import Endpoint, running_endpoint
from tests.oip.servers import Scripted, scripted
from tests.sdk.serving_factory import serving_bundle

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


SNIPPETS = [
    pytest.param(code, id=f"{page.name}-{i}") for page in PAGES for i, code in enumerate(blocks(page, "python"))
]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `make demo` has been run, on a small sample."""
    folder = tmp_path_factory.mktemp("project")
    built = folder / "build" / "films-als"
    train(sample_dataset(300), built)
    out = folder / "build" / "films.nearhand"
    arguments = [built / "model.npz", "--data", built, "--recipe", built / "recipe.toml", "-o", out]
    done = CliRunner().invoke(nearhand, ["convert", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    (folder / "app").mkdir()
    serving_bundle(folder / "app").rename(folder / "app" / "films.nearhand")
    return folder


@pytest.fixture(scope="session")
def events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running_endpoint(tmp_path_factory.mktemp("events")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def models() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


@pytest.mark.parametrize("code", SNIPPETS)
def test_python_snippets_run(
    code: str, project: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    if "EVENTS_URL" in code:
        endpoint: Endpoint = request.getfixturevalue("events")
        monkeypatch.setenv("EVENTS_URL", endpoint.url)
        monkeypatch.setenv("EVENTS_KEY", endpoint.write_key)
    if "MODELS_URL" in code:
        monkeypatch.setenv("MODELS_URL", request.getfixturevalue("models").url)
    exec(compile(code, "snippet", "exec"), {})


def test_the_engineers_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's shell commands, on an engineer's own CSV files."""
    monkeypatch.chdir(tmp_path)
    dataset = sample_dataset(300)
    write_dataset(dataset, tmp_path / "MY_FOLDER")
    (script,) = (block for block in blocks(ROOT / "README.md", "sh") if "nearhand convert" in block)
    items = ",".join(dataset.catalogue.item_ids[:3])
    ran = []
    for line in script.splitlines():
        words = shlex.split(line.replace("ID,ID,ID", items), comments=True)
        command, arguments = (zoo, words[3:]) if words[:3] == ["python", "-m", "model_zoo"] else (nearhand, words[1:])
        done = CliRunner().invoke(command, arguments)
        assert done.exit_code == 0, f"{line}\n{done.output}"
        ran.append(arguments[0])
    assert ran == ["train", "convert", "verify", "inspect", "recommend", "events", "replay"]


def test_the_commands_of_the_conversion_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model and rows of an engineer's own."""
    monkeypatch.chdir(tmp_path)
    random = np.random.Generator(np.random.PCG64(0))
    table = random.standard_normal((200, 2))
    data = xgboost.DMatrix(table, (table[:, 0] > 0).astype(float), feature_names=["age", "spend"])
    xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 3).save_model("churn.ubj")
    Path("customers.csv").write_text("customer,age,spend\na,41,3.5\nb,,0\n", encoding="utf-8")
    (script,) = blocks(ROOT / "docs" / "CONVERSION.md", "sh")
    lines = script.splitlines()
    assert len(lines) == 2
    for line in lines:
        done = CliRunner().invoke(nearhand, shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/generate.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_page_is_current(generator: ModuleType) -> None:
    assert (ROOT / "docs" / "CLI.md").read_text(encoding="utf-8") == generator.command_line_page()


def test_the_operators_of_the_features_page_are_current(generator: ModuleType) -> None:
    page = (ROOT / "docs" / "FEATURES.md").read_text(encoding="utf-8")
    assert page == generator.features_page(page)


def test_the_programs_of_the_features_page_are_read() -> None:
    items = ItemTable((), {"year": (), "genres": ()})
    programs = blocks(ROOT / "docs" / "FEATURES.md", "json")
    assert programs
    for text in programs:
        compile_program(read_program(text.encode(), place="FEATURES.md"), items)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", "".join(page.read_text(encoding="utf-8") for page in PAGES)))
    assert named
    assert named <= targets


def test_generated_blocks_are_filled_and_name_no_machine() -> None:
    for name, page in (("demo", ROOT / "README.md"), ("bench", ROOT / "docs" / "BENCHMARKS.md")):
        found = re.search(
            rf"generated by `make docs`: {name} -->\n```text\n(.+?)```\n<!-- end",
            page.read_text(encoding="utf-8"),
            re.DOTALL,
        )
        assert found, f"run `make docs`: the block {name!r} is empty"
        assert os.fspath(ROOT) not in found[1]
