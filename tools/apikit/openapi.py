"""The API as HTTP has it, as an OpenAPI document: what services/common/server/http_gateway.cc does with the descriptors.

Calls that take a stream are for gRPC alone and left out, but for uploads.
"""
import json
import re
from dataclasses import dataclass

from .descriptors import ENUM_VALUE, MESSAGE_FIELD, ApiError, Field, full_name, is_repeated

MAIN_FILE = "earmark/v1/common.proto"           # its first comment says, after a line about the file, what holds for all of the API
PACKAGE = "earmark.v1."

# What the README starts, and has listen there.
SERVERS = {
    "earmark.v1.Relay": {"url": "http://127.0.0.1:7421", "description": "earmark-sidecar: Relay"},
    "earmark.v1.Detection": {"url": "http://127.0.0.1:7431", "description": "earmark-detectd: Detection"},
}


@dataclass(frozen=True)
class Upload:
    path: str
    required: tuple                             # query parameters


# As services/detectd/main.cc has them: calls whose first message is made from the query, and whose data from the body.
UPLOADS = {"earmark.v1.Detection.SubmitScan": Upload("/v1/scans", ("name",))}

# HTTP statuses of errors: what they are called among the components, gRPC's codes, which services/common/server/status.cc maps to them,
# and what the gateway says with them by itself.
STATUSES = {
    400: ("BadRequest", "INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE. Also a body that is not JSON of the request, or broke off."),
    401: ("Unauthenticated", "UNAUTHENTICATED."),
    403: ("Forbidden", "PERMISSION_DENIED. Also a Host or Origin header that is not a loopback name."),
    404: ("NotFound", "NOT_FOUND. Also a call that there is not, or not over HTTP."),
    409: ("Conflict", "ALREADY_EXISTS, ABORTED."),
    411: ("LengthRequired", "INVALID_ARGUMENT: an upload without a body."),
    413: ("TooLarge", "INVALID_ARGUMENT: a request of more than 1 MiB."),
    429: ("ResourceExhausted", "RESOURCE_EXHAUSTED."),
    499: ("Cancelled", "CANCELLED."),
    500: ("Internal", "INTERNAL, UNKNOWN, DATA_LOSS."),
    501: ("Unimplemented", "UNIMPLEMENTED."),
    503: ("Unavailable", "UNAVAILABLE: try again."),
    504: ("DeadlineExceeded", "DEADLINE_EXCEEDED."),
}
ONLY_JSON, ONLY_UPLOADS = {413}, {411}

NUMBER_RANGES = {"int32": (-2**31, 2**31 - 1), "uint32": (0, 2**32 - 1)}
INTEGER_KINDS = {
    Field.TYPE_INT32: "int32", Field.TYPE_SINT32: "int32", Field.TYPE_SFIXED32: "int32", Field.TYPE_UINT32: "uint32", Field.TYPE_FIXED32: "uint32",
    Field.TYPE_INT64: "int64", Field.TYPE_SINT64: "int64", Field.TYPE_SFIXED64: "int64", Field.TYPE_UINT64: "uint64", Field.TYPE_FIXED64: "uint64",
}
OTHER_KINDS = {
    Field.TYPE_DOUBLE: {"type": "number", "format": "double"},
    Field.TYPE_FLOAT: {"type": "number", "format": "float"},
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
WELL_KNOWN = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"},
}


# ---- Words ---------------------------------------------------------------------------------------------------------------

def described(schema, comment):
    return {**schema, "description": comment} if comment else schema


def one_line(comment):
    return " ".join(comment.split())


def first_sentence(comment):
    return re.split(r"(?<=[.:])\s", one_line(comment), maxsplit=1)[0].rstrip(".:")


def component(name):
    return name.removeprefix(PACKAGE)


def schema_ref(name):
    return {"$ref": f"#/components/schemas/{component(name)}"}


# ---- Schemas, by protobuf's JSON mapping ---------------------------------------------------------------------------------

def integer_schema(kind):
    if kind in NUMBER_RANGES:
        low, high = NUMBER_RANGES[kind]
        return {"type": "integer", "minimum": low, "maximum": high}
    # A JSON number is exact to 53 bits alone.
    return {"type": "string", "format": kind, "pattern": r"^\d+$" if kind == "uint64" else r"^-?\d+$"}


class Schemas:
    """Those of the messages and enums that calls over HTTP carry; each is made when it is first referred to."""

    def __init__(self, api):
        self._api, self._made = api, {}

    def ref(self, name):
        if name in WELL_KNOWN:
            return WELL_KNOWN[name]
        if name not in self._made:
            self._made[name] = None             # messages may hold themselves
            self._made[name] = self._make(name)
        return schema_ref(name)

    def all(self):
        return {component(name): schema for name, schema in self._made.items()}

    def of_field(self, field):
        entry = self._api.map_entry(field)
        if entry is not None:
            return {"type": "object", "additionalProperties": self._of_one(entry.field[1])}
        return {"type": "array", "items": self._of_one(field)} if is_repeated(field) else self._of_one(field)

    def properties(self, name):
        message = self._api.messages[name]
        return {field.name: described(self.of_field(field), message.comment(MESSAGE_FIELD, index)) for index, field in enumerate(message.proto.field)}

    def _of_one(self, field):
        if field.type in (Field.TYPE_MESSAGE, Field.TYPE_ENUM):
            return self.ref(full_name(field.type_name))
        return integer_schema(INTEGER_KINDS[field.type]) if field.type in INTEGER_KINDS else OTHER_KINDS[field.type]

    def _make(self, name):
        if name in self._api.enums:
            return self._enum(self._api.enums[name])
        if name not in self._api.messages:
            raise ApiError(f"{name}: wanted a message of ours or one of {', '.join(sorted(WELL_KNOWN))}; tools/apikit/openapi.py lacks its JSON")
        return described({"type": "object", "properties": self.properties(name)}, self._api.messages[name].comment())

    @staticmethod
    def _enum(enum):
        values = [f"* {value.name}: {one_line(enum.comment(ENUM_VALUE, index))}" for index, value in enumerate(enum.proto.value)]
        return {"type": "string", "enum": [value.name for value in enum.proto.value], "description": "\n".join([enum.comment(), "", *values])}


