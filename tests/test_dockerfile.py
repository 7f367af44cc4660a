"""The Dockerfile without a container engine: its steps, replayed in clean virtual environments.

COPY and RUN lines are carried out as they stand, with absolute paths moved below a temporary
directory, one per stage. Left out are only the lines that need root (`NEEDS_ROOT`). Of the
`pipelines` target the packages of the full lock are fetched and their hashes checked but not
installed (`--dry-run`): the packages of the running environment, made from the same lock,
stand in for them.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
NEEDS_ROOT = ("useradd ", "apt-get ")
NOT_FOR_SERVING = {
    "scikit-learn", "lightgbm", "mlflow", "mlflow-skinny", "feast", "pandas", "polars", "numba",
    "scipy", "pyarrow", "skl2onnx", "onnxmltools", "onnx", "duckdb", "typer", "pytest", "hatchling",
}  # fmt: skip


@dataclass
class Stage:
    """One stage: what it begins from, and its instructions as (word, rest)."""

    parent: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for each, rest in self.steps if each == word]


@cache
def stages() -> dict[str, Stage]:
    text = re.sub(r"^\s*#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    name = ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            found[name] = Stage(parent)
        elif word:
            found[name].steps.append((word, rest.strip()))
    return found


def lineage(target: str) -> list[Stage]:
    """The stages that a target inherits from, and itself, oldest first."""
    stage = stages().get(target)
    return [*lineage(stage.parent), stage] if stage else []


@dataclass
class Replay:
    """The stages carried out so far, each in a directory of its own below `root`."""

    root: Path
    is_dry: bool = False
    done: set[str] = field(default_factory=set)

    def directory(self, target: str) -> Path:
        return self.root / target

    def moved(self, target: str, text: str) -> str:
        """The text with absolute paths of the image below the stage's directory."""
        return re.sub(r"(?<![^\s=:])/(?=[a-z])", f"{self.directory(target)}/", text)

    def environment(self, target: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        }
        kept["PATH"] = f"{self.python.parent}{os.pathsep}{kept['PATH']}"
        for stage in lineage(target):
            for rest in stage.all("ENV"):
                for name, value in (pair.split("=", 1) for pair in rest.split()):
                    kept[name] = self.moved(target, value).replace("$PATH", kept["PATH"])
        return kept

    @property
    def python(self) -> Path:
        """The interpreter of the image, clean: it has pip and nothing else."""
        python = self.root / "image" / "bin" / "python"
        if not python.exists():
            run([sys.executable, "-m", "venv", str(python.parents[1])])
        return python

    def replay(self, target: str) -> None:
        """Carry out a stage, after those that it begins or copies from."""
        if target in self.done or target not in stages():
            return
        self.done.add(target)
        stage = stages()[target]
        self.replay(stage.parent)
        directory = work = self.directory(target)
        directory.mkdir()
        for word, rest in stage.steps:
            if word == "WORKDIR":
                work = Path(self.moved(target, rest))
                work.mkdir(parents=True)
            elif word == "COPY":
                self.copy(target, work, rest)
            elif word == "RUN" and not rest.startswith(NEEDS_ROOT):
                command = self.moved(target, rest)
                if self.is_dry:
                    command = command.replace("pip install ", "pip install --dry-run ")
                run(["sh", "-euc", command], cwd=work, env=self.environment(target))

    def copy(self, target: str, work: Path, rest: str) -> None:
        option, names, destination = parts_of_copy(rest)
        origin = REPOSITORY
        if option:
            self.replay(option)
            origin = self.directory(option)
        to = work / self.moved(target, destination)
        into = to if destination.endswith("/") else to.parent
        into.mkdir(parents=True, exist_ok=True)
        for path in (origin / name.lstrip("/") for name in names):
            if not path.is_dir():
                shutil.copy(path, to)
            elif option:  # a virtual environment knows its own place: link it, do not move it
                to.symlink_to(path)
            else:
                shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__"))


def parts_of_copy(rest: str) -> tuple[str, list[str], str]:
    """The stage copied from or "", what is copied, and where to."""
    words = rest.split()
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
    return stage, words[:-1], words[-1]


def run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
    return result.stdout


