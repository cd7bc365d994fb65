"""tools/api on copies of the .proto files with one change each: what breaks callers is found, and nothing else; and what it says of the
API over HTTP. By hand: python3 tests/e2e/api.py"""
import json
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
RELAY, DETECTION, COMMON = "relay.proto", "detection.proto", "common.proto"
STALE = "docs/openapi.json is not what the .proto files say; run tools/api openapi"


class ApiTool(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="earmark-api-"))
        self.addCleanup(shutil.rmtree, self.root)
        shutil.copytree(REPO / "proto", self.root / "proto")
        (self.root / "docs").mkdir()
        shutil.copy(REPO / "docs/openapi.json", self.root / "docs")

    def change(self, name, old, new):
        path = self.root / "proto/earmark/v1" / name
        text = path.read_text()
        self.assertEqual(text.count(old), 1, f"{name} has changed; this test wants exactly one '{old}'")
        path.write_text(text.replace(old, new))

    def api(self, *words):
        return subprocess.run([REPO / "tools/api", *words, "--root", self.root], capture_output=True, text=True, timeout=60, check=False)

    def lock_text(self):
        return (self.root / "proto/api.lock").read_text()

    def assert_fine(self, done):
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def assert_says(self, done, *lines):
        """Leaving out that the document is behind, which most changes make it."""
        said = [line for line in done.stdout.splitlines() if line != f"api: {STALE}"]
        self.assertEqual((done.returncode, said, done.stderr), (1, [f"api: {line}" for line in lines], ""))

    def assert_breaks(self, *lines):
        """The check says so and no more."""
        self.assert_says(self.api("check"), *[f"breaking: {line}" for line in lines])

    def assert_compatible(self, *lines):
        """The check wants the lock written and says what is new, and then all is well."""
        done = self.api("check")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("run tools/api lock\n", done.stdout)
        self.assertNotIn("breaking", done.stdout)
        self.assertEqual([line[2:] for line in done.stdout.splitlines() if line.startswith("  ")], list(lines))
        self.assert_fine(self.api("lock"))
        self.assert_settled()

    def assert_settled(self):
        self.assert_fine(self.api("openapi"))
        self.assert_fine(self.api("check"))