def error_schemas():
    return {
        "Error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "integer", "description": "gRPC's number of what went wrong."},
                "message": {"type": "string", "description": "One line: field, wanted, got."},
            },
            "description": "Why a call failed.",
        },
        "StreamError": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"$ref": "#/components/schemas/Error"}},
            "description": "The last line of a stream that failed after its first line.",
        },
    }


# ---- Calls ---------------------------------------------------------------------------------------------------------------

def json_content(schema):
    return {"application/json": {"schema": schema}}


def error_responses(left_out):
    return {str(status): {"$ref": f"#/components/responses/{name}"} for status, (name, _) in STATUSES.items() if status not in left_out}


def answer(schemas, method):
    schema = schemas.ref(full_name(method.output_type))
    if not method.server_streaming:
        return {"description": "The answer.", "content": json_content(schema)}
    line = {"anyOf": [schema, {"$ref": "#/components/schemas/StreamError"}]}
    return {"description": "One JSON object a line, each of this schema.", "content": {"application/x-ndjson": {"schema": line}}}


def operation(service, method, comment):
    return {
        "operationId": f"{service.proto.name}_{method.name}",
        "tags": [service.proto.name],
        "summary": first_sentence(comment),
        "description": comment,
    }


def call(schemas, service, method, comment):
    return operation(service, method, comment) | {
        "requestBody": {"required": True, "content": json_content(schemas.ref(full_name(method.input_type)))},
        "responses": {"200": answer(schemas, method), **error_responses(ONLY_UPLOADS)},
    }


def parameter(name, schema, required):
    schema = dict(schema)
    return {"name": name, "in": "query", "required": required, "description": schema.pop("description", ""), "schema": schema}


def header_type(api, method):
    """Of an upload: the message that its query parameters make."""
    parts = {field.name: field for field in api.messages[full_name(method.input_type)].proto.field}
    return full_name(parts["header"].type_name)


def upload(api, schemas, service, method, comment, form):
    header = schemas.properties(header_type(api, method))
    return operation(service, method, comment) | {
        "parameters": [parameter(name, schema, name in form.required) for name, schema in header.items()],
        "requestBody": {"required": True, "description": "The file.", "content": {"application/octet-stream": {}}},
        "responses": {"200": answer(schemas, method), **error_responses(ONLY_JSON)},
    }


def call_paths(api, schemas):
    for service, method, comment in api.methods():
        server = {"servers": [SERVERS[service.name]]} if service.name in SERVERS else {}
        form = UPLOADS.get(f"{service.name}.{method.name}")
        if form is not None:
            yield form.path, server | {"post": upload(api, schemas, service, method, comment, form)}
        elif not method.client_streaming:
            yield f"/v1/{service.proto.name}/{method.name}", server | {"post": call(schemas, service, method, comment)}


def probe(name, summary, answers):
    content = {"text/plain": {"schema": {"type": "string"}}}
    responses = {str(status): {"description": said, "content": content} for status, said in answers.items()}
    return {"get": {"operationId": name, "tags": ["Operation"], "summary": summary, "security": [], "responses": responses}}


def probe_paths():
    return {
        "/healthz": probe("healthz", "Whether the daemon answers at all", {200: "It does."}),
        "/readyz": probe("readyz", "Whether the daemon takes work", {200: "It does.", 503: "It is starting, or about to stop."}),
        "/metrics": probe("metrics", "Counters and gauges, in Prometheus' text format", {200: "All of them."}),
    }


# ---- The document --------------------------------------------------------------------------------------------------------

def tags(api):
    of_services = [{"name": service.proto.name, "description": service.comment()} for service in api.services.values()]
    return [*of_services, {"name": "Operation", "description": "What supervisors and monitoring ask of every daemon."}]


def about_all(api):
    file, _, rest = api.file_comments.get(MAIN_FILE, "").partition("\n\n")
    return rest or file


def components(schemas):
    error = json_content({"$ref": "#/components/schemas/Error"})
    return {
        "schemas": dict(sorted((schemas.all() | error_schemas()).items())),
        "responses": {name: {"description": said, "content": error} for name, said in STATUSES.values()},
        "securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer", "description": "Wanted where the daemon's configuration has `auth.required`."}},
    }


def document(api):
    schemas = Schemas(api)
    paths = dict(call_paths(api, schemas)) | probe_paths()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Earmark", "version": "v1", "description": about_all(api)},
        "servers": list(SERVERS.values()),
        "security": [{"bearerAuth": []}, {}],
        "tags": tags(api),
        "paths": paths,
        "components": components(schemas),
    }


def document_text(api):
    return json.dumps(document(api), indent=2, ensure_ascii=False) + "\n"
