"""What the OpenAPI document says beyond what FastAPI finds by itself."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from serving.http.access import Access, describe_access
from serving.http.bodies import JSON
from serving.http.examples import Examples
from serving.http.limits import NDJSON
from serving.http.problems import TYPE
from serving.http.request_schemas import BatchRequest, ScoreRequest
from serving.http.schemas import EventsRequest

_PLAIN: Final = {"/v1/score:batch": NDJSON, "/metrics": "text/plain"}


def describe(app: FastAPI, access: Access) -> None:
    """The bodies are read by ourselves, so the document is told of them."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for model in (ScoreRequest, BatchRequest, EventsRequest):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= schema.pop("$defs", {})
                schemas[model.__name__] = schema
            _name_problems(document)
            describe_access(document, access)
            _name_plain(document)
            _show_examples(document, Examples())
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _name_problems(document: dict[str, Any]) -> None:
    """Problems are told of as what they are sent as; FastAPI takes every model for plain JSON."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for answer in operation["responses"].values():
                content = answer.get("content", {})
                schema = content.get("application/json", {}).get("schema", {})
                if schema.get("$ref") == "#/components/schemas/Problem":
                    answer["content"] = {TYPE: {"schema": schema}}


def _name_plain(document: dict[str, Any]) -> None:
    """Answers that are no JSON."""
    for path, kind in _PLAIN.items():
        (operation,) = document["paths"][path].values()
        operation["responses"]["200"].setdefault("content", {})[kind] = {
            "schema": {"type": "string"}
        }


def _show_examples(document: dict[str, Any], examples: Examples) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            asked = operation.get("requestBody", {}).get("content", {})
            if JSON in asked and name in examples.asked:
                asked[JSON]["example"] = examples.asked[name]
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    shown = examples.of(name, HTTPStatus(int(status)), kind)
                    if shown is not None:
                        content["example"] = shown
