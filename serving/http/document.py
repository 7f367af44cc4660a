"""What the OpenAPI document says beyond what FastAPI finds by itself."""

from typing import Any

from fastapi import FastAPI

from serving.http.access import Access, describe_access
from serving.http.request_schemas import BatchRequest, ScoreRequest
from serving.http.schemas import EventsRequest


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
                    answer["content"] = {"application/problem+json": {"schema": schema}}
