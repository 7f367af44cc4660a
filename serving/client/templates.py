"""What a template is given: the flat names of `/v1/render`, and the sender's own items in order.

    personalize_with(environment, client)  # Jinja2

    {% set p = personalize(recipient_key, send_id="spring-24", items=items) %}
    {% for item in p.ranked[:3] %} {{ item.title }} {% endfor %}

A plain dict, so that Liquid, Handlebars or `str.format` take it too. It is there whatever is down.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from serving.client.answer import Answer
from serving.client.asynchronous import AsyncClient
from serving.client.blocking import Client
from serving.client.local import item_id
from serving.flat import flat

if TYPE_CHECKING:
    from jinja2 import Environment

NAME: Final = "personalize"
_SENT: Final = ("content_id", "topics", "text")
Item = str | int | Mapping[str, Any]


def personal(answer: Answer, items: Iterable[Item] | None = ()) -> dict[str, Any]:
    """One answer for a template: flat, with the sender's own items under `ranked`.

    Args:
        items: What was asked about: ids, or mappings with `content_id` and anything else that the
            template shows. One whose id cannot be read is left out.
    """
    by_id = {item_id(item): item for item in items or ()}
    ranked = [by_id[row.content_id] for row in answer.content.ranking if row.content_id in by_id]
    return flat(answer.as_dict()) | {"ranked": ranked}


def candidates_of(items: Iterable[Item] | None) -> list[Item]:
    """Items as they are asked about: only what the service reads of them."""
    return [
        {name: item[name] for name in _SENT if name in item} if isinstance(item, Mapping) else item
        for item in items or ()
    ]


def personalize_with(environment: "Environment", client: Client | AsyncClient) -> None:
    """Give the templates of a Jinja2 environment the function `personalize`.

    It takes a recipient key, `items`, and what `Client.score` takes, and gives what `personal`
    does. With an `AsyncClient` the environment needs `enable_async=True`.
    """
    if isinstance(client, Client):

        def personalize(
            recipient_key: str, *, items: Iterable[Item] | None = (), **asked: Any
        ) -> dict[str, Any]:
            shown = list(items or ())
            answer = client.score(recipient_key, candidates=candidates_of(shown), **asked)
            return personal(answer, shown)

        environment.globals[NAME] = personalize
        return

    if not environment.is_async:
        raise ValueError("an AsyncClient needs an Environment with enable_async=True")

    async def personalize_async(
        recipient_key: str, *, items: Iterable[Item] | None = (), **asked: Any
    ) -> dict[str, Any]:
        shown = list(items or ())
        answer = await client.score(recipient_key, candidates=candidates_of(shown), **asked)
        return personal(answer, shown)

    environment.globals[NAME] = personalize_async
