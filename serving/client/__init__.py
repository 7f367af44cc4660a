"""The service as a caller has it: ask for a score, get an answer, whatever is down.

    client = Client("http://127.0.0.1:8080", key=key)
    answer = client.score("r_9f2", send_id="spring-24", candidates=["boots", "hats"])
    answer.send_time.best_at, answer.content.variant, answer.fallback.reason

A score never raises: without a complete answer in time there is one of our own, with a reason that
begins with `client_`. Events raise, because only their sender can keep them.

* `blocking`, `asynchronous`   the client in its two forms
* `calls`, `answer`            what is asked and what is answered, typed
* `link`                       one HTTP call, done or not within its time
* `local`                      the answer where there is none
"""

from serving.client.answer import Answer, EventsStored
from serving.client.asynchronous import AsyncClient
from serving.client.blocking import Client
from serving.client.calls import Asked, AskedOf, Throttle
from serving.client.local import ClientReason

__all__ = [
    "Answer",
    "Asked",
    "AskedOf",
    "AsyncClient",
    "Client",
    "ClientReason",
    "EventsStored",
    "Throttle",
]
