"""The lock, proto/api.lock: what callers rely on, one line each, as it last landed; and what a change of it breaks."""
import re
from dataclasses import dataclass, field

from .descriptors import SCALARS, ApiError, full_name, is_repeated, oneof_name

HEADER = "# The API as it last landed, which callers rely on. tools/api lock writes this file, tools/api check compares the .proto files with it.\n"

FIELD = re.compile(r"field (?P<owner>\S+)\.(?P<name>\w+) = (?P<number>\d+): (?P<what>.+)")
VALUE = re.compile(r"value (?P<owner>\S+)\.(?P<name>\w+) = (?P<number>-?\d+)")
METHOD = re.compile(r"method (?P<name>\S+): (?P<what>.+)")
RESERVED = re.compile(r"reserved (?P<owner>\S+) (?P<first>-?\d+)(?: to (?P<last>\d+))?")
RESERVED_NAME = re.compile(r"reserved (?P<owner>\S+) \"(?P<name>\w+)\"")
TYPE = re.compile(r"(?P<kind>message|enum|service) (?P<name>\S+)")


@dataclass
class Members:
    """Fields of a message or values of an enum: {name: (number, type and label; empty of a value)}, and what is reserved in it."""
    kind: str
    by_name: dict = field(default_factory=dict)
    reserved_names: set = field(default_factory=set)
    reserved_ranges: list = field(default_factory=list)

    def name_of(self, number):
        return next((name for name, (other, _) in self.by_name.items() if other == number), None)

    def reserves(self, first, last):
        end = first                             # all below are covered
        for low, high in sorted(self.reserved_ranges):
            if low <= end <= high:
                end = high + 1
        return end > last


@dataclass
class Contract:
    """What the lines of a lock say."""
    types: dict = field(default_factory=dict)   # name: message, enum or service
    members: dict = field(default_factory=dict)  # name of message or enum: Members
    methods: dict = field(default_factory=dict)  # name: input -> output


# ---- From descriptors to lines -------------------------------------------------------------------------------------------

def type_of(api, proto):
    entry = api.map_entry(proto)
    if entry is not None:
        return f"map<{type_of(api, entry.field[0])}, {type_of(api, entry.field[1])}>"
    return full_name(proto.type_name) or SCALARS[proto.type]


def describe_field(api, message, proto):
    oneof = oneof_name(message, proto)
    label = "repeated " if is_repeated(proto) and api.map_entry(proto) is None else "optional " if proto.proto3_optional else ""
    return label + type_of(api, proto) + (f", oneof {oneof}" if oneof else "")


def describe_method(method):
    def side(streams, type_name):
        return ("stream " if streams else "") + full_name(type_name)
    return f"{side(method.client_streaming, method.input_type)} -> {side(method.server_streaming, method.output_type)}"


def reserved_lines(owner, ranges, names):
    for first, last in ranges:
        yield f"reserved {owner} {first}" + (f" to {last}" if last != first else "")
    for name in names:
        yield f'reserved {owner} "{name}"'


def lines_of(api):
    for name, message in api.messages.items():
        yield f"message {name}"
        for proto in message.proto.field:
            yield f"field {name}.{proto.name} = {proto.number}: {describe_field(api, message.proto, proto)}"
        # The end of a message's range does not belong to it, that of an enum's does.
        yield from reserved_lines(name, [(r.start, r.end - 1) for r in message.proto.reserved_range], message.proto.reserved_name)
    for name, enum in api.enums.items():
        yield f"enum {name}"
        for value in enum.proto.value:
            yield f"value {name}.{value.name} = {value.number}"
        yield from reserved_lines(name, [(r.start, r.end) for r in enum.proto.reserved_range], enum.proto.reserved_name)
    for name in api.services:
        yield f"service {name}"
    for service, method, _ in api.methods():
        yield f"method {service.name}.{method.name}: {describe_method(method)}"


def lock_text(api):
    return HEADER + "".join(f"{line}\n" for line in sorted(lines_of(api)))


# ---- From lines to what they say -----------------------------------------------------------------------------------------

