"""What all daemons do: the line that says they serve, exit codes, signals. Of a small daemon: EARMARK_TESTD=… python3 tests/e2e/daemon.py"""
import json
import os
import re
import signal
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("EARMARK_")}
ANY_PORT = ["--set", "auth.required=false", "--set", "listen.grpc=127.0.0.1:0", "--set", "listen.http=127.0.0.1:0"]


class Daemon(unittest.TestCase):
    def start(self, *words):
        process = subprocess.Popen([os.environ["EARMARK_TESTD"], *ANY_PORT, *words], env=ENVIRONMENT, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        match = re.fullmatch(r"ready grpc=(127\.0\.0\.1:\d+) http=(127\.0\.0\.1:\d+)\n", process.stdout.readline())
        self.assertTrue(match)
        return process, match[1], match[2]

    def run_daemon(self, *words):
        return subprocess.run([os.environ["EARMARK_TESTD"], *words], env=ENVIRONMENT, text=True, capture_output=True, timeout=30)

    def watch(self, http, stream):
        request = urllib.request.Request(f"http://{http}/v1/Relay/WatchStats", json.dumps({"stream_id": stream}).encode())
        response = urllib.request.urlopen(request, timeout=30)
        self.assertIn("stream_id", json.loads(response.readline()))
        return response

    def test_ready_serve_and_drain(self):
        process, _, http = self.start()
        self.assertEqual(urllib.request.urlopen(f"http://{http}/readyz").status, 200)
        watched = self.watch(http, "room")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(watched.read(), b"")
        self.assertEqual(process.wait(timeout=15), 0)

    def test_a_second_signal_does_not_wait(self):
        process, _, http = self.start()
        watched = self.watch(http, "stubborn")
        process.send_signal(signal.SIGINT)
        self.assertIn("draining", process.stderr.readline())
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{http}/readyz")
        self.assertEqual(refused.exception.code, 503)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=10), 1)
        watched.close()

    def test_sighup_reads_the_configuration_again(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            def write(text):
                file.seek(0)
                file.truncate()
                file.write(text)
                file.flush()
            write('[log]\nlevel = "warning"\n')
            process, _, http = self.start("--config", file.name)
            write('[log]\nlevel = "debug"\n[retention]\ndays = 7\n')
            process.send_signal(signal.SIGHUP)
            self.assertIn("retention.days counts from the next start on", process.stderr.readline())
            self.assertIn("reloaded", process.stderr.readline())
            urllib.request.urlopen(f"http://{http}/readyz")
            self.assertIn("/readyz 200", process.stderr.readline())
            write('[log]\nlevel = "loud"\n')
            process.send_signal(signal.SIGHUP)
            self.assertRegex(process.stderr.readline(), "log.level: wanted .*; everything stays as it was")
            write("[lgo]\n")
            process.send_signal(signal.SIGHUP)
            self.assertRegex(process.stderr.readline(), "lgo.*; everything stays as it was")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(timeout=15), 0)

    def test_a_port_in_use_is_one_line_and_exit_1(self):
        _, grpc, http = self.start()
        for key, address in (("grpc", grpc), ("http", http)):
            second = self.run_daemon(*ANY_PORT, "--set", f"listen.{key}={address}")
            self.assertEqual((second.returncode, second.stdout, second.stderr.count("\n")), (1, "", 1), second.stderr)
            self.assertIn(address, second.stderr)

    def test_mistakes_in_the_configuration_are_one_line_and_exit_2(self):
        for words in (["--set", "listen.gprc=x"], ["--config", "/nowhere"], [*ANY_PORT, "--set", "listen.grpc=0.0.0.0:0"],
                      [*ANY_PORT, "--set", "log.level=loud"], ["--set", "auth.required=true"], ["--frobnicate"]):
            refused = self.run_daemon(*words)
            self.assertEqual((refused.returncode, refused.stdout, refused.stderr.count("\n")), (2, "", 1), refused.stderr)

    def test_printed_configuration_masks_passwords(self):
        printed = self.run_daemon("--print-config", "--set", "store.url=postgresql://me:hunter2@db/earmark")
        self.assertEqual(printed.returncode, 0)
        self.assertNotIn("hunter2", printed.stdout)
        self.assertIn("@db/earmark", printed.stdout)


if __name__ == "__main__":
    unittest.main()
