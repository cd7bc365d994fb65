"""The detection service as a program: clips over HTTP, findings, a daemon that is killed, a drain, and what an operator gets wrong."""
import json
import os
import resource
import signal
import subprocess
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from support import EndToEnd, Recordings, ffmpeg

DAEMON = Path(os.environ.get("EARMARK_DETECTD", Path(__file__).resolve().parents[2] / "build/release/services/detectd/earmark-detectd")).resolve()


class Daemon:
    def __init__(self, test, *settings, prepare=None):
        self.process = subprocess.Popen(test.daemon_command(*settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=test.environment(), preexec_fn=prepare)
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


class WithDaemons(EndToEnd):
    """Starts detection services on the test's store."""

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

    def finish_six_with_one_killed(self):
        """Six clips, two daemons, one of which is killed while it scans: six findings."""
        clip = self.clip(0, 12)
        first, second = Daemon(self, "scan.lease_s=1"), Daemon(self, "scan.lease_s=1")
        scans = [first.submit(clip, f"name=clip-{i}") for i in range(6)]
        running = lambda: [i for i in scans if second.call("GetScan", scan_id=i)["state"] == "RUNNING"]
        self.wait_until(lambda: len(running()) == 2, "both daemons at work")
        first.stop(signal.SIGKILL)
        for scan_id in scans:
            self.assertEqual(self.finish(second, scan_id)["finding"]["verdict"], "accused")
        findings = second.call("ListFindings")["findings"]
        self.assertEqual(sorted(finding["name"] for finding in findings), [f"clip-{i}" for i in range(6)])
        self.assertEqual(sorted(finding["scan_id"] for finding in findings), sorted(scans))
        self.assertEqual(second.stop(signal.SIGTERM), 0)
        self.assertIn("attempt 2", second.log)  # one was taken over


class Detectd(WithDaemons):
    def test_six_clips_two_daemons_one_killed(self):
        self.finish_six_with_one_killed()

    def test_stages(self):
        """WatchScan tells of every stage, in order, with fractions that do not run back within one; all of it as newline-delimited JSON"""
        clip, daemon = self.clip(0, 18), Daemon(self)
        request = json.dumps({"scan_id": daemon.submit(clip)}).encode()
        with urllib.request.urlopen(f"http://{daemon.http}/v1/Detection/WatchScan", data=request, timeout=60) as answer:
            told = [json.loads(line) for line in answer]
        self.assertEqual((told[-1]["stage"], told[-1]["fraction"], told[-1]["state"]), ("done", 1, "DONE"))
        order = ["queued", "decoding", "searching", "aligning", "reading", "scoring", "done"]
        for progress in told:
            self.assertIn(progress["stage"], order)
            self.assertTrue(0 <= progress["fraction"] <= 1, progress)
        looks = [order.index(progress["stage"]) for progress in told if progress["stage"] not in ("searching", "aligning")]
        self.assertEqual(looks, sorted(looks))
        for earlier, later in zip(told, told[1:]):
            if earlier["stage"] == later["stage"]:
                self.assertLessEqual(earlier["fraction"], later["fraction"])

    def test_more_sound_than_is_allowed(self):
        """a small file of much silence is unreadable, with the reason, and takes no disk"""
        self.clip()
        ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", 1000, self.path("bomb.flac"))
        self.assertLess(self.path("bomb.flac").stat().st_size, 300_000)
        daemon = Daemon(self, "scan.max_clip_hours=0.2")
        finding = self.finish(daemon, daemon.submit(self.path("bomb.flac")))["finding"]
        self.assertEqual(finding["verdict"], "unreadable")
        self.assertIn("longer than 0.2 hours", finding["reason"])

    def test_many_clips(self):
        """submit: files, a folder, standard input; each answer says which clip it is of, and the gravest status counts"""
        clip, daemon = self.clip(), Daemon(self)
        suspects = self.path("suspects")
        (suspects / "more").mkdir(parents=True)
        (suspects / "more/a.wav").write_bytes(clip.read_bytes())
        (suspects / "b.txt").write_text("no sound at all\n" * 100)
        (suspects / ".hidden").write_text("not sent")
        server = ["--server", daemon.grpc]
        done = self.run_raw("submit", suspects, clip, "--wait", "--json", *server)
        self.assertEqual(done.status, 2, done.err)
        answers = [json.loads(line) for line in done.out.splitlines()]
        self.assertEqual([(a["clip"], a["verdict"]) for a in answers], [(f"{suspects}/b.txt", "unreadable"), (f"{suspects}/more/a.wav", "accused"), (str(clip), "accused")])
        self.assertEqual(done.err.count("\n"), 1, done.err)
        self.assertIn("b.txt", done.err)
        self.assertEqual([f["name"] for f in daemon.call("ListFindings")["findings"]], ["clip.wav", "a.wav", "b.txt"])
        queued = self.earmark_at("submit", clip, clip, *server).out.splitlines()
        self.assertRegex(queued[1], rf"^[0-9a-f]{{32}} {clip}$")
        piped = subprocess.run(self.command("submit", "-", "--name", "from a pipe", "--wait", "--json", *server, keyed=False), input=clip.read_bytes(), capture_output=True,
                               env=self.environment(), cwd=self.folder, timeout=120, check=True)
        self.assertEqual(json.loads(piped.stdout)["verdict"], "accused")
        self.assertEqual(daemon.call("ListFindings", page_size=1)["findings"][0]["name"], "from a pipe")
        self.path("empty").mkdir()
        for words, word in ((["-"], "is empty"), (["-", "-"], "twice"), ([clip, clip, "--name", "x"], "--name"), ([self.path("empty")], "without files"), ([self.path("none")], "none")):
            self.assert_refused(self.run_raw("submit", *words, *server), word)

    def openssl(self, *words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=self.folder)

    def certificate(self, name, *extensions):
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self.path(f"{name}.ext").write_text("\n".join(extensions))
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", 2, "-out", f"{name}.pem", "-extfile", f"{name}.ext")
        self.path(f"{name}.key").chmod(0o600)

    def test_mutual_tls(self):
        """with a client authority: submit and leaks over TLS show their certificate, and are refused without"""
        clip = self.clip()
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", 2, "-subj", "/CN=test")
        self.certificate("server", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self.certificate("kim", "extendedKeyUsage=clientAuth")
        self.path("token").write_text(self.earmark_at("token", "create", "--role", "investigator", "--store", self.store).out)
        daemon = Daemon(self, "auth.required=true", *(f"tls.{key}={self.path(file)}" for key, file in (("cert", "server.pem"), ("key", "server.key"), ("client_ca", "ca.pem"))))
        server = ["--server", daemon.grpc, "--token-file", self.path("token"), "--ca", self.path("ca.pem")]
        own = ["--client-cert", self.path("kim.pem"), "--client-key", self.path("kim.key")]
        self.assertEqual(self.earmark_at("submit", clip, "--wait", "--json", *server, *own).json()["accusations"][0]["account"], "bob")
        self.assertEqual(self.run_raw("leaks", *server).status, 1)
        self.assert_refused(self.run_raw("leaks", *server, "--client-cert", self.path("kim.pem")), "--client-key")
        self.assert_refused(self.run_raw("leaks", *server, "--client-cert", self.path("none"), "--client-key", self.path("kim.key")), "--client-cert")

    def test_tokens(self):
        """with tokens, as by default: the first is made on the store, more through the daemon; submit, leaks and token say what they lack"""
        clip = self.clip()
        admin = self.earmark_at("token", "create", "--role", "admin", "--name", "ops", "--store", self.store)
        self.assertRegex(admin.out, r"^earmark_[0-9a-f]{16}_[A-Za-z0-9_-]{43}\n$")
        self.assertIn("shown this once", admin.err)
        self.path("admin.token").write_text(admin.out)
        daemon = Daemon(self, "auth.required=true")
        server = ["--server", daemon.grpc]
        self.assert_refused(self.run_raw("leaks", *server), "token", "none")
        as_admin = [*server, "--token-file", self.path("admin.token")]
        made = self.earmark_at("token", "create", "--role", "investigator", "--name", "Kim", "--expires", "90d", "--json", *as_admin).json()
        self.assertEqual((made["role"], made["name"], made["revoked"], made["last_used"]), ("investigator", "Kim", None, None))
        self.path("kim.token").write_text(made["token"])
        as_kim = [*server, "--token-file", self.path("kim.token")]
        report = self.earmark_at("submit", clip, "--wait", "--json", *as_kim).json()
        self.assertEqual([a["account"] for a in report["accusations"]], ["bob"])
        self.assertEqual([row["account"] for row in self.earmark_at("leaks", "--json", *as_kim).json()["leaks"]], ["bob"])
        self.assert_refused(self.run_raw("token", "list", *as_kim), "Admin.ListTokens", "investigator")
        tokens = self.earmark_at("token", "list", "--json", *as_admin).json()["tokens"]
        self.assertEqual([(t["id"], t["name"]) for t in tokens], [(admin.out[8:24], "ops"), (made["id"], "Kim")])
        self.assertIsNotNone(tokens[1]["last_used"])
        self.assertIn("revoked", self.earmark_at("token", "revoke", made["id"], *as_admin).out)
        self.wait_until(lambda: self.run_raw("leaks", *as_kim).status == 2, "the token being refused")
        header, ops, kim = self.earmark_at("token", "list", "--store", self.store).out.splitlines()
        self.assertEqual(header.split()[:4], ["ID", "NAME", "ROLE", "STATE"])
        self.assertEqual((ops.split()[3], kim.split()[3]), ("good", "revoked"))
        for wrong, word in ((["--role", "boss"], "boss"), (["--role", "admin", "--expires", "2001-01-01"], "future"), (["--role", "admin", "--expires", "soon"], "90d")):
            self.assert_refused(self.run_raw("token", "create", "--store", self.store, *wrong), word)
        self.assert_refused(self.run_raw("token", "revoke", "0123456789abcdef", "--store", self.store), "0123456789abcdef")
        self.assertEqual(daemon.stop(signal.SIGTERM), 0)
        for secret in (made["token"][25:], admin.out.strip()[25:], "bob"):
            self.assertNotIn(secret, daemon.log)

    def earmark_at(self, *words):
        done = self.run_raw(*words)
        self.assertEqual(done.status, 0, done.err)
        return done

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

    def test_no_room(self):
        """where there is no room for a clip or its samples, that one fails and says so, and the next one is scanned"""
        def grows_no_file_beyond_8_mb():  # which fails as on a full disk
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))

        clip = self.clip()
        large, long = self.path("large.wav"), self.path("long.opus")
        ffmpeg("-f", "lavfi", "-i", "anoisesrc", "-t", 120, large)
        ffmpeg("-f", "lavfi", "-i", "anoisesrc", "-t", 240, "-b:a", "32k", long)
        daemon = Daemon(self, prepare=grows_no_file_beyond_8_mb)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            daemon.submit(large)
        self.assertEqual(refused.exception.code, 429)
        self.assertIn("temporary file for a clip", json.loads(refused.exception.read())["message"])
        failed = self.finish(daemon, daemon.submit(long))
        self.assertEqual(failed["state"], "FAILED")
        self.assertIn("make room", failed["reason"])
        self.assertEqual(self.finish(daemon, daemon.submit(clip))["finding"]["verdict"], "accused")
        self.assertEqual(daemon.stop(signal.SIGTERM), 0)

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
