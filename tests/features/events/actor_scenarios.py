"""Opens and clicks of which we know who made them: writes tests/data/actors/*.ndjson.

Agents are those that providers document or users report; times are made up after the same
reports. Cases that the rules get wrong are in it on purpose: they are the price, and it is shown.

Run: python tests/features/events/actor_scenarios.py
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "data" / "actors"
BEGIN = 1_760_000_000  # seconds since 1970, 2025-10-09
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1"
)
IPAD = (
    "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/16.6 Mobile/15E148 Safari/604.1"
)
PIXEL = f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/121.0.0.0 Mobile Safari/537.36"
CUBOT = f"Mozilla/5.0 (Linux; Android 13; CUBOT X19) {WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36"
INSTAGRAM = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 16_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Mobile/15E148 Instagram 307.0.0.34.111"
)
CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/120.0.0.0 Safari/537.36"
MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.4 Safari/605.1.15"
)
FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:122.0) Gecko/20100101 Firefox/122.0"
THUNDERBIRD = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:115.0) Gecko/20100101 Thunderbird/115.6.0"
)
OUTLOOK = (
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; .NET4.0C; "
    ".NET4.0E; Microsoft Outlook 16.0.4266; ms-office; MSOffice 16)"
)
PEOPLE = (IPHONE, IPAD, PIXEL, CUBOT, INSTAGRAM, CHROME, MAC, FIREFOX, THUNDERBIRD, OUTLOOK)
APPLE = "Mozilla/5.0"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
GMAIL_AHEAD = (
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/42.0.2311.135 Safari/537.36 "
    "Edge/12.246 Mozilla/5.0"
)
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
NAMED_SCANNERS = (
    "Barracuda Sentinel (EE)", "Mozilla/5.0 (compatible; proofpoint)", "Mimecast-URL-Protect/1.0",
    "CiscoSecureEmail", f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/120.0.0.0",
    "python-requests/2.31.0", "Go-http-client/1.1", "curl/8.1.2",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
)  # fmt: skip


class Scenario:
    """One recipient's mails and what is done with them, each with who really did it."""

    def __init__(self, name: str, number: int = 0) -> None:
        self.name, self.number = name, number
        self.begin = BEGIN + number * 86_400
        self.lines: list[dict[str, Any]] = []

    def delivered(self, mail: int = 0, at: float = 0.0, **properties: Any) -> None:
        """A mail arrives, some seconds after the begin."""
        self._add("delivered", mail, at, "machine", properties=properties)

    def did(self, kind: str, true: str, mail: int = 0, *, at: float, **more: Any) -> None:
        """Somebody (`true`) did something, some seconds after the begin."""
        self._add(kind, mail, at, true, **more)

    def clicks(self, true: str, times: list[float], **more: Any) -> None:
        """Clicks on one link after another."""
        for place, at in enumerate(times):
            self.did("clicked", true, at=at, url=f"https://shop.example/{place}", **more)

    def _add(self, kind: str, mail: int, at: float, true: str, **more: Any) -> None:
        who = f"{self.name}-{self.number}"
        event = {
            "event_id": f"{who}-{len(self.lines)}", "type": kind, "recipient_key": who,
            "occurred_at": self.begin + at, "message_key": f"{who}-m{mail}", "send_id": f"s{mail}",
            **more,
        }  # fmt: skip
        self.lines.append({"scenario": self.name, "true": true, "event": event})


def people() -> Iterator[Scenario]:
    """What people do."""
    for number, agent in enumerate(PEOPLE):
        s = Scenario("reads_and_clicks", number)
        s.delivered()
        s.did("opened", "human", at=40 + 97 * number, device=agent, actor="human")
        s.clicks("human", [200 + 131 * number, 300 + 131 * number], device=agent)
        yield s
    for number, after in enumerate((12, 15, 31, 95, 179)):
        s = Scenario("clicks_fast", number)
        s.delivered()
        s.clicks("human", [after], device=PEOPLE[number])
        yield s
    s = Scenario("waits_for_the_mail_and_clicks_at_8_s")
    s.delivered()
    s.did("opened", "human", at=4, device=IPHONE, actor="human")
    s.clicks("human", [8], device=IPHONE)
    yield s
    for number, gap in enumerate((0.2, 1.0, 3.0)):
        s = Scenario("double_click", number)
        s.delivered()
        for at in (600, 600 + gap):
            s.did("clicked", "human", at=at, url="https://shop.example/0", device=CHROME)
        yield s
    for number, step in enumerate((3.0, 8.0, 20.0)):
        s = Scenario("opens_three_links_in_tabs", number)
        s.delivered(links=12)
        s.clicks("human", [900, 900 + step, 900 + 2 * step], device=MAC)
        yield s
    s = Scenario("follows_both_links_of_a_short_mail")
    s.delivered(links=2)
    s.clicks("human", [700, 740], device=CHROME)
    yield s
    s = Scenario("previews_three_mails_in_one_second")
    for mail in range(3):
        s.delivered(mail)
        s.did("opened", "human", mail, at=5_000, device=THUNDERBIRD, actor="human")
    yield s
    s = Scenario("vouched_for_by_the_sender")
    s.delivered()
    s.clicks("human", [5, 6, 7], device=CHROME, actor="human", actor_reasons=["confirmed"])
    yield s
    s = Scenario("unsubscribes_at_once")
    s.delivered()
    s.did("unsubscribed", "human", at=6)
    yield s


