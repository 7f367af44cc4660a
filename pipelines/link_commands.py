"""The command render-link: a URL that scores for a template, signed and over soon."""

import time
from typing import Annotated, Final

import typer

from features.events.schema import zone_of
from pipelines.console import errors_shown
from pipelines.settings import Settings
from serving.links import MAX_LINK_S, render_link

HOUR_S: Final = 3_600


def render_link_command(
    recipient_key: Annotated[
        str, typer.Argument(help="The opaque key of the recipient.", metavar="RECIPIENT_KEY")
    ],
    *,
    send_id: Annotated[str, typer.Option(help="The mailing.")] = "",
    items: Annotated[str, typer.Option(help="Candidates: a:topic|topic,b,c")] = "",
    tz: Annotated[str, typer.Option(help="IANA zone of the recipient.")] = "",
    hours: Annotated[
        int, typer.Option(help="How long the link holds.", min=1, max=MAX_LINK_S // HOUR_S)
    ] = 72,
    url: Annotated[str, typer.Option(help="Where the service is.")] = "http://127.0.0.1:8080",
) -> None:
    """Make a signed link to /v1/render, for a template that can send no header.

    It holds for this recipient and these parameters only, until its time is over, and asks for
    the OPPORTUNE_RENDER_SECRET that the service has.
    """
    with errors_shown():
        secret = Settings().render_secret
        if secret is None:
            raise typer.BadParameter("set OPPORTUNE_RENDER_SECRET, here and for the service")
    if tz and zone_of(tz) is None:
        problem = f"{tz!r} is no zone of the IANA list; one is Europe/Berlin, and without any the "
        raise typer.BadParameter(problem + "recipient's own is used", param_hint="--tz")
    asked = {"send_id": send_id, "items": items, "tz": tz}
    query = [(name, value) for name, value in asked.items() if value]
    expires_at = time.time_ns() // 1_000_000_000 + hours * HOUR_S
    value = secret.get_secret_value()
    with errors_shown():
        link = render_link(url, recipient_key, query, secret=value, expires_at=expires_at)
    typer.echo(link)
