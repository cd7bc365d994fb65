"""The API as protoc reads it: descriptors of all .proto files of a tree, with their comments."""
import subprocess
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

REPO = Path(__file__).resolve().parents[2]
Field = descriptor_pb2.FieldDescriptorProto

# Numbers of the fields of descriptor.proto, which are what the paths of comments are made of.
FILE_MESSAGE, FILE_ENUM, FILE_SERVICE, FILE_SYNTAX = 4, 5, 6, 12
MESSAGE_FIELD, MESSAGE_NESTED, MESSAGE_ENUM = 2, 3, 4
ENUM_VALUE, SERVICE_METHOD = 2, 2

SCALARS = {number: name[len("TYPE_"):].lower() for name, number in Field.Type.items()}


class ApiError(Exception):
    """Something is wrong with the files or the machine, in one line."""


def read_descriptors(protos):
    files = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    if not files:
        raise ApiError(f"{protos}: wanted .proto files, got none")
    with tempfile.TemporaryDirectory(prefix="earmark-api-") as folder:
        target = Path(folder) / "descriptors"
        words = ["protoc", "-I", str(protos), "--include_source_info", "--include_imports", f"--descriptor_set_out={target}", *files]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ApiError("wanted protoc, and there is none; tools/setup installs it") from None
        if done.returncode != 0:
            raise ApiError(f"protoc: {(done.stderr.strip().splitlines() or ['no message'])[0]}")
        found = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    # What is imported from elsewhere is not ours.
    return [file for file in found.file if file.name in files]


class Element:
    """A message, enum or service with its full name, and the comments of it and its parts."""

    def __init__(self, name, proto, path, comments):
        self.name, self.proto, self.path, self._comments = name, proto, path, comments

    def comment(self, *part):
        return self._comments.get((*self.path, *part), "")


class Api:
    """All that the files define. Messages and enums within messages are listed beside them; entries of maps are left out."""

    def __init__(self, files):
        self.messages, self.enums, self.services = {}, {}, {}
        self.map_entries = {}
        self.file_comments = {}
        for file in files:
            comments = {tuple(place.path): clean(place.leading_comments) for place in file.source_code_info.location}
            self.file_comments[file.name] = comments.get((FILE_SYNTAX,), "")
            self._add_all(file.package, file.message_type, (FILE_MESSAGE,), comments, self._add_message)
            self._add_all(file.package, file.enum_type, (FILE_ENUM,), comments, self._add_to(self.enums))
            self._add_all(file.package, file.service, (FILE_SERVICE,), comments, self._add_to(self.services))

    @staticmethod
    def _add_all(scope, protos, path, comments, add):
        for index, proto in enumerate(protos):
            add(Element(f"{scope}.{proto.name}", proto, (*path, index), comments), comments)

    @staticmethod
    def _add_to(table):
        return lambda element, comments: table.update({element.name: element})

    def _add_message(self, element, comments):
        if element.proto.options.map_entry:
            self.map_entries[element.name] = element.proto
            return
        self.messages[element.name] = element
        self._add_all(element.name, element.proto.nested_type, (*element.path, MESSAGE_NESTED), comments, self._add_message)
        self._add_all(element.name, element.proto.enum_type, (*element.path, MESSAGE_ENUM), comments, self._add_to(self.enums))

    def map_entry(self, field):
        """The message of a map's keys and values, or None where the field is no map."""
        return self.map_entries.get(full_name(field.type_name))

    def methods(self):
        """(service, method, comment) in the order of the files."""
        for service in self.services.values():
            for index, method in enumerate(service.proto.method):
                yield service, method, service.comment(SERVICE_METHOD, index)


def full_name(type_name):
    """Descriptors begin a name with a dot."""
    return type_name.removeprefix(".")


def clean(comment):
    """Without the blank after //."""
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip()


def is_repeated(field):
    return field.label == Field.LABEL_REPEATED


def oneof_name(message, field):
    """Of a oneof that somebody wrote: `optional` fields have one each, too."""
    if not field.HasField("oneof_index") or field.proto3_optional:
        return None
    return message.oneof_decl[field.oneof_index].name