class Lock(ApiTool):
    def test_as_it_is(self):
        """no change: nothing to say, and the lock is written the same"""
        self.assert_fine(self.api("check"))
        before = self.lock_text()
        self.assert_fine(self.api("lock"))
        self.assertEqual(self.lock_text(), before)

    def test_field_removed(self):
        self.change(DETECTION, "  string sha256 = 6;\n", "")
        self.assert_breaks('field earmark.v1.SubmitScanHeader.sha256 = 6: removed, and 6 and "sha256" not reserved')

    def test_field_removed_and_half_reserved(self):
        """only its number, then only its name"""
        self.change(DETECTION, "  string sha256 = 6;\n", "  reserved 6;\n")
        self.assert_says(self.api("check"), 'breaking: field earmark.v1.SubmitScanHeader.sha256 = 6: removed, and "sha256" not reserved')
        self.change(DETECTION, "  reserved 6;\n", '  reserved "sha256";\n')
        self.assert_breaks("field earmark.v1.SubmitScanHeader.sha256 = 6: removed, and 6 not reserved")

    def test_field_removed_and_reserved(self):
        self.change(DETECTION, "  string sha256 = 6;\n", '  reserved 6;\n  reserved "sha256";\n')
        self.assert_compatible('+ reserved earmark.v1.SubmitScanHeader "sha256"', "+ reserved earmark.v1.SubmitScanHeader 6",
                               "- field earmark.v1.SubmitScanHeader.sha256 = 6: string")
        self.change(DETECTION, '  reserved "sha256";\n', "")
        self.assert_breaks('reserved earmark.v1.SubmitScanHeader "sha256": no longer reserved')

    def test_reserved_numbers_stay_reserved(self):
        """a wider range holds the narrower one; a narrower does not; two that touch are as good as one"""
        self.change(COMMON, "  string host = 1;\n", "  string host = 1;\n  reserved 10 to 12;\n")
        self.assert_compatible("+ reserved earmark.v1.Destination 10 to 12")
        self.change(COMMON, "reserved 10 to 12;", "reserved 9 to 10, 11 to 13;")
        self.assert_compatible("+ reserved earmark.v1.Destination 11 to 13", "+ reserved earmark.v1.Destination 9 to 10",
                               "- reserved earmark.v1.Destination 10 to 12")
        self.change(COMMON, "reserved 9 to 10, 11 to 13;", "reserved 9 to 10, 12 to 13;")
        self.assert_breaks("reserved earmark.v1.Destination 11 to 13: no longer reserved")

    def test_field_renamed(self):
        self.change(COMMON, "string host = 1;", "string address = 1;")
        self.assert_breaks("field earmark.v1.Destination.host = 1: renamed to address")

    def test_field_renumbered(self):
        self.change(COMMON, "string host = 1;", "string host = 7;")
        self.assert_breaks("field earmark.v1.Destination.host: renumbered from 1 to 7")

    def test_fields_swapped(self):
        self.change(COMMON, "string host = 1;", "string host = 2;")
        self.change(COMMON, "uint32 port = 2;", "uint32 port = 1;")
        self.assert_breaks("field earmark.v1.Destination.host: renumbered from 1 to 2", "field earmark.v1.Destination.port: renumbered from 2 to 1")

    def test_type_changed(self):
        self.change(COMMON, "uint32 port = 2;", "int64 port = 2;")
        self.assert_breaks("field earmark.v1.Destination.port = 2: changed from 'uint32' to 'int64'")

    def test_message_type_changed(self):
        self.change(RELAY, "  StreamFormat format = 6;", "  Destination format = 6;")
        self.assert_breaks("field earmark.v1.Stream.format = 6: changed from 'earmark.v1.StreamFormat' to 'earmark.v1.Destination'")

    def test_label_changed(self):
        self.change(COMMON, "optional uint32 payload_type = 3;", "uint32 payload_type = 3;")
        self.change(COMMON, "string host = 1;", "repeated string host = 1;")
        self.assert_breaks("field earmark.v1.Destination.host = 1: changed from 'string' to 'repeated string'",
                           "field earmark.v1.Destination.payload_type = 3: changed from 'optional uint32' to 'uint32'")

    def test_moved_into_a_oneof(self):
        self.change(COMMON, "  string host = 1;", "  oneof place { string host = 1; }")
        self.assert_breaks("field earmark.v1.Destination.host = 1: changed from 'string' to 'string, oneof place'")

    def test_moved_out_of_a_oneof(self):
        self.change(DETECTION, "    bytes data = 2;\n  }\n", "  }\n  bytes data = 2;\n")
        self.assert_breaks("field earmark.v1.SubmitScanRequest.data = 2: changed from 'bytes, oneof part' to 'bytes'")

    def test_enum_value_renamed_and_renumbered(self):
        self.change(DETECTION, "DONE = 3;", "ENDED = 3;")
        self.change(DETECTION, "FAILED = 5;", "FAILED = 6;")
        self.assert_breaks("value earmark.v1.ScanState.DONE = 3: renamed to ENDED", "value earmark.v1.ScanState.FAILED: renumbered from 5 to 6")

    def test_enum_value_removed(self):
        """allowed once it is reserved, of whose range the end is a part"""
        self.change(DETECTION, "  FAILED = 5;\n", "")
        self.assert_says(self.api("check"), 'breaking: value earmark.v1.ScanState.FAILED = 5: removed, and 5 and "FAILED" not reserved')
        self.change(DETECTION, "  CANCELLED = 4;\n", '  CANCELLED = 4;\n  reserved 5;\n  reserved "FAILED";\n')
        self.assert_compatible('+ reserved earmark.v1.ScanState "FAILED"', "+ reserved earmark.v1.ScanState 5", "- value earmark.v1.ScanState.FAILED = 5")

    def test_method_renamed(self):
        self.change(RELAY, "rpc Revoke(RevokeRequest) returns (RevokeResponse)", "rpc Withdraw(RevokeRequest) returns (RevokeResponse)")
        self.assert_says(self.api("check"), "breaking: method earmark.v1.Relay.Revoke: removed or renamed",
                         "method earmark.v1.Relay.Withdraw: wanted WithdrawRequest to be what it takes, got RevokeRequest",
                         "method earmark.v1.Relay.Withdraw: wanted WithdrawResponse or a message of no one call to be its answer, got RevokeResponse")

    def test_method_removed(self):
        self.change(RELAY, "  rpc GetStream(GetStreamRequest) returns (Stream);\n", "")
        self.assert_breaks("method earmark.v1.Relay.GetStream: removed or renamed")

    def test_stream_made_unary(self):
        self.change(RELAY, "returns (stream StreamStats)", "returns (StreamStats)")
        self.assert_breaks("method earmark.v1.Relay.WatchStats: changed from 'earmark.v1.WatchStatsRequest -> stream earmark.v1.StreamStats'"
                           " to 'earmark.v1.WatchStatsRequest -> earmark.v1.StreamStats'")

    def test_answer_changed(self):
        self.change(RELAY, "rpc CloseStream(CloseStreamRequest) returns (Stream)", "rpc CloseStream(CloseStreamRequest) returns (Source)")
        self.assert_breaks("method earmark.v1.Relay.CloseStream: changed from 'earmark.v1.CloseStreamRequest -> earmark.v1.Stream'"
                           " to 'earmark.v1.CloseStreamRequest -> earmark.v1.Source'")

    def test_service_removed(self):
        """one line, not one for each of its methods"""
        self.change(DETECTION, "service Detection {", "service Tracing {")
        self.assert_breaks("service earmark.v1.Detection: removed or renamed")

    def test_message_removed(self):
        self.change(RELAY, "message GrantSources {", "message GrantPorts {")
        self.change(RELAY, "repeated GrantSources grants = 8;", "repeated GrantPorts grants = 8;")
        self.assert_breaks("message earmark.v1.GrantSources: removed or renamed",
                           "field earmark.v1.StreamStats.grants = 8: changed from 'repeated earmark.v1.GrantSources' to 'repeated earmark.v1.GrantPorts'")

    def test_field_added(self):
        self.change(COMMON, "  string host = 1;\n", "  string host = 1;\n  // Of this interface.\n  string device = 4;\n")
        self.assert_compatible("+ field earmark.v1.Destination.device = 4: string")

    def test_nested_types_and_maps_added(self):
        self.change(COMMON, "  string host = 1;\n", "  string host = 1;\n  message Hop { enum Kind { KIND_UNSPECIFIED = 0; } Kind kind = 1; }\n"
                    "  map<string, Hop> hops = 4;\n")
        self.assert_compatible("+ enum earmark.v1.Destination.Hop.Kind", "+ field earmark.v1.Destination.Hop.kind = 1: earmark.v1.Destination.Hop.Kind",
                               "+ field earmark.v1.Destination.hops = 4: map<string, earmark.v1.Destination.Hop>",
                               "+ message earmark.v1.Destination.Hop", "+ value earmark.v1.Destination.Hop.Kind.KIND_UNSPECIFIED = 0")
        self.change(COMMON, "map<string, Hop> hops", "map<int64, Hop> hops")
        self.assert_breaks("field earmark.v1.Destination.hops = 4: changed from 'map<string, earmark.v1.Destination.Hop>'"
                           " to 'map<int64, earmark.v1.Destination.Hop>'")

    def test_value_and_method_added(self):
        self.change(DETECTION, "  FAILED = 5;\n", "  FAILED = 5;\n  PAUSED = 6;\n")
        self.change(DETECTION, "  rpc GetScan(", "  rpc DeleteScan(DeleteScanRequest) returns (Scan);\n  rpc GetScan(")
        self.change(DETECTION, "message GetScanRequest {", "message DeleteScanRequest {}\nmessage GetScanRequest {")
        self.assert_compatible("+ message earmark.v1.DeleteScanRequest", "+ method earmark.v1.Detection.DeleteScan: earmark.v1.DeleteScanRequest -> earmark.v1.Scan",
                               "+ value earmark.v1.ScanState.PAUSED = 6")

    def test_breaking_and_compatible_at_once(self):
        """what breaks is said alone, and the lock is not written, not even with the other half, unless told to; then all is well"""
        self.change(COMMON, "string host = 1;", "string address = 1;\n  string device = 4;")
        self.assert_breaks("field earmark.v1.Destination.host = 1: renamed to address")
        before = self.lock_text()
        self.assert_says(self.api("lock"), "breaking: field earmark.v1.Destination.host = 1: renamed to address",
                         "proto/api.lock is left as it was; --break writes it all the same")
        self.assertEqual(self.lock_text(), before)
        self.assertEqual(self.api("lock", "--break").returncode, 0)
        self.assertIn("field earmark.v1.Destination.device = 4: string\n", self.lock_text())
        self.assert_settled()

    def test_a_lock_that_cannot_be_read(self):
        for line, said in (("<<<<<<< HEAD", "'<<<<<<< HEAD'"), ("field earmark.v1.Nobody.name = 1: string", "'earmark.v1.Nobody'")):
            with self.subTest(line):
                before = self.lock_text()
                (self.root / "proto/api.lock").write_text(before + line + "\n")
                done = self.api("check")
                self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1))
                self.assertIn(said, done.stderr)
                (self.root / "proto/api.lock").write_text(before)

    def test_no_lock(self):
        (self.root / "proto/api.lock").unlink()
        self.assertIn("run tools/api lock\n", self.api("check").stdout)
        self.assert_fine(self.api("lock"))
        self.assertEqual(self.lock_text(), (REPO / "proto/api.lock").read_text())

    def test_files_that_are_no_protos(self):
        self.change(COMMON, "message Destination {", "message {")
        done = self.api("check")
        self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1))
        self.assertIn("common.proto:", done.stderr)


