"""What is true of the repository as a whole: modules, locks, tracked files, the wheel."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("features", "models", "training", "serving", "pipelines")
MODULES = sorted(path for name in PACKAGES for path in (REPOSITORY / name).rglob("*.py"))
LOCKS = ("requirements.lock", "requirements-serving.lock")
MAX_LINES = 400
BANNED_NAMES = {
    "utils", "helpers", "common", "misc", "base", "core", "manager",
    "handler", "processor", "service", "data", "info", "wrapper",
}  # fmt: skip
TOP_LEVEL = {
    *PACKAGES, "tests", "docs", "deploy", "examples", ".ci",
    "pyproject.toml", "Dockerfile", "Makefile", "README.md", "CHANGELOG.md", "LICENSE", *LOCKS,
    ".python-version", ".dockerignore", ".gitignore", ".env.example",
}  # fmt: skip
# Written so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|work|Users)/")
PACKAGE_INDEX = re.compile(r"(?:files\.pythonhosted|pypi(?:\.python)?)[.]org")


def named(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def tracked_files() -> list[str]:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    return [name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).is_file()]


def pins_of(lock: str) -> dict[str, str]:
    found = re.findall(
        r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", (REPOSITORY / lock).read_text(), re.MULTILINE
    )
    return {canonicalize_name(name): version for name, version in found}


def requirements_of(*extras: str) -> list[Requirement]:
    stated = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    texts = list(stated["project"]["dependencies"])
    for extra in extras:
        texts += stated["project"]["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def test_every_module_says_what_it_is():
    silent = [named(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert MODULES
    assert silent == []


def test_no_module_is_too_long_to_read():
    lines = {named(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: n for name, n in lines.items() if n > MAX_LINES} == {}


def test_no_module_has_a_name_that_says_nothing():
    parts = {named(path): set(Path(named(path)).with_suffix("").parts) for path in MODULES}
    assert [name for name, words in parts.items() if words & BANNED_NAMES] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_has_a_hash_for_each_pin(lock):
    text = (REPOSITORY / lock).read_text()
    assert re.findall(r"\w+://\S+|^\s*-\S*index\S*", text, re.MULTILINE) == []
    entries = re.findall(
        r"^\S.*(?:\n[ \t]+.*)*", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE), re.MULTILINE
    )
    assert len(entries) == len(pins_of(lock)) > 20
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_serving_lock_is_a_part_of_the_full_one():
    assert pins_of("requirements-serving.lock").items() <= pins_of("requirements.lock").items()


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("requirements.lock", ("client", "serving", "feast", "training", "pipelines")),
        ("requirements-serving.lock", ("serving",)),
    ],
)
def test_everything_that_pyproject_asks_for_is_locked(lock, extras):
    pins = pins_of(lock)
    for asked in requirements_of(*extras):
        version = pins.get(canonicalize_name(asked.name))
        assert version is not None, f"{asked} is not in {lock}: make lock"
        assert asked.specifier.contains(version, prereleases=True), f"{asked}, locked is {version}"


def test_what_builds_and_tests_is_locked_too():
    stated = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    texts = stated["dependency-groups"]["dev"] + stated["build-system"]["requires"]
    missing = {canonicalize_name(Requirement(text).name) for text in texts}
    assert missing - pins_of("requirements.lock").keys() == set()


def test_no_tracked_file_names_a_machine_or_a_package_index():
    found = []
    for name in tracked_files():
        text = (REPOSITORY / name).read_bytes().decode(errors="ignore")
        hits = [*MACHINE_PATH.finditer(text), *PACKAGE_INDEX.finditer(text)]
        found += [f"{name}: {text[hit.start() : hit.end() + 30]!r}" for hit in hits]
    assert found == []


def test_the_top_level_holds_what_was_agreed():
    assert {name.split("/")[0] for name in tracked_files()} - TOP_LEVEL == set()


def test_nobody_else_installs_a_package_of_our_names():
    providers = packages_distributions()
    for name in PACKAGES:
        assert set(providers.get(name, [])) <= {"opportune"}, name


def test_the_wheel_holds_the_five_packages_and_the_command(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=REPOSITORY, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("opportune-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
        commands = archive.read(entry_points).decode()
    folders = {name.split("/")[0] for name in names}
    assert {name for name in folders if not name.endswith(".dist-info")} == set(PACKAGES)
    assert len(folders) == len(PACKAGES) + 1
    assert {name for name in names if name.endswith(".py")} == {named(path) for path in MODULES}
    templates = {named(path) for path in (REPOSITORY / "serving").rglob("templates/*")}
    assert "serving/http/templates/page.css" in templates
    assert templates <= set(names)
    assert {f"serving/dashboards/{name}" for name in ("opportune.json", "alerts.yml")} <= set(names)
    assert commands.split() == ["[console_scripts]", "opportune", "=", "pipelines.cli:main"]
