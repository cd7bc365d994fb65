"""The detection service as a program: clips over HTTP, findings, a daemon that is killed, a drain, and what an operator gets wrong."""
import json
import os
import signal
import subprocess
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from support import EndToEnd, Recordings, ffmpeg

DAEMON = Path(os.environ.get("EARMARK_DETECTD", Path(__file__).resolve().parents[2] / "build/release/services/detectd/earmark-detectd")).resolve()


class Daemon:
    def __init__(self, test, *settings):
        self.process = subprocess.Popen(test.daemon_command(*settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=test.environment())
        test.addCleanup(self.stop)
        words = self.process.stdout.readline().split()
        test.assertEqual(words[:1], ["ready"], words)
        self.grpc, self.http = (word.split("=")[1] for word in words[1:])

    def stop(self, signal_number=signal.SIGKILL):
        if self.process.returncode is None:
            self.process.send_signal(signal_number)
            self.log = self.process.communicate(timeout=60)[1]
        return self.process.returncode

    def post(self, path, body):
        with urllib.request.urlopen(f"http://{self.http}{path}", data=body, timeout=60) as answer:
            return json.loads(answer.read())

    def call(self, method, **request):
        return self.post(f"/v1/Detection/{method}", json.dumps(request).encode())

    def submit(self, clip, query="name=clip"):
        return self.post(f"/v1/scans?{query}", clip.read_bytes())["scan_id"]


class Detectd(EndToEnd):
    def daemon_command(self, *settings):
        settings = (f"store.url={self.store}", f"key.file={self.key}", "auth.required=false", "listen.grpc=127.0.0.1:0", "listen.http=127.0.0.1:0") + settings
        return [str(DAEMON)] + [word for setting in settings for word in ("--set", setting)]

    def clip(self, start_s=5, seconds=6):
        copy = self.mark(Recordings.speech(20), "bob", "bob.wav")
        ffmpeg("-ss", start_s, "-t", seconds, "-i", copy, self.path("clip.wav"))
        return self.path("clip.wav")

    def finish(self, daemon, scan_id):
        self.wait_until(lambda: daemon.call("GetScan", scan_id=scan_id)["state"] not in ("QUEUED", "RUNNING"), "the end of the scan")
        return daemon.call("GetScan", scan_id=scan_id)

    def test_names_the_account_and_drains(self):
        clip, daemon = self.clip(), Daemon(self)
        scan = self.finish(daemon, daemon.submit(clip, "name=a%20clip.wav&case_label=K-1&idempotency_key=k1"))
        self.assertEqual(scan["state"], "DONE", scan)
        finding = scan["finding"]
        self.assertEqual((finding["verdict"], finding["name"], finding["case_label"]), ("accused", "a clip.wav", "K-1"))
        self.assertEqual([(a["account"], a["stream_id"]) for a in finding["accusations"]], [("bob", "room")])
        self.assertEqual(daemon.submit(clip, "name=a%20clip.wav&case_label=K-1&idempotency_key=k1"), scan["scan_id"])
        with self.assertRaises(urllib.error.HTTPError) as other:
            daemon.submit(clip, "name=another&idempotency_key=k1")
        self.assertEqual(other.exception.code, 409)
        other.exception.close()
        leaks = daemon.call("QueryLeaks")["leaks"]
        self.assertEqual([(leak["account"], leak["finding_id"]) for leak in leaks], [("bob", finding["finding_id"])])
        self.assertEqual(daemon.stop(signal.SIGTERM), 0)
        self.assertNotIn("bob", daemon.log)

    def test_what_is_no_recording_is_unreadable(self):
        self.clip()
        garbage = self.path("garbage")
        garbage.write_bytes(bytes(range(256)) * 50)
        daemon = Daemon(self)
        finding = self.finish(daemon, daemon.submit(garbage))["finding"]
        self.assertEqual((finding["verdict"], finding["accusations"]), ("unreadable", []))
        self.assertIn("clip", finding["reason"])
        self.assertNotIn("/proc", finding["reason"])

    def test_another_daemon_finishes_what_a_killed_one_began(self):
        clip, first = self.clip(0, 18), Daemon(self, "scan.lease_s=1")
        scan_id = first.submit(clip)
        self.wait_until(lambda: first.call("GetScan", scan_id=scan_id)["state"] != "QUEUED", "the begin of the scan")
        first.stop(signal.SIGKILL)
        second = Daemon(self, "scan.lease_s=1")
        self.assertEqual(self.finish(second, scan_id)["finding"]["verdict"], "accused")
        self.assertEqual(len(second.call("ListFindings")["findings"]), 1)
        second.stop(signal.SIGTERM)
        self.assertIn(f"scan {scan_id}: accused", second.log)
        self.assertIn("attempt 2", second.log)  # it was killed in the middle, and not when it was done

    def refused(self, *settings):
        done = subprocess.run(self.daemon_command(*settings), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.environment(),
                              timeout=60, check=False)
        self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)
        self.assertTrue(done.stderr.startswith("earmark-detectd: "), done.stderr)
        return done.returncode, done.stderr

    def test_mistakes_are_one_clear_line(self):
        status, line = self.refused()
        self.assertEqual(status, 2)
        self.assertIn("earmark keys create", line)
        self.assertFalse(self.key.exists())
        self.make_key("master.key")
        for setting, word in (("scan.wrokers=1", "workers"), ("scan.workers=0", "scan.workers"), ("scan.max_false_accusation=0.02", "at most 0.01")):
            status, line = self.refused(setting)
            self.assertEqual(status, 2, line)
            self.assertIn(word, line)
        status, line = self.refused(f"listen.grpc={Daemon(self).grpc}")
        self.assertEqual(status, 1, line)


if __name__ == "__main__":
    unittest.main()
