"""Rules for names in the API, which can be kept only while something is new."""
import re

from .descriptors import MESSAGE_FIELD, Field, full_name

CAMEL_CASE = re.compile(r"[A-Z][A-Za-z0-9]*")
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
UPPER_SNAKE_CASE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
SECONDS = re.compile(r"\bseconds?\b", re.IGNORECASE)
NAMED_SECONDS = re.compile(r"(^|_)(s|secs?|seconds?)(_|$)")

# Fields that are about seconds and do not end in _s.
NOT_IN_S = {
    "earmark.v1.Alignment.speed": "seconds for a second: a ratio",
    "earmark.v1.Finding.seconds_needed": "in use since before the rule",
}


def short(name):
    return name.rpartition(".")[2]


def check_name(kind, full, pattern, wanted):
    if not pattern.fullmatch(short(full)):
        yield f"{kind} {full}: wanted {wanted}, got '{short(full)}'"


def check_seconds(full, proto, comment):
    if full in NOT_IN_S:
        return
    is_real = proto.type in (Field.TYPE_DOUBLE, Field.TYPE_FLOAT)
    if proto.name.endswith("_s"):
        if proto.type != Field.TYPE_DOUBLE:
            yield f"field {full}: wanted a double, as all that ends in _s, got another type"
    elif NAMED_SECONDS.search(proto.name) or (is_real and SECONDS.search(comment)):
        yield f"field {full}: wanted a name that ends in _s, for it is in seconds, got '{proto.name}'"


def check_messages(api):
    for name, message in api.messages.items():
        yield from check_name("message", name, CAMEL_CASE, "CamelCase")
        for index, proto in enumerate(message.proto.field):
            full = f"{name}.{proto.name}"
            yield from check_name("field", full, SNAKE_CASE, "snake_case")
            yield from check_seconds(full, proto, message.comment(MESSAGE_FIELD, index))
        for oneof in message.proto.oneof_decl:
            if not oneof.name.startswith("_"):  # those of `optional` fields do
                yield from check_name("oneof", f"{name}.{oneof.name}", SNAKE_CASE, "snake_case")


def check_enums(api):
    for name, enum in api.enums.items():
        yield from check_name("enum", name, CAMEL_CASE, "CamelCase")
        for value in enum.proto.value:
            yield from check_name("value", f"{name}.{value.name}", UPPER_SNAKE_CASE, "UPPER_SNAKE")
        first = enum.proto.value[0]
        if first.number != 0 or not first.name.endswith("_UNSPECIFIED"):
            yield f"enum {name}: wanted …_UNSPECIFIED = 0 as its first value, got {first.name} = {first.number}"


def check_methods(api):
    for service, method, _ in api.methods():
        full = f"{service.name}.{method.name}"
        yield from check_name("method", full, CAMEL_CASE, "CamelCase")
        if method.client_streaming and method.server_streaming:
            continue                            # what comes one by one for as long as a call lasts is no request
        request, response = short(full_name(method.input_type)), short(full_name(method.output_type))
        if request != f"{method.name}Request":
            yield f"method {full}: wanted {method.name}Request to be what it takes, got {request}"
        if response != f"{method.name}Response" and response.endswith(("Request", "Response")):
            yield f"method {full}: wanted {method.name}Response or a message of no one call to be its answer, got {response}"


def findings(api):
    # That nothing takes a reserved number or name protoc sees to, and that reserved ones stay so the lock.
    for name in api.services:
        yield from check_name("service", name, CAMEL_CASE, "CamelCase")
    yield from check_messages(api)
    yield from check_enums(api)
    yield from check_methods(api)