class Names(ApiTool):
    def assert_named_wrongly(self, *lines):
        self.assertEqual(self.api("lock", "--break").returncode, 0)
        self.assert_says(self.api("check"), *lines)

    def test_shapes(self):
        self.change(COMMON, "  string host = 1;\n", "  string host = 1;\n  string netDevice = 4;\n  oneof Place { string street = 5; }\n")
        self.change(COMMON, "message Destination {", "message road_sign {}\nenum Way { WAY_UNSPECIFIED = 0; Up = 1; }\nmessage Destination {")
        self.assert_named_wrongly("message earmark.v1.road_sign: wanted CamelCase, got 'road_sign'",
                                  "field earmark.v1.Destination.netDevice: wanted snake_case, got 'netDevice'",
                                  "oneof earmark.v1.Destination.Place: wanted snake_case, got 'Place'",
                                  "value earmark.v1.Way.Up: wanted UPPER_SNAKE, got 'Up'")

    def test_first_value(self):
        self.change(COMMON, "message Destination {", "enum Way { UP = 0; }\nmessage Destination {")
        self.assert_named_wrongly("enum earmark.v1.Way: wanted …_UNSPECIFIED = 0 as its first value, got UP = 0")

    def test_seconds(self):
        """by what the comment says, by the name, and by the type"""
        self.change(COMMON, "  string host = 1;\n", "  string host = 1;\n  // In seconds.\n  double wait = 4;\n  int64 wait_seconds = 5;\n  int64 rest_s = 6;\n"
                    "  // In seconds.\n  double delay_s = 7;\n  // Share of a second channel's.\n  uint32 share = 8;\n")
        self.assert_named_wrongly("field earmark.v1.Destination.wait: wanted a name that ends in _s, for it is in seconds, got 'wait'",
                                  "field earmark.v1.Destination.wait_seconds: wanted a name that ends in _s, for it is in seconds, got 'wait_seconds'",
                                  "field earmark.v1.Destination.rest_s: wanted a double, as all that ends in _s, got another type")

    def test_requests_and_answers(self):
        self.change(RELAY, "  rpc GetStream(", "  rpc Look(GetStreamRequest) returns (GrantResponse);\n  rpc GetStream(")
        self.assert_named_wrongly("method earmark.v1.Relay.Look: wanted LookRequest to be what it takes, got GetStreamRequest",
                                  "method earmark.v1.Relay.Look: wanted LookResponse or a message of no one call to be its answer, got GrantResponse")

    def test_reserved_numbers_are_not_used_again(self):
        """which protoc sees to"""
        self.change(COMMON, "  string host = 1;\n", "  string host = 1;\n  reserved 4;\n  string device = 4;\n")
        done = self.api("check")
        self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1))
        self.assertIn('"device" uses reserved number 4', done.stderr)