def proxies() -> Iterator[Scenario]:
    """What fetches images in front of people."""
    for number, after in enumerate((20, 300, 2_160, 9_000, 30_000)):
        s = Scenario("apple_prefetches", number)
        s.delivered()
        s.did("opened", "machine", at=after, device=APPLE, actor="human")
        s.clicks("human", [after + 4_000], device=IPHONE)
        yield s
    for name, agent in (("apple", APPLE), ("gmail", GMAIL), ("yahoo", YAHOO)):
        for number, after in enumerate((60, 900, 20_000)):
            s = Scenario(f"reads_through_{name}", number)
            s.delivered()
            s.did("opened", "human", at=after, device=agent, actor="human")
            yield s
    for number, after in enumerate((1, 2, 8)):
        s = Scenario("gmail_prefetches", number)
        s.delivered()
        s.did("opened", "machine", at=after, device=GMAIL_AHEAD, actor="human")
        yield s
    s = Scenario("flagged_by_sendgrid")
    s.delivered()
    s.did("opened", "machine", at=50, device=APPLE, actor="unknown",
          actor_reasons=["sg_machine_open"])  # fmt: skip
    yield s
    for number in range(2):
        s = Scenario("fetches_a_whole_mailbox", number)
        for mail in range(5):
            s.delivered(mail, at=60 * mail)
            s.did("opened", "machine", mail, at=4_000 + number * mail / 10, actor="unknown")
        yield s


def scanners() -> Iterator[Scenario]:
    """What follows links in front of people."""
    for number, agent in enumerate(NAMED_SCANNERS):
        s = Scenario("says_its_name", number)
        s.delivered()
        s.did("opened", "machine", at=400, device=agent, actor="human")
        s.clicks("machine", [401, 460], device=agent)
        yield s
    for number, after in enumerate((-12, -2, 0, 3, 9)):
        s = Scenario("browser_at_the_gateway", number)
        s.delivered()
        s.did("opened", "machine", at=after - 1, device=OUTLOOK, actor="human")
        s.clicks("machine", [after], device=CHROME)
        yield s
    for number, begin in enumerate((2, 30, 600, 40_000)):
        s = Scenario("follows_every_link_at_once", number)
        s.delivered(links=8)
        s.clicks("machine", [begin + 0.4 * place for place in range(8)], device=CHROME)
        yield s
    for links in (5, 0):
        s = Scenario("follows_every_link_slowly", links)
        s.delivered(**({"links": links} if links else {}))
        s.clicks("machine", [240 + 12 * place for place in range(5)], device=CHROME)
        yield s
    for number, after in enumerate((11, 25, 60, 150)):
        s = Scenario("follows_one_link_a_little_later", number)
        s.delivered()
        s.clicks("machine", [after], device=CHROME)
        yield s
    s = Scenario("follows_one_link_much_later")
    s.delivered()
    s.clicks("machine", [3_600], device=CHROME)
    yield s
    for number, gap in enumerate((2, 12)):
        s = Scenario("checks_what_a_person_clicked", number)
        s.delivered()
        s.did("clicked", "human", at=1_200, url="https://shop.example/0", device=MAC)
        s.did("clicked", "machine", at=1_200 + gap, url="https://shop.example/0", device=CHROME)
        yield s
    s = Scenario("falls_for_the_hidden_link")
    s.delivered()
    s.clicks("machine", [400, 430], device=CHROME)
    s.did("clicked", "machine", at=460, url="https://shop.example/?opportune-honeypot=1",
          device=CHROME)  # fmt: skip
    yield s
    s = Scenario("flagged_by_mailgun")
    s.delivered()
    s.clicks("machine", [400], device=CHROME, actor="machine",
             actor_reasons=["mailgun_bot_generic"])  # fmt: skip
    yield s
    s = Scenario("nobody_tells_of_the_delivery")
    s.clicks("machine", [3, 4], device=CHROME)
    yield s
    for number in range(2):
        s = Scenario("scanner_unsubscribes", number)
        s.delivered()
        s.clicks("machine", [2, 3, 4], device=CHROME)
        s.did("unsubscribed" if number else "complained", "machine", at=5,
              device="Barracuda Sentinel (EE)")  # fmt: skip
        yield s


FILES = {"people": people, "proxies": proxies, "scanners": scanners}


def text_of(name: str) -> str:
    """The content of one file."""
    lines = (line for scenario in FILES[name]() for line in scenario.lines)
    return "".join(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    for each in FILES:
        (FOLDER / f"{each}.ndjson").write_text(text_of(each))
