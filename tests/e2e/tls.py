"""TLS at both front doors of a small daemon: who gets in, and what happens when the files change. EARMARK_TESTD=… python3 tests/e2e/tls.py

Keys and certificates are made with the openssl command. gRPC's client is a process of Debian's Python, which has python3-grpcio."""
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.request
from http.client import HTTPException, HTTPSConnection

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("EARMARK_")}
# For as long as a test may wait for what comes by itself; a second or two is what it takes.
PATIENCE_S = 30

# Prints the health service's answer, or the name of the error's code; then, where a line comes on stdin, again on the same connection.
GRPC_CLIENT = """
import sys, grpc
target, ca, cert, key = sys.argv[1:]
read = lambda path: open(path, "rb").read() if path else None
credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(cert)) if ca else None
channel = grpc.secure_channel(target, credentials) if ca else grpc.insecure_channel(target)
while True:
    try:
        print(channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20).hex(), flush=True)
    except grpc.RpcError as error:
        print(error.code().name, flush=True)
    if not sys.stdin.readline():
        break
"""
SERVING = "0801"


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.ca = self.path("pem")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.path("key"),
                     "-out", self.ca, "-days", "30", "-subj", f"/CN={name}")

    def path(self, ending):
        return os.path.join(self.folder, f"{self.name}.{ending}")

    def openssl(self, *words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.folder)

    def issue(self, name, names="DNS:localhost,IP:127.0.0.1,DNS:earmark.test,DNS:*.rooms.test", end="20991231000000Z"):
        """Paths of a certificate of this authority and of its key."""
        cert, key, request = (os.path.join(self.folder, f"{name}.{ending}") for ending in ("pem", "key", "csr"))
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                     "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")
        with open(self.path("conf"), "w") as conf:
            conf.write(f"[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase={self.name}.db\nserial={self.name}.serial\n"
                       "default_md=sha256\npolicy=p\ncopy_extensions=copy\nrand_serial=yes\nunique_subject=no\n[p]\ncommonName=supplied\n")
        open(self.path("db"), "a").close()
        self.openssl("ca", "-batch", "-notext", "-config", self.path("conf"), "-cert", self.ca, "-keyfile", self.path("key"),
                     "-in", request, "-out", cert, "-startdate", "20200101000000Z", "-enddate", end)
        return cert, key


