"""The command around challengers that score beside the champion and answer nobody."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import typer
from rich.table import Table

from models.errors import ModelError
from models.registry import ModelFolder
from pipelines.console import OUT, errors_shown
from pipelines.model_commands import NAMES, registry_of
from pipelines.settings import Settings
from serving.settings import ServingSettings

ANSWERS_WITHIN_S = 10
FIGURES = (
    "n", "mean", "most", "low", "middle", "high", "rank_correlation", "otherwise", "latency_ratio",
)  # fmt: skip


def shadow_command(
    name: Annotated[str, typer.Argument(help=f"Which model: {', '.join(NAMES)}.")] = "",
    version: Annotated[
        str, typer.Argument(help="A version number or an alias such as candidate.")
    ] = "candidate",
    *,
    stop: Annotated[bool, typer.Option("--stop", help="Let none score beside it.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Show how far challengers are from champions.")
    ] = False,
    url: Annotated[
        str, typer.Option(help="The service to ask. [default: the one of the settings]")
    ] = "",
    key: Annotated[str, typer.Option(help="An API key with the scope inspect.")] = "",
) -> None:
    """Let a registered version score beside the champion, for a share of recipients, unseen.

    It is verified and loaded as a champion would be, scores after the answer was given and never
    changes one; `--report` shows what one process of the service has found so far.
    """
    with errors_shown():
        if report:
            OUT.print(_table(_models_of(url, key)))
            return
        if name not in NAMES:
            raise ModelError(f"{name or 'no model'} given; there are {', '.join(NAMES)}")
        settings = Settings()
        folder = ModelFolder(settings.models_dir)
        if stop:
            folder.end_shadow(name)
            OUT.print(f"{name} has no shadow", highlight=False)
            return
        number = _fetched(name, version, settings, folder)
        folder.begin_shadow(name, number)
    OUT.print(f"{name} {number} scores beside the champion; opportune shadow --report")


def _fetched(name: str, version: str, settings: Settings, folder: ModelFolder) -> str:
    """The version's number; its bundle is in the folder then."""
    if folder.has(name, version):
        return version
    from pipelines.promote import version_of

    registry = registry_of(settings)
    chosen = version_of(name, version, registry=registry)
    with TemporaryDirectory() as scratch:
        folder.add(name, chosen.version, registry.fetch(chosen, Path(scratch)))
    return chosen.version


def _models_of(url: str, key: str) -> list[dict[str, Any]]:
    settings = ServingSettings()
    place = (url or f"http://{settings.host}:{settings.port}").rstrip("/") + "/v1/models"
    if not place.startswith(("http://", "https://")):
        raise ModelError(f"{place} is no address; it begins with http:// or https://")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        asked = Request(place, headers=headers)  # noqa: S310  checked above
        with urlopen(asked, timeout=ANSWERS_WITHIN_S) as answer:  # noqa: S310  as above
            found: list[dict[str, Any]] = json.load(answer)["models"]
    except (URLError, OSError, ValueError) as error:
        raise ModelError(f"{place}: {error}; start the service, or name it by --url") from error
    return found


def _table(models: list[dict[str, Any]]) -> Table:
    table = Table("", title="Challenger less champion", title_justify="left")
    for model in models:
        table.add_column(model["name"], justify="right")
    table.add_row("champion", *(model["version"] for model in models))
    table.add_row("shadow", *(model["shadow"]["version"] for model in models))
    for figure in FIGURES:
        told = (f"{model['shadow'][figure]:.4g}" for model in models)
        table.add_row(figure.replace("_", " "), *told)
    return table