class Document(ApiTool):
    """docs/openapi.json against what the lock and the gateway's sources say."""

    # JSON types of what needs no reference, by protobuf's mapping.
    JSON_TYPES = {"string": {"type": "string"}, "bool": {"type": "boolean"}, "double": {"type": "number"}, "uint32": {"type": "integer", "minimum": 0},
                  "int64": {"type": "string", "format": "int64"}, "bytes": {"type": "string", "contentEncoding": "base64"},
                  "google.protobuf.Timestamp": {"type": "string", "format": "date-time"}}

    def setUp(self):
        super().setUp()
        self.document = json.loads((REPO / "docs/openapi.json").read_text(encoding="utf-8"))
        self.schemas = self.document["components"]["schemas"]

    def locked_methods(self):
        """(service, method, whether it takes a stream, request, whether it answers with one, answer)"""
        found = re.findall(r"^method earmark\.v1\.(\w+)\.(\w+): (stream )?earmark\.v1\.(\w+) -> (stream )?earmark\.v1\.(\w+)$", self.lock_text(), re.MULTILINE)
        self.assertEqual(len(found), self.lock_text().count("\nmethod "))
        return found

    def references(self, node):
        if isinstance(node, dict):
            for key, value in node.items():
                yield from [value] if key == "$ref" else self.references(value)
        elif isinstance(node, list):
            for item in node:
                yield from self.references(item)

    def resolve(self, reference):
        node = self.document
        self.assertTrue(reference.startswith("#/"), reference)
        for part in reference[2:].split("/"):
            self.assertIn(part, node, reference)
            node = node[part]
        return node

    def operations(self):
        return {f"{verb} {path}": operation for path, item in self.document["paths"].items() for verb, operation in item.items() if verb != "servers"}

    def test_references(self):
        """all resolve, and nothing is described that no call carries"""
        used = set(self.references(self.document))
        self.assertGreater(len(used), 40)
        for reference in used:
            self.resolve(reference)
        self.assertEqual({f"#/components/schemas/{name}" for name in self.schemas} - used, set())
        self.assertEqual({f"#/components/responses/{name}" for name in self.document["components"]["responses"]} - used, set())

    def test_every_call(self):
        """those that HTTP has, with their messages, and no others"""
        wanted = {"get /healthz", "get /readyz", "get /metrics", "post /v1/scans"}
        for service, method, takes_stream, request, answers_stream, answer in self.locked_methods():
            if takes_stream:
                continue
            name = f"post /v1/{service}/{method}"
            wanted.add(name)
            operation = self.operations()[name]
            taken = operation["requestBody"]["content"]["application/json"]["schema"]
            self.assertEqual(taken, {"$ref": f"#/components/schemas/{request}"})
            (kind, body), = operation["responses"]["200"]["content"].items()
            self.assertEqual(kind, "application/x-ndjson" if answers_stream else "application/json", name)
            self.assertEqual(next(self.references(body)), f"#/components/schemas/{answer}")
            self.assertTrue(operation["summary"] and operation["description"], name)
        self.assertEqual(set(self.operations()), wanted)
        ids = [operation["operationId"] for operation in self.operations().values()]
        self.assertEqual(len(ids), len(set(ids)))

    def test_every_field(self):
        """of what HTTP carries, by its name in the .proto files, with its JSON type and a description"""
        num_fields = 0
        for owner, name, label, kind in re.findall(r"^field earmark\.v1\.(\w+)\.(\w+) = \d+: (repeated |optional )?([\w.]+)", self.lock_text(), re.MULTILINE):
            if owner not in self.schemas:
                continue
            num_fields += 1
            schema = self.schemas[owner]["properties"][name]
            self.assertTrue(schema["description"], f"{owner}.{name}")
            if label == "repeated ":
                self.assertEqual(schema["type"], "array")
                schema = schema["items"]
            wanted = self.JSON_TYPES.get(kind) or {"$ref": f"#/components/schemas/{kind.removeprefix('earmark.v1.')}"}
            self.assertEqual(schema, schema | wanted, f"{owner}.{name}")
        self.assertEqual(num_fields, sum(len(schema["properties"]) for name, schema in self.schemas.items()
                                         if name not in ("Error", "StreamError") and "enum" not in schema))

    def test_every_value(self):
        enums = {name: schema["enum"] for name, schema in self.schemas.items() if "enum" in schema}
        found = re.findall(r"^value earmark\.v1\.(\w+)\.(\w+) = \d+$", self.lock_text(), re.MULTILINE)
        self.assertEqual({(name, value) for name, values in enums.items() for value in values}, set(found))

    def test_the_upload(self):
        """at the path that the daemon has, with the fields of its header"""
        found = re.findall(r'uploads = \{\{\.path = "(\S+)", .*v1::(\w+)::.*\.method = "(\w+)"', (REPO / "services/detectd/main.cc").read_text())
        self.assertEqual(found, [("/v1/scans", "Detection", "SubmitScan")])
        operation = self.operations()["post /v1/scans"]
        self.assertEqual(list(operation["requestBody"]["content"]), ["application/octet-stream"])
        self.assertEqual(list(self.references(operation["responses"]["200"])), ["#/components/schemas/Scan"])
        fields = re.findall(r"^field earmark\.v1\.SubmitScanHeader\.(\w+) ", self.lock_text(), re.MULTILINE)
        self.assertEqual({each["name"]: each["required"] for each in operation["parameters"]}, {name: name == "name" for name in fields})

    def test_errors(self):
        """with every status that the daemons' sources have, under gRPC's name for it"""
        source = (REPO / "services/common/server/status.cc").read_text().partition("int ToHttpStatus")[2]
        mapped = re.findall(r"((?:case grpc::StatusCode::\w+:\s*)+)return (\d+);", source)
        self.assertGreater(len(mapped), 9)
        codes = {(status, code) for cases, status in mapped for code in re.findall(r"StatusCode::(\w+)", cases) if code != "OK"}
        by_gateway = set(re.findall(r"Answer\(response, (\d+),", (REPO / "services/common/server/http_gateway.cc").read_text())) - {"405"}
        calls = {name: operation for name, operation in self.operations().items() if name.startswith("post")}
        for operation in calls.values():
            for status, code in codes:
                self.assertIn(code, self.resolve(operation["responses"][status]["$ref"])["description"])
        everywhere = {status for operation in calls.values() for status in operation["responses"]}
        self.assertEqual(everywhere, {status for status, _ in codes} | by_gateway | {"200", "413", "500"})
        self.assertEqual(set(self.schemas["Error"]["properties"]), {"code", "message"})

    def test_written_anew(self):
        """a change that the document does not have is told; one of a call that it leaves out is none"""
        self.change(COMMON, "// UDP port, 1 to 65535.", "// UDP port, 1024 to 65535.")
        done = self.api("check")
        self.assertEqual((done.returncode, done.stdout), (1, f"api: {STALE}\n"))
        self.assert_fine(self.api("openapi", "--out", self.root / "other.json"))
        self.assertEqual(self.api("check").returncode, 1)
        self.assert_settled()
        self.assertEqual((self.root / "other.json").read_text(), (self.root / "docs/openapi.json").read_text())
        self.assertEqual(self.api("openapi", "--out", "-").stdout, (self.root / "docs/openapi.json").read_text())
        self.change(RELAY, "// RTP sequence number, 0 to 65535.", "// RTP sequence number.")
        self.assert_fine(self.api("check"))
        (self.root / "docs/openapi.json").unlink()
        self.assertEqual(self.api("check").stdout, f"api: {STALE}\n")

    def test_a_type_without_json(self):
        """is an error, not a document that is wrong"""
        self.change(COMMON, "package earmark.v1;\n", 'package earmark.v1;\nimport "google/protobuf/any.proto";\n')
        self.change(COMMON, "  string host = 1;\n", "  string host = 1;\n  google.protobuf.Any more = 4;\n")
        done = self.api("openapi")
        self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1))
        self.assertIn("google.protobuf.Any", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
