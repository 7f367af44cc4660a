"""A monitoring as one page that needs nothing else: no script, no net, pictures inside."""

from base64 import b64encode
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from features.errors import FileUnusableError
from features.events.schema import SECOND_US
from pipelines.json_files import put_json
from pipelines.monitor_view import in_order, value_of
from pipelines.monitored import Monitored
from training import plots
from training.monitoring.drift import MATTERS
from training.recipe import shown_day

PAGE, PLAIN, TEMPLATE = "monitor.html", "monitor.json", "monitor.html.j2"


def made(folder: Path) -> Path:
    """The folder of a page, made where it is not there.

    Raises:
        FileUnusableError: It cannot be, because a file has its name say.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"is no folder and cannot be made one: {error.strerror or error}"
        raise FileUnusableError(str(folder), problem, "name another one by --out") from error
    return folder


def write_page(told: Monitored, folder: Path) -> None:
    """Write `monitor.html` and `monitor.json` into a folder that is there."""
    page = page_of(told)
    put_json(folder / PLAIN, told.to_json())
    scratch = folder / f".{PAGE}.tmp"
    scratch.write_text(page)
    scratch.replace(folder / PAGE)


def page_of(told: Monitored) -> str:
    """The page as HTML."""
    loader = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    windows = told.windows
    return pages.get_template(TEMPLATE).render(
        told=told,
        as_of=shown_day(windows.as_of),
        begin=shown_day(windows.newest),
        iso=datetime.fromtimestamp(windows.as_of / SECOND_US, UTC).isoformat(),
        signals=in_order(told),
        value_of=value_of,
        pictures=pictures_of(told),
    )


def pictures_of(told: Monitored) -> dict[str, str]:
    """Every course with two numbers or more, and the drift of every model, as `data:` addresses."""
    found = {}
    for each in told.watched:
        if each.drifts:
            sizes = {one.column: one.psi for one in each.drifts}
            title = f"{each.model} {each.version}: drift"
            found[title] = _inline(plots.indices(sizes, matters=MATTERS, title=title))
    for name, values in told.courses.items():
        if sum(isfinite(value) for value in values) >= 2:
            found[name] = _inline(plots.course(values, title=name))
    return found


def _inline(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"
