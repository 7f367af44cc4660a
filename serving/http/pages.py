"""Pages for a person in a browser: one recipient at a look, without a script and without a build.

Everything is written here, on the server: HTML with its one style sheet inside and pictures as
inline SVG. The policy of contents allows just that style sheet, by its hash, and nothing else.
"""

import base64
import hashlib
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from features.events.schema import MAX_KEY_CHARS
from serving.http import page_words
from serving.http.access import PAGES
from serving.http.key_paths import KEY
from serving.http.page_format import FILTERS
from serving.http.page_view import BEST, DEFAULT, view_of
from serving.http.parts import Parts
from serving.http.problems import ProblemError
from serving.http.request_id import REQUEST_ID

TEMPLATES: Final = Path(__file__).parent / "templates"
_DOTS: Final = frozenset({".", ".."})  # in a path they would not be a key
_HEADINGS: Final = {
    HTTPStatus.BAD_REQUEST: "That is no recipient key",
    HTTPStatus.UNAUTHORIZED: "An API key is needed",
    HTTPStatus.FORBIDDEN: "This key may not look",
    HTTPStatus.NOT_FOUND: "Nobody is known by this key",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many looks",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not now",
}
_WORDS: Final = {
    "BINDING": page_words.BINDING,
    "HOLD": page_words.HOLD,
    "FALLBACK": page_words.FALLBACK,
    "REASON": page_words.REASON,
    "ZONE": page_words.ZONE,
}


class Pages:
    """The templates, ready to be filled."""

    @cached_property
    def _style(self) -> str:
        return (TEMPLATES / "page.css").read_text(encoding="utf-8")

    @cached_property
    def _environment(self) -> Environment:
        made = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.filters |= FILTERS
        made.globals |= {**_WORDS, "style": Markup(self._style), "MAX_KEY_CHARS": MAX_KEY_CHARS}  # noqa: S704
        made.globals |= {"BEST": BEST, "DEFAULT": DEFAULT}
        return made

    @cached_property
    def _policy(self) -> str:
        """Of contents: the style sheet as it stands in the page, pictures of our own, no more."""
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        return (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self' data:; "
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        )

    def page(
        self, template: str, *, status: HTTPStatus = HTTPStatus.OK, **told: Any
    ) -> HTMLResponse:
        """A page of a template."""
        text = self._environment.get_template(template).render(told)
        headers = {"content-security-policy": self._policy}
        return HTMLResponse(text, status_code=status.value, headers=headers)

    def recipient(self, parts: Parts, key: str) -> HTMLResponse:
        """The page of one recipient.

        Raises:
            ProblemError: As `view_of`.
        """
        return self.page("recipient.html", view=view_of(parts, key))

    def problem(self, error: ProblemError) -> HTMLResponse:
        """The page for a problem: what was wrong, never what was sent."""
        heading = _HEADINGS.get(error.status, error.status.phrase)
        answer = self.page(
            "notice.html", status=error.status, heading=heading, detail=error.detail,
            request_id=REQUEST_ID.get(),
        )  # fmt: skip
        answer.headers.update(error.headers)
        return answer


def pages_router(parts: Parts, pages: Pages, guarded: type[APIRoute]) -> APIRouter:
    """The pages over one set of parts."""
    router = APIRouter(route_class=guarded, include_in_schema=False)

    @router.get("/inspect")
    async def form(recipient_key: str = "") -> Response:
        """Asks for a key, and leads to its page."""
        key = recipient_key.strip()
        if not key:
            return pages.page("form.html")
        if "@" in key or len(key) > MAX_KEY_CHARS:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "it looks like an address, or is too long; ask by the opaque key that events have",
            )
        if key in _DOTS:
            return await parts.looks.run(pages.recipient, parts, key)
        return RedirectResponse(f"/inspect/{quote(key, safe='')}", HTTPStatus.SEE_OTHER)

    @router.get(f"/inspect/{KEY}")
    async def recipient(recipient_key: str) -> Response:
        """One recipient at a look."""
        return await parts.looks.run(pages.recipient, parts, recipient_key)

    return router


def is_page(request: Request) -> bool:
    """Whether a request is for a page, so that its problems are pages too."""
    route = request.scope.get("route")
    return f"{request.method} {getattr(route, 'path_format', '')}" in PAGES
