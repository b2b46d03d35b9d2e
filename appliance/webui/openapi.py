"""The description of the page's own interface (OpenAPI 3.1), made of what each route says of itself."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Blueprint, Flask, current_app, jsonify
from flask.wrappers import Response
from pydantic import BaseModel
from werkzeug.routing import IntegerConverter, Rule

from appliance import __version__

blueprint = Blueprint("openapi", __name__)

JSON = "application/json"
BYTES = "application/octet-stream"
_PROBLEM = "application/problem+json"
_UNDER = "/api/"
_ID = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_WHY = {
    400: "The request is not understood, or its token is missing or too old.",
    401: "Nobody is signed in, or the session has ended.",
    403: "Not for this role.",
    413: "The body is too long.",
    415: "The body is not JSON.",
}

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Described:
    """What a route says of itself.

    Attributes
    ----------
    answers
        Status to what it means, in words; the others are problems.
    refuses
        Statuses beside those that every route may answer.
    body
        Model of a JSON body, or "bytes" for one that is a file.
    query
        Model of the query.
    ids
        Names of further parameters of the query, each an optional id.
    headers
        Name to what it holds.
    kind
        Media type of what it answers.
    schema
        JSON Schema of the answer, where it is JSON.
    """

    answers: Mapping[int, str]
    refuses: Sequence[int] = ()
    body: type[BaseModel] | str | None = None
    query: type[BaseModel] | None = None
    ids: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = JSON
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})


def describe(answers: Mapping[int, str], **more: Any) -> Callable[[View], View]:
    """Say what a route takes and answers; its docstring says what it does. See `Described`."""

    def mark(view: View) -> View:
        view.described = Described(answers, **more)  # type: ignore[attr-defined]
        return view

    return mark


@blueprint.get("/api/openapi.json")
@describe({200: "this description"})
def description() -> Response:
    """Return this description."""
    return jsonify(document(current_app))


def document(app: Flask) -> dict[str, Any]:
    """Return the description of every route below /api/.

    Raises
    ------
    LookupError
        When one says nothing of itself.
    """
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Problem": _problem()}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if rule.rule.startswith(_UNDER):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                operation = _operation(app, rule, method, schemas)
                paths.setdefault(path, {})[method.lower()] = operation
    cookie = {"type": "apiKey", "in": "cookie", "name": app.config["SESSION_COOKIE_NAME"]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Echocart's review page",
            "version": __version__,
            "description": "For the page itself: it may change with every release.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"session": cookie}},
        "security": [{"session": []}],
    }


def _problem() -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "description": "RFC 9457; `detail` is a sentence for a person.",
        "properties": {"type": text, "title": text, "detail": text, "status": {"type": "integer"}},
        "required": ["type", "title", "status", "detail"],
    }


def _operation(app: Flask, rule: Rule, method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    view = app.view_functions[rule.endpoint]
    said = getattr(view, "described", None)
    if not isinstance(said, Described):
        raise LookupError(f"{rule.endpoint}: say with @describe what it takes and answers")
    operation: dict[str, Any] = {
        "operationId": rule.endpoint,
        "summary": (view.__doc__ or "").strip().splitlines()[0],
        "parameters": [*_in_path(rule), *_in_query(said, rule, schemas), *_in_header(said, method)],
        "responses": _responses(said, method),
    }
    if said.body == "bytes":
        operation["requestBody"] = {"required": True, "content": {BYTES: {}}}
    elif isinstance(said.body, type):
        schema = _schema(said.body, rule.endpoint, schemas)
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return operation


def _in_path(rule: Rule) -> list[dict[str, Any]]:
    converters = rule._converters
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _ID if isinstance(converters[name], IntegerConverter) else {"type": "string"},
        }
        for name in sorted(rule.arguments)
    ]


def _in_query(said: Described, rule: Rule, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    found = [{"name": name, "in": "query", "schema": _ID} for name in said.ids]
    if said.query:
        properties = _schema(said.query, rule.endpoint, schemas)["properties"]
        for name, schema in properties.items():
            # A parameter is there or not; null is a value of the model alone.
            choices = [item for item in schema.pop("anyOf", []) if item != {"type": "null"}]
            schema = {**schema, **choices[0]} if choices else schema
            if schema.get("default", "") is None:
                del schema["default"]
            found.append({"name": name, "in": "query", "schema": schema})
    return found


def _in_header(said: Described, method: str) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found = [
        {"name": name, "in": "header", "description": words, "schema": text}
        for name, words in said.headers.items()
    ]
    if method == "GET":
        return found
    token = "From the page's meta element csrf-token."  # noqa: S105
    return [*found, {"name": "X-CSRFToken", "in": "header", "description": token, "schema": text}]


def _responses(said: Described, method: str) -> dict[str, Any]:
    content = {said.kind: {"schema": said.schema} if said.kind == JSON else {}}
    found: dict[str, Any] = {
        str(status): {
            "description": words,
            **({"content": content} if status != HTTPStatus.NO_CONTENT else {}),
        }
        for status, words in said.answers.items()
    }
    always = [400, 401, 403]
    if method != "GET":
        always.append(413)
    if isinstance(said.body, type):
        always.append(415)
    problem = {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in sorted({*always, *said.refuses}):
        words = _WHY.get(status, HTTPStatus(status).phrase)
        found[str(status)] = {"description": words, "content": problem}
    return found


def _schema(model: type[BaseModel], endpoint: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """A model's JSON Schema; the models in it go among the components."""
    template = f"#/components/schemas/{endpoint}.{{model}}"
    schema = model.model_json_schema(ref_template=template)
    for name, part in schema.pop("$defs", {}).items():
        schemas[f"{endpoint}.{name}"] = part
    return schema
