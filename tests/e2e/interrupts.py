"""A `mark` that is stopped half-way: by Ctrl-C, by the system, by a kill that nobody can catch."""
import signal
import subprocess
import unittest

from support import EndToEnd, Recordings, ffmpeg


class Interrupts(EndToEnd):
    def long_mark(self, *options, out="out.opus"):
        """Starts marking a quarter of an hour, and returns when some of it is in the store."""
        source = Recordings.path("long.wav")
        if not source.exists():
            ffmpeg("-stream_loop", "44", "-i", Recordings.speech(20), source)
        process = self.start("mark", source, "--stream", "room", "--listeners", self.listeners, "--for", "alice", "--out", self.path(out), *options,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.wait_until(lambda: any(s["stream"] == "room" and s["state"] == "recording" and s["seconds"] > 0 for s in self.streams()), "the first stored chunk")
        self.assertIsNone(process.poll())
        return process

    def test_signals(self):
        """mark: Ctrl-C, SIGTERM and SIGHUP leave no stream and no file, and the process dies of the signal"""
        self.make_key("master.key")  # one that mark makes is announced
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number=number):
                process = self.long_mark()
                process.send_signal(number)
                out, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, -number)
                self.assertEqual((out, err), (b"", b"earmark: cancelled\n"))
                self.assertEqual(self.streams(), [])
                self.assertEqual(set(self.files()), {"store.db", "master.key", "listeners.txt"})

    def test_signals_plain(self):
        """mark --plain, --codec none: Ctrl-C leaves no file"""
        ffmpeg("-stream_loop", "179", "-i", Recordings.speech(20), self.path("hour.wav"))
        before = set(self.files())
        process = self.start("mark", self.path("hour.wav"), "--plain", "--out", self.path("out.wav"), stderr=subprocess.PIPE)
        self.wait_until(lambda: set(self.files()) != before, "the temporary file")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertEqual(set(self.files()), before)

    def test_signals_all_copies(self):
        """mark --all-to: Ctrl-C among the copies leaves none of them, and no folder"""
        self.make_key("master.key")
        source = Recordings.speech(20)
        self.mark(source, "alice", "alice.opus")
        self.listeners.write_text("".join(f"listener-{i}\n" for i in range(3000)))
        words = ["mark", source, "--stream", "room", "--listeners", self.listeners, "--all-to", self.path("copies")]
        process = self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.wait_until(lambda: self.path("copies").exists() and len(list(self.path("copies").iterdir())) > 5, "the first copies")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out, err), (-signal.SIGINT, b"", b"earmark: cancelled\n"))
        self.assertFalse(self.path("copies").exists())

    def test_kill(self):
        """mark: after a kill -9 the same command works at once, and what it makes is whole"""
        process = self.long_mark()
        process.kill()
        process.wait()
        self.assertEqual([s["state"] for s in self.streams()], ["recording"])
        self.assertFalse(self.path("out.opus").exists())
        copy = self.mark(Recordings.speech(20), "bob", "bob.opus")
        self.assertEqual([s["state"] for s in self.streams()], ["complete"])
        self.assert_accuses(self.scan(copy), "bob")
        self.assertEqual(set(self.files()), {"store.db", "master.key", "listeners.txt", "bob.opus"})

    def test_killed_stream_can_be_scanned_past(self):
        """scan: a stream whose mark was killed does not get in the way of another"""
        copy = self.mark(Recordings.speech(20, seed=2), "bob", "bob.opus", stream="other")
        process = self.long_mark()
        process.kill()
        process.wait()
        self.assert_accuses(self.scan(copy), "bob")
        self.earmark("streams", "remove", "room", "--yes")
        self.assertEqual([s["stream"] for s in self.streams()], ["other"])

    def test_at_once(self):
        """mark: a stream that is being marked is left to who does; others can be marked beside it"""
        process = self.long_mark()
        done = self.run_raw("mark", Recordings.speech(20), "--stream", "room", "--listeners", self.listeners, "--for", "bob", "--out", self.path("bob.opus"), keyed=True)
        self.assert_refused(done, "room", "being marked")
        self.assertFalse(self.path("bob.opus").exists())
        self.assert_accuses(self.scan(self.mark(Recordings.speech(20, seed=2), "bob", "other.opus", stream="other")), "bob")
        self.assertIsNone(process.poll())
        self.assertEqual({s["stream"]: s["state"] for s in self.streams()}, {"room": "recording", "other": "complete"})

    def test_closed_output(self):
        """a reader that goes away is an error, not a crash"""
        self.mark(Recordings.speech(20), "alice", "alice.opus")
        full = subprocess.run(self.command("accounts"), stdout=open("/dev/full", "w"), stderr=subprocess.PIPE, env=self.environment(), check=False)
        self.assertEqual(full.returncode, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