def own_address():
    """An address of this machine that is not loopback; None where it has none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return probe.getsockname()[0]


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="earmark-tls-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.ours = Authority(cls.folder, "ours")
        cls.others = Authority(cls.folder, "others")
        cls.server = cls.ours.issue("server")
        cls.client = cls.ours.issue("client")
        cls.stranger = cls.others.issue("stranger")

    def words(self, cert, key, *more):
        words = ["auth.required=false", "listen.grpc=127.0.0.1:0", "listen.http=127.0.0.1:0", f"tls.cert={cert}", f"tls.key={key}", *more]
        return [part for word in words for part in ("--set", word)]

    def start(self, words):
        process = subprocess.Popen([os.environ["EARMARK_TESTD"], *words], env=ENVIRONMENT, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        line = process.stdout.readline()
        match = re.fullmatch(r"ready grpc=(\S+) http=(\S+)\n", line)
        self.assertTrue(match, line or process.stderr.read())
        return process, match[1], match[2]

    def refused(self, words):
        """The one line in which the daemon says why it does not start."""
        done = subprocess.run([os.environ["EARMARK_TESTD"], *words], env=ENVIRONMENT, text=True, capture_output=True, timeout=30)
        self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), done.stderr)
        return done.stderr

    def context(self, ca=None, client=None):
        context = ssl.create_default_context(cafile=ca or self.ours.ca)
        if client:
            context.load_cert_chain(*client)
        return context

    def get(self, http, path="/healthz", context=None, headers=None):
        """Status and body over a connection of its own."""
        host, port = http.rsplit(":", 1)
        connection = HTTPSConnection(host, int(port), context=context or self.context(), timeout=30)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def shown(self, address):
        """The certificate that a new connection is shown, as DER."""
        host, port = address.rsplit(":", 1)
        context = self.context()
        context.set_alpn_protocols(["h2"])
        with socket.create_connection((host, int(port)), timeout=20) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
            return tls.getpeercert(binary_form=True)

    def grpc(self, address, ca, client=("", "")):
        process = subprocess.Popen(["/usr/bin/python3", "-c", GRPC_CLIENT, address, ca, *client], env=ENVIRONMENT, text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process, process.stdout.readline().strip()

    def until(self, what, holds):
        end = time.monotonic() + PATIENCE_S
        while not holds():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.1)  # between looks

    def replace(self, source, target):
        shutil.copy(source, target + ".new")
        os.chmod(target + ".new", 0o600)
        os.replace(target + ".new", target)

    def test_who_knows_the_authority_gets_in_by_both_doors(self):
        process, grpc, http = self.start(self.words(*self.server))
        self.assertEqual(self.get(http), (200, "ok\n"))
        self.assertEqual(self.grpc(grpc, self.ours.ca)[1], SERVING)
        answer = urllib.request.urlopen(urllib.request.Request(f"https://{http}/v1/Relay/GetStream", b'{"stream_id": "room"}'),
                                        context=self.context(), timeout=30)
        self.assertEqual(json.loads(answer.read())["stream_id"], "room")
        self.assertRegex(self.get(http, "/metrics")[1], r"(?m)^earmark_tls_certificate_expiry_seconds 4102358400$")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=15), 0)

    def test_who_does_not_or_speaks_plainly_or_an_old_version_does_not(self):
        _, grpc, http = self.start(self.words(*self.server))
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.get(http, context=self.context(ca=self.others.ca))
        self.assertEqual(self.grpc(grpc, self.others.ca)[1], "UNAVAILABLE")
        with self.assertRaises((HTTPException, OSError)):
            urllib.request.urlopen(f"http://{http}/healthz", timeout=30)
        self.assertEqual(self.grpc(grpc, "")[1], "UNAVAILABLE")
        for address in (grpc, http):
            host, port = address.rsplit(":", 1)
            for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1:
                limited = self.context()
                limited.minimum_version = ssl.TLSVersion.TLSv1_1
                limited.maximum_version = version
                limited.set_ciphers("DEFAULT:@SECLEVEL=0")
                limited.set_alpn_protocols(["h2"])
                with socket.create_connection((host, int(port)), timeout=20) as plain:
                    if version == ssl.TLSVersion.TLSv1_2:
                        limited.wrap_socket(plain, server_hostname=host).close()
                        continue
                    with self.assertRaises(ssl.SSLError) as refused:
                        limited.wrap_socket(plain, server_hostname=host)
                    # HTTP's word and gRPC's silence; other reasons would be the client's own.
                    self.assertIn(refused.exception.reason, ("TLSV1_ALERT_PROTOCOL_VERSION", "UNEXPECTED_EOF_WHILE_READING"))

    def test_with_client_ca_clients_must_show_a_certificate_of_it(self):
        _, grpc, http = self.start(self.words(*self.server, f"tls.client_ca={self.ours.ca}"))
        self.assertEqual(self.get(http, context=self.context(client=self.client)), (200, "ok\n"))
        self.assertEqual(self.grpc(grpc, self.ours.ca, self.client)[1], SERVING)
        for client in (None, self.stranger):
            with self.assertRaises((ssl.SSLError, HTTPException, OSError)):
                self.get(http, context=self.context(client=client))
            self.assertEqual(self.grpc(grpc, self.ours.ca, client or ("", ""))[1], "UNAVAILABLE")

    def test_new_files_are_shown_to_new_connections_and_running_ones_go_on(self):
        cert, key = os.path.join(self.folder, "live.pem"), os.path.join(self.folder, "live.key")
        self.replace(self.server[0], cert)
        self.replace(self.server[1], key)
        process, grpc, http = self.start(self.words(cert, key))
        before = self.shown(http)
        self.assertEqual(self.shown(grpc), before)
        running_grpc, answer = self.grpc(grpc, self.ours.ca)
        self.assertEqual(answer, SERVING)
        watched = urllib.request.urlopen(urllib.request.Request(f"https://{http}/v1/Relay/WatchStats", b'{"stream_id": "room"}'),
                                         context=self.context(), timeout=30)
        self.assertIn("stream_id", json.loads(watched.readline()))
        successor = self.ours.issue("successor", end="20801231000000Z")
        self.replace(successor[0], cert)
        self.replace(successor[1], key)
        self.until("new certificate", lambda: self.shown(http) != before and self.shown(grpc) != before)
        after = self.shown(http)
        self.assertEqual(self.shown(grpc), after)
        self.assertRegex(self.get(http, "/metrics")[1], r"(?m)^earmark_tls_certificate_expiry_seconds 3502828800$")
        running_grpc.stdin.write("\n")
        running_grpc.stdin.flush()
        self.assertEqual(running_grpc.stdout.readline().strip(), SERVING)

        # A certificate without its key, then no certificate at all: both are told, and change nothing.
        self.assertIn("new certificate in use", process.stderr.readline())
        self.replace(self.server[0], cert)
        self.assertRegex(process.stderr.readline(), "warning tls.key: .*stays in use")
        os.truncate(cert, 100)
        self.assertRegex(process.stderr.readline(), "warning tls.cert: .*stays in use")
        os.remove(cert)
        self.assertRegex(process.stderr.readline(), "warning tls.cert: .*stays in use")
        self.assertEqual((self.shown(http), self.shown(grpc)), (after, after))

        process.send_signal(signal.SIGTERM)
        self.assertEqual(watched.read(), b"")
        self.assertEqual(process.wait(timeout=15), 0)

    def test_authorities_of_clients_are_read_again_too(self):
        ca = os.path.join(self.folder, "live-ca.pem")
        self.replace(self.ours.ca, ca)
        _, grpc, http = self.start(self.words(*self.server, f"tls.client_ca={ca}"))
        self.assertEqual(self.get(http, context=self.context(client=self.client))[0], 200)
        self.replace(self.others.ca, ca)

        def stranger_gets_in():
            try:
                return self.get(http, context=self.context(client=self.stranger))[0] == 200
            except (ssl.SSLError, HTTPException, OSError):
                return False
        self.until("other clients", stranger_gets_in)
        self.assertEqual(self.grpc(grpc, self.ours.ca, self.stranger)[1], SERVING)
        with self.assertRaises((ssl.SSLError, HTTPException, OSError)):
            self.get(http, context=self.context(client=self.client))
        self.assertEqual(self.grpc(grpc, self.ours.ca, self.client)[1], "UNAVAILABLE")

    def watch(self, http):
        """The status of a stream that says one thing and then nothing, and its connection."""
        host, port = http.rsplit(":", 1)
        tls = self.context().wrap_socket(socket.create_connection((host, int(port)), timeout=20), server_hostname=host)
        self.addCleanup(tls.close)
        body = b'{"stream_id": "stubborn"}'
        tls.sendall(b"POST /v1/Relay/WatchStats HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return int(tls.recv(4096).split(b" ")[1]), tls

    def leave(self, tls):
        # As TLS wants it: the last message says so.
        tls.setblocking(False)
        with self.assertRaises(ssl.SSLError):  # sent, and the server's is not waited for
            tls.unwrap()
        tls.close()

    def test_a_client_that_leaves_a_quiet_stream_is_noticed(self):
        _, _, http = self.start(self.words(*self.server))
        watched = [self.watch(http) for _ in range(128)]
        self.assertEqual({status for status, _ in watched}, {200})
        self.assertEqual(self.watch(http)[0], 429)
        for _, tls in watched:
            self.leave(tls)
        self.until("a place for a stream", lambda: self.watch(http)[0] == 200)

    def test_host_is_a_name_of_the_certificate_and_origin_that_host(self):
        _, _, http = self.start(self.words(*self.server))
        for host in ("localhost", "earmark.test", "EARMARK.test:7421", "a.rooms.test:1", "127.0.0.1:9"):
            self.assertEqual(self.get(http, headers={"Host": host})[0], 200, host)
        for host in ("evil.test", "earmark.test.evil.test", "server", "rooms.test", "a.b.rooms.test", "192.0.2.1", ""):
            self.assertEqual(self.get(http, headers={"Host": host})[0], 403, host)
        self.assertEqual(self.get(http, headers={"Host": "earmark.test:1", "Origin": "https://earmark.test:1"})[0], 200)
        for origin in ("https://earmark.test", "http://earmark.test:1", "https://a.rooms.test", "http://localhost:1", "null"):
            self.assertEqual(self.get(http, headers={"Host": "earmark.test:1", "Origin": origin})[0], 403, origin)

    def test_what_is_wrong_with_the_files_is_told_at_the_start_and_when_checked(self):
        cert, key = self.server
        readable, no_pem, locked = (os.path.join(self.folder, name) for name in ("readable.key", "no.pem", "locked.key"))
        shutil.copy(key, readable)
        os.chmod(readable, 0o640)
        with open(no_pem, "w") as file:
            file.write("no certificate\n")
        os.chmod(no_pem, 0o600)
        expired = self.ours.issue("expired", end="20210101000000Z")
        self.ours.openssl("ec", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)
        os.chmod(locked, 0o600)
        for words, wanted in (((cert, ""), "tls.key: wanted"), (("", key), "tls.cert: wanted"),
                              (("", "", f"tls.client_ca={self.ours.ca}"), "tls.client_ca: wanted"),
                              ((cert, readable), "chmod 600"), ((cert, self.client[1]), "tls.key: wanted the private key of tls.cert"),
                              ((no_pem, key), "tls.cert: wanted"), ((cert, no_pem), "tls.key: wanted"),
                              ((cert, key, f"tls.client_ca={no_pem}"), "tls.client_ca: wanted"), ((cert, locked), "without a passphrase"),
                              (expired, "expired at 2021-01-01T00:00:00Z"), (("/nowhere", key), "tls.cert: wanted a file, got /nowhere"),
                              ((self.folder, key), "tls.cert: wanted a file")):
            self.assertIn(wanted, self.refused(self.words(*words)))
            self.assertIn(wanted, self.refused([*self.words(*words), "--check-config"]))
            printed = subprocess.run([os.environ["EARMARK_TESTD"], *self.words(*words), "--print-config"], env=ENVIRONMENT, text=True,
                                     capture_output=True, timeout=30)
            self.assertEqual(printed.returncode, 2)
            self.assertIn("[tls]", printed.stdout)
            self.assertIn(wanted, printed.stderr)

    def test_off_loopback_it_takes_tls_and_tokens(self):
        address = own_address()
        if address is None:
            self.skipTest("this machine has no address but loopback")
        off = ["--set", f"listen.grpc={address}:0", "--set", f"listen.http={address}:0"]
        self.assertIn("tls.cert and tls.key are not set", self.refused(["--set", "auth.required=false", *off]))
        self.assertIn("auth.required is false", self.refused([*self.words(*self.server), *off]))
        cert, key = self.ours.issue("outside", names=f"IP:{address}")
        words = [*self.words(cert, key), *off, "--set", "auth.required=true"]
        tried = subprocess.run([os.environ["EARMARK_TESTD"], *words, "--check-config"], env=ENVIRONMENT, text=True, capture_output=True,
                               timeout=30)
        self.assertEqual(tried.returncode, 0, tried.stderr)
        if self.knows_no_tokens():
            self.skipTest("this version knows no tokens, without which nothing is served off loopback")
        _, grpc, http = self.start(words)
        self.assertEqual(self.get(http), (200, "ok\n"))
        self.assertEqual(self.grpc(grpc, self.ours.ca)[1], SERVING)

    def knows_no_tokens(self):
        process = subprocess.Popen([os.environ["EARMARK_TESTD"], *self.words(*self.server), "--set", "auth.required=true"],
                                   env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return "ready" not in process.stdout.readline()


if __name__ == "__main__":
    unittest.main(warnings="ignore")  # of TLS 1.1, which is to fail