def in_image(replay: Replay, target: str, *command: str) -> str:
    """Run a command as the image would, in an empty directory outside the repository."""
    outside = replay.root / "outside"
    outside.mkdir(exist_ok=True)
    return run(list(command), cwd=outside, env=replay.environment(target))


def test_the_serving_image_has_no_training_stack(serving_image):
    listed = in_image(serving_image, "serving", "python", "-m", "pip", "list", "--format=freeze")
    names = {line.split("==")[0].split(" @ ")[0].lower() for line in listed.splitlines()}
    assert {"opportune", "onnxruntime", "fastapi", "numpy"} <= names
    assert names & NOT_FOR_SERVING == set()


def test_the_serving_image_imports_what_it_serves(serving_image):
    script = "import serving, models, features; print(features.__file__)"
    printed = in_image(serving_image, "serving", "python", "-c", script).strip()
    assert Path(printed).resolve().is_relative_to(serving_image.root.resolve())


def test_the_serving_image_is_compiled(serving_image):
    assert any(
        serving_image.root.glob("serving/opt/opportune/lib/*/site-packages/features/__pycache__")
    )


@pytest.mark.long
def test_the_pipelines_image_has_the_command(tmp_path):
    replay = Replay(tmp_path)
    replay.replay("wheel")
    replay.is_dry = True
    replay.replay("pipelines-packages")
    # The running environment has the packages of the lock; the wheel goes on top of them.
    (here,) = {path for path in sys.path if path.endswith("site-packages")}
    environment = tmp_path / "pipelines-packages" / "opt" / "opportune"
    (packages,) = environment.glob("lib/*/site-packages")
    wheels = [str(path) for path in (tmp_path / "wheel" / "dist").glob("*.whl")]
    run([str(environment / "bin" / "pip"), "install", "--quiet", "--no-deps", *wheels])
    packages.joinpath("stand-in.pth").write_text(here + "\n")
    assert "Usage" in in_image(replay, "pipelines-packages", "opportune", "--help")
    script = "import pipelines, training; print(training.__file__)"
    printed = in_image(replay, "pipelines-packages", "python", "-c", script).strip()
    assert Path(printed).is_relative_to(environment)


def test_both_images_run_as_nobody_in_particular():
    for target in ("serving", "pipelines"):
        (user,) = [rest for stage in lineage(target) for rest in stage.all("USER")]
        assert user not in {"root", "0"}


def test_serving_starts_itself_and_answers_for_its_health():
    (stage,) = (each for name, each in stages().items() if name == "serving")
    assert stage.all("CMD") == ['["python", "-m", "serving"]']
    assert stage.all("EXPOSE") == ["8080"]
    (check,) = stage.all("HEALTHCHECK")
    assert "/healthz" in check
    assert stages()["pipelines"].all("ENTRYPOINT") == ['["opportune"]']


def test_source_is_copied_only_where_the_wheel_is_built():
    for name, stage in stages().items():
        for rest in stage.all("COPY"):
            is_lock = re.match(r"requirements\S*\.lock ", rest) is not None
            assert name == "wheel" or is_lock or rest.startswith("--from="), f"{name}: {rest}"


def test_every_package_is_installed_by_its_hash():
    commands = [
        part
        for stage in stages().values()
        for rest in stage.all("RUN")
        for part in rest.split("&&")
    ]
    installs = [command for command in commands if "pip install" in command]
    assert installs
    for command in installs:
        assert "--require-hashes" in command or command.split()[-1] == "/dist/*.whl", command


def test_the_dockerfile_names_no_host():
    text = (REPOSITORY / "Dockerfile").read_text().replace("http://127.0.0.1:8080", "")
    assert re.findall(r"\w+://|index-url|trusted-host", text) == []
    images = {stage.parent for stage in stages().values()} - stages().keys()
    assert [image for image in images if "/" in image] == []


def test_what_the_dockerfile_copies_is_not_ignored():
    allowed = {
        line[1:]
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line[:1] == "!"
    }
    copies = [parts_of_copy(rest) for stage in stages().values() for rest in stage.all("COPY")]
    assert {name for stage, names, _ in copies if not stage for name in names} == allowed
