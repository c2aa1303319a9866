# SPDX-License-Identifier: Apache-2.0
"""api/openrpc.json as tests use it: the document, and whether a value is what one of its schemas says.
The schemas keep to the words that `violations` knows; another one is an error."""

import json
import pathlib
import re

DOCUMENT = json.loads((pathlib.Path(__file__).resolve().parents[2] / "api/openrpc.json").read_text())
METHODS = {m["name"]: m for m in DOCUMENT["methods"]}
BUILT = {name: m for name, m in METHODS.items() if not m.get("x-not-supported")}
SCHEMAS = DOCUMENT["components"]["schemas"]

TYPES = {
    "null": lambda v: v is None,
    "boolean": lambda v: isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and v == int(v),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def resolve(schema: dict) -> dict:
    while "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].removeprefix("#/components/schemas/")]
    return schema


def _object(schema, value, at):
    known = schema.get("properties", {})
    found = [f"{at}: {key} is missing" for key in schema.get("required", ()) if key not in value]
    for key, member in value.items():
        rest = schema.get("additionalProperties", True)
        if key in known:
            found += violations(known[key], member, f"{at}.{key}")
        elif rest is False:
            found.append(f"{at}: {key} is unknown")
        elif rest is not True:
            found += violations(rest, member, f"{at}.{key}")
    return found


def _alternatives(schema, value, at):
    found = []
    if "anyOf" in schema and all(violations(s, value, at) for s in schema["anyOf"]):
        found.append(f"{at}: {value!r:.200} is none of the alternatives")
    if "oneOf" in schema and sum(not violations(s, value, at) for s in schema["oneOf"]) != 1:
        found.append(f"{at}: {value!r:.200} is not exactly one of the alternatives")
    if "not" in schema and not violations(schema["not"], value, at):
        found.append(f"{at}: {value!r:.200} is what it must not be")
    return found


def violations(schema: dict, value, at: str = "value") -> list[str]:
    schema = resolve(schema)
    unknown = set(schema) - {"type", "properties", "required", "items", "enum", "pattern", "minimum",
                             "maximum", "anyOf", "oneOf", "not", "additionalProperties", "description",
                             "format", "minItems", "maxItems", "contentMediaType"}
    assert not unknown, f"{at}: the schema has words that nobody checks: {unknown}"
    found = _alternatives(schema, value, at)
    if "type" in schema and not TYPES[schema["type"]](value):
        return [*found, f"{at}: {value!r:.200} is not of type {schema['type']}"]
    if "enum" in schema and not any(value is v or value == v for v in schema["enum"]):
        found.append(f"{at}: {value!r:.200} is none of {schema['enum']}")
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            found.append(f"{at}: {value!r:.200} does not match {schema['pattern']}")
        if schema.get("format") == "date-time" and not INSTANT.fullmatch(value):
            found.append(f"{at}: {value!r:.200} is no instant")
    if TYPES["number"](value) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{at}: {value!r} is out of range")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{at}: {len(value)} elements")
        for i, element in enumerate(value):
            found += violations(schema.get("items", {}), element, f"{at}[{i}]")
    if isinstance(value, dict):
        found += _object(schema, value, at)
    return found


def check_answer(method: str, message: dict) -> None:
    """The whole answer to a call: JSON-RPC's frame, and a result or a failure that the document has."""
    assert message["jsonrpc"] == "2.0" and ("error" in message) != ("result" in message), message
    if "result" in message:
        found = violations(METHODS[method]["result"]["schema"], message["result"], method)
        assert not found, f"{found}: {message!r:.400}"
        return
    check_failure(message["error"])


def check_failure(error: dict) -> None:
    told = {e["code"]: e for e in DOCUMENT["components"]["errors"].values()}
    assert error["code"] in told and error["message"] == told[error["code"]]["message"], error
    if error["code"] == -32602:
        assert not violations(SCHEMAS["InvalidParamsData"], error["data"])
        issues = json.loads(error["data"]["message"])
        assert issues and not violations({"type": "array", "items": SCHEMAS["Issue"]}, issues), error
    else:
        assert "data" not in error, error
