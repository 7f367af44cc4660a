"""A mail in each template language, by the running service and without it."""

import asyncio
import re
from pathlib import Path

import httpx2
import liquid
import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError

from serving.client import AsyncClient, Client
from serving.client.local import POLICY, ClientReason, local_answer
from serving.client.templates import candidates_of, personal, personalize_with
from serving.flat import flat
from serving.http.render import RenderAnswer
from tests.serving.conftest import starting
from tests.serving.test_client import closed_port

FOLDER = Path(__file__).parents[2] / "examples/templates"
ITEMS = [
    {"content_id": "boots", "topics": ["winter"], "title": "Boots & laces", "price": object()},
    {"content_id": "hats", "title": "Hats"},
    {"content_id": "belts", "title": "Belts"},
]
RECIPIENT = {"key": "r_9f2", "name": "<Ann>", "zone": "Europe/Berlin"}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with starting() as start:
        yield start(tmp_path_factory.mktemp("templates")).url


def jinja(**more):
    loader = FileSystemLoader(FOLDER)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, **more)


def mail(client):
    environment = jinja()
    personalize_with(environment, client)
    return environment.get_template("mail.html.j2").render(recipient=RECIPIENT, items=ITEMS)


def is_whole(html):
    assert "Hello &lt;Ann&gt;" in html
    for item in ("Boots &amp; laces", "Hats", "Belts"):
        assert html.count(item) == 1
    return re.search(r"<!-- ([0-9a-f]{32}) (\w+) -->", html).groups()


def test_a_mail_in_jinja_is_rendered_with_the_service_and_without(url):
    with Client(url, timeout_s=30) as client:
        first, again = is_whole(mail(client)), is_whole(mail(client))
        asked = {"send_id": "spring-24", "timezone": "Europe/Berlin"}
        answer = client.score("r_9f2", candidates=candidates_of(ITEMS), **asked)
    assert first == again == (answer.decision_id, "no_model")
    with closed_port() as (_, nobody), Client(nobody) as client:
        html = mail(client)
    assert is_whole(html)[1] == "client_unreachable"
    assert html.index("Boots") < html.index("Hats") < html.index("Belts"), "in the sender's order"


async def rendered(url):
    environment = jinja(enable_async=True)
    async with AsyncClient(url, timeout_s=30) as client:
        personalize_with(environment, client)
        template = environment.get_template("mail.html.j2")
        return await template.render_async(recipient=RECIPIENT, items=ITEMS)


def test_the_same_template_is_rendered_asynchronously(url):
    assert is_whole(asyncio.run(rendered(url)))[1] == "no_model"


def test_an_asynchronous_client_in_a_template_that_cannot_wait_is_refused():
    with pytest.raises(ValueError, match="enable_async=True"):
        personalize_with(jinja(), AsyncClient("http://127.0.0.1:1"))


def test_the_items_of_the_sender_come_in_the_order_to_show_with_all_they_hold():
    answer = local_answer("r", {"candidates": ["belts", "boots"]}, why=ClientReason.TIMEOUT, now=0)
    told = personal(answer, ITEMS)
    assert told["ranked"] == [ITEMS[2], ITEMS[0]]
    assert told["ranked"][1]["price"] is ITEMS[0]["price"]
    assert (told["variant"], told["item_2"], told["item_3"]) == ("belts", "boots", "")
    assert personal(answer)["ranked"] == []
    assert personal(answer, ["boots", "belts"])["ranked"] == ["belts", "boots"]
    assert candidates_of([*ITEMS[:1], "x"]) == [
        {"content_id": "boots", "topics": ["winter"]}, "x"
    ]  # fmt: skip
    assert told["policy"] == POLICY
    assert told.keys() - {"ranked"} == RenderAnswer.model_fields.keys() - {"ignored"}
    assert flat(answer.as_dict()) == {k: v for k, v in told.items() if k != "ranked"}


@pytest.mark.parametrize(
    "items", [None, (), [{"title": "no id"}, *ITEMS], [None, *ITEMS], [b"x", "boots"]]
)
def test_items_that_cannot_be_read_cost_no_mail(url, items):
    environment = jinja()
    template = environment.from_string("{{ personalize('r', items=items).ranked|length }}")
    n_read = sum(item in ("boots", *ITEMS) for item in items or ())
    for place in (url, "http://127.0.0.1:1"):
        with Client(place, timeout_s=30) as client:
            personalize_with(environment, client)
            assert template.render(items=items) == str(n_read)


def test_ids_that_are_numbers_and_items_that_come_one_by_one_are_shown(url):
    environment = jinja()
    text = "{% for item in personalize('r', items=items).ranked %}{{ item.title }}{% endfor %}"
    template = environment.from_string(text)
    items = [{"content_id": 7, "title": "a"}, {"content_id": "8", "title": "b"}]
    with Client(url, timeout_s=30) as client:
        personalize_with(environment, client)
        assert sorted(template.render(items=iter(items))) == ["a", "b"]


def test_a_mistake_in_a_name_is_seen_and_not_rendered(url):
    environment = jinja()
    with Client(url, timeout_s=30) as client:
        personalize_with(environment, client)
        with pytest.raises(UndefinedError, match="varaint"):
            environment.from_string("{{ personalize('r').varaint }}").render()


def fetched(url):
    answer = httpx2.get(
        f"{url}/v1/render/r_9f2", params={"send_id": "spring-24", "items": "hats,boots"}, timeout=30
    )
    assert answer.status_code == 200
    return answer.json()


def test_a_mail_in_liquid_is_rendered_with_what_is_fetched_and_with_nothing(url):
    template = liquid.Environment().from_string((FOLDER / "mail.liquid").read_text())
    told = fetched(url)
    html = template.render(recipient=RECIPIENT, p=told)
    assert "Hello &lt;Ann&gt;" in html
    assert {"boots": "Boots for the rain", "hats": "Hats for the sun"}[told["variant"]] in html
    assert told["decision_id"] in html
    without = template.render(recipient=RECIPIENT, p={})
    assert "Boots for the rain" in without
    assert "not fetched" in without


def test_a_mail_of_plain_names_needs_nothing_but_them(url):
    """Handlebars itself is not here; its plain names are Jinja2's too."""
    text = (FOLDER / "mail.hbs").read_text()
    told = fetched(url)
    assert set(re.findall(r"\{\{(.*?)\}\}", text)) <= told.keys()
    html = Environment(autoescape=True, undefined=StrictUndefined).from_string(text).render(told)
    assert f">{told['variant']}</a>" in html
    with closed_port() as (_, nobody), Client(nobody) as client:
        alone = personal(client.score("r_9f2", candidates=["hats", "boots"]))
    assert "Then: boots" in Environment(autoescape=True).from_string(text).render(alone)