def parse_line(contract, line):
    """False: not a line of a lock."""
    if found := FIELD.fullmatch(line) or VALUE.fullmatch(line):
        said = found.groupdict()
        contract.members[said["owner"]].by_name[said["name"]] = (int(said["number"]), said.get("what", ""))
    elif found := METHOD.fullmatch(line):
        contract.methods[found["name"]] = found["what"]
    elif found := RESERVED.fullmatch(line):
        contract.members[found["owner"]].reserved_ranges.append((int(found["first"]), int(found["last"] or found["first"])))
    elif found := RESERVED_NAME.fullmatch(line):
        contract.members[found["owner"]].reserved_names.add(found["name"])
    else:
        return False
    return True


def parse(text):
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    contract = Contract()
    for line in lines:                          # what others belong to comes first, wherever sorting put it
        if found := TYPE.fullmatch(line):
            contract.types[found["name"]] = found["kind"]
            contract.members[found["name"]] = Members("field" if found["kind"] == "message" else "value")
    for line in lines:
        try:
            understood = TYPE.fullmatch(line) or parse_line(contract, line)
        except KeyError as error:
            raise ApiError(f"api.lock: wanted a line for {error} as well, got only '{line}'") from None
        if not understood:
            raise ApiError(f"api.lock: wanted lines as tools/api lock writes them, got '{line}'")
    return contract


# ---- What a change breaks ------------------------------------------------------------------------------------------------

def broken_types(old, new):
    for name, kind in old.types.items():
        if new.types.get(name) != kind:
            yield f"{kind} {name}: removed or renamed"


def broken_removal(owner, old, new, name):
    """A member that has gone. One whose number and name are reserved can never come to mean something else, so it may go."""
    number, _ = old.by_name[name]
    where = f"{old.kind} {owner}.{name} = {number}"
    heir = new.name_of(number)
    if heir is not None:
        yield f"{where}: renamed to {heir}"
        return
    missing = [str(number)] if not new.reserves(number, number) else []
    missing += [f'"{name}"'] if name not in new.reserved_names else []
    if missing:
        yield f"{where}: removed, and {' and '.join(missing)} not reserved"


def broken_member(owner, old, new, name):
    if name not in new.by_name:
        yield from broken_removal(owner, old, new, name)
        return
    (old_number, old_what), (new_number, new_what) = old.by_name[name], new.by_name[name]
    where = f"{old.kind} {owner}.{name}"
    if old_number != new_number:
        yield f"{where}: renumbered from {old_number} to {new_number}"
    if old_what != new_what:
        yield f"{where} = {old_number}: changed from '{old_what}' to '{new_what}'"


def broken_reservations(owner, old, new):
    for first, last in old.reserved_ranges:
        if not new.reserves(first, last):
            yield f"reserved {owner} {first}" + (f" to {last}" if last != first else "") + ": no longer reserved"
    for name in sorted(old.reserved_names - new.reserved_names):
        yield f'reserved {owner} "{name}": no longer reserved'


def broken_methods(old, new):
    for name, what in old.methods.items():
        if name.rpartition(".")[0] not in new.types:
            continue                            # the service's own line says it
        if name not in new.methods:
            yield f"method {name}: removed or renamed"
        elif new.methods[name] != what:
            yield f"method {name}: changed from '{what}' to '{new.methods[name]}'"


def breaking_changes(old_text, new_text):
    """One line for each thing that callers rely on and that is no more."""
    old, new = parse(old_text), parse(new_text)
    found = list(broken_types(old, new))
    for owner, members in old.members.items():
        if new.types.get(owner) == old.types[owner]:
            for name in members.by_name:
                found += broken_member(owner, members, new.members[owner], name)
            found += broken_reservations(owner, members, new.members[owner])
    return found + list(broken_methods(old, new))


def other_changes(old_text, new_text):
    """Lines that came or went without breaking anything."""
    old, new = set(old_text.splitlines()), set(new_text.splitlines())
    return [f"+ {line}" for line in sorted(new - old)] + [f"- {line}" for line in sorted(old - new)]
