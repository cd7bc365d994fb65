"""From a live room to a named leaker, on real parts: FFmpeg speaks RTP into earmark-sidecar, listeners record it, earmark-detectd names the leaker.

Run by tests/support/with_postgres.py, for the half on PostgreSQL.
"""
import math
import os
import subprocess
import time
import unittest
from pathlib import Path

from support import EndToEnd  # first: it says where live_support is
from live_support import CallError, Daemon, Listeners, Recording, RtpSource, duration_s, leak, mix, speech

BUILD = Path(__file__).resolve().parents[2] / "build/release"
SIDECAR = Path(os.environ.get("EARMARK_SIDECAR", BUILD / "services/sidecar/earmark-sidecar")).resolve()
DETECTD = Path(os.environ.get("EARMARK_DETECTD", BUILD / "services/detectd/earmark-detectd")).resolve()
SERVER = os.environ.get("EARMARK_TEST_POSTGRES", "")
SECONDS_ON_AIR = 26


class LiveRoom:
    """An open room with its speakers and its listeners, one account each."""

    def __init__(self, sidecar, name, languages, num_listeners, **stream_format):
        self.sidecar, self.name, self.listeners = sidecar, name, Listeners(num_listeners)
        self.stream = sidecar.post("Relay", "OpenStream", {"stream_id": name} | ({"format": stream_format} if stream_format else {}))
        self.ports = {language: sidecar.post("Relay", "AddSource", {"stream_id": name, "source": language})["rtp_port"] for language in languages}
        self.accounts = [f"{name}-{i:03}" for i in range(num_listeners)]
        self.grants = [sidecar.post("Relay", "Grant", {"stream_id": name, "account": account, "destination": self.listeners.destination(i)})
                       for i, account in enumerate(self.accounts)]
        self.speakers = []

    def speak(self, seconds=SECONDS_ON_AIR, **options):
        self.speakers = [RtpSource(speech(language), port, start_s=20, seconds=seconds, **options) for language, port in self.ports.items()]

    def ssrc(self, index, language):
        return next(s["ssrc"] for s in self.grants[index]["sources"] if s["source"] == language)

    def heard(self, index, language):
        return Recording(self.listeners[index], self.ssrc(index, language))

    def close(self):
        for speaker in self.speakers:
            speaker.stop()
        self.listeners.close()


class Live(EndToEnd):
    def setUp(self):
        super().setUp()
        self.make_key("master.key")

    def daemon(self, binary, store, **sections):
        config = {"store": {"url": store}, "key": {"file": str(self.key)}, "auth": {"required": False}} | sections
        daemon = Daemon(binary, config, folder=self.folder)
        self.addCleanup(daemon.__exit__)
        return daemon

    def room(self, sidecar, name, languages, num_listeners, **stream_format):
        room = LiveRoom(sidecar, name, languages, num_listeners, **stream_format)
        self.addCleanup(room.close)
        return room

    def submit(self, detectd, clip, *options, status=0):
        done = self.run_raw("submit", clip, "--server", detectd.grpc, "--wait", "--json", *options)
        self.assertEqual(done.status, status, done.err)
        return done.json()

    def assert_names(self, report, account):
        self.assert_accuses(report, account)
        self.assertLessEqual(report["accusations"][0]["log10_bound"], math.log10(1e-6))

    def tell_the_story(self, store):
        sidecar, detectd = self.daemon(SIDECAR, store, relay={"name": "test"}), self.daemon(DETECTD, store)
        hall = self.room(sidecar, "hall", ["en"], 200)
        other = self.room(sidecar, "other", ["en"], 3)
        duo = self.room(sidecar, "duo", ["en", "it"], 20)
        for room in (hall, other, duo):
            room.speak()

        # On air: two clips of the same eight seconds, found while the room goes on.
        hall.listeners.wait_for(lambda: hall.listeners[137].count() > 12 * 50, "twelve seconds of sound")
        clip = leak(hall.heard(137, "en").decode(self.path("on_air.wav")), 3, 8, self.path("on_air.mp4"))
        self.assert_names(self.submit(detectd, clip, "--case", "on air"), "hall-137")
        self.assertIsNone(hall.speakers[0].process.poll(), "the room is no longer on air")

        for room in (hall, other, duo):
            for speaker in room.speakers:
                speaker.wait()
        hall.listeners.wait_for(lambda: all(listener.count() > (SECONDS_ON_AIR - 0.5) * 50 for listener in hall.listeners), "everybody's sound")
        for index in range(200):
            recording = hall.heard(index, "en")
            self.assertEqual((recording.num_lost, recording.num_duplicate), (0, 0))
        stats = next(sidecar.watch("Relay", "WatchStats", {"stream_id": "hall"}))
        self.assertEqual((stats["listeners"], stats["send_drops"], stats["reference_packets_dropped"]), (200, "0", "0"))
        for room in (hall, other, duo):
            self.assertEqual(sidecar.post("Relay", "CloseStream", {"stream_id": room.name})["state"], "CLOSED")

        clip = leak(hall.heard(42, "en").decode(self.path("hall.wav")), 10, 8, self.path("clip.mp4"))
        report = self.submit(detectd, clip, "--case", "K-7")
        self.assert_names(report, "hall-042")
        leaks = self.earmark_at(detectd, "leaks", "--account", "hall-042", "--json").json()["leaks"]
        self.assertEqual([(entry["account"], entry["stream_id"], entry["finding_id"]) for entry in leaks], [("hall-042", "hall", str(report["finding"]))])
        self.assertIn("hall-042", self.earmark_at(detectd, "leaks", "--case", "K-7").out)

        # Nobody: the recording itself, and the copy of another room asked for in this one.
        unmarked = leak(speech("en"), 25, 8, self.path("unmarked.mp4"))
        for room in ("hall", "other"):
            report = self.submit(detectd, unmarked, "--stream", room)
            self.assertEqual((report["verdict"], report["accusations"]), ("no_accusation", []))
        elsewhere = leak(other.heard(1, "en").decode(self.path("other.wav")), 10, 8, self.path("other.mp4"))
        report = self.submit(detectd, elsewhere, "--stream", "hall")
        self.assertEqual((report["verdict"], report["accusations"]), ("no_accusation", []))
        self.assert_names(self.submit(detectd, elsewhere), "other-001")

        # Two speakers at once, as a listener's player mixes them.
        both = mix([duo.heard(7, "en"), duo.heard(7, "it")], self.path("both.wav"))
        self.assert_names(self.submit(detectd, leak(both, 8, 8, self.path("both.mp4"))), "duo-007")
        self.assertEqual((sidecar.stop(), detectd.stop()), (0, 0))
        for daemon in (sidecar, detectd):
            self.assertNotRegex(daemon.said(), "hall-|other-0|duo-0", "the log names accounts")

    def earmark_at(self, detectd, *words):
        done = self.run_raw(*words, "--server", detectd.grpc)
        self.assertEqual(done.status, 0, done.err)
        return done

    def test_sqlite(self):
        """a live room with 200 listeners on SQLite: the leaker is named on air and afterwards, and nobody else is"""
        self.tell_the_story(self.store)

    @unittest.skipUnless(SERVER, "run it by tests/support/with_postgres.py")
    def test_postgres(self):
        """the same on PostgreSQL"""
        subprocess.run(["psql", "-q", f"{SERVER}/postgres", "-c", "CREATE DATABASE live"], check=True)
        self.tell_the_story(f"{SERVER}/live")

    def test_killed(self):
        """a sidecar that is killed: the store is whole but for the last seconds, and the room goes on as it was when the sidecar is back"""
        sidecar, detectd = self.daemon(SIDECAR, self.store, relay={"name": "test"}), self.daemon(DETECTD, self.store)
        room = self.room(sidecar, "room", ["en"], 3)
        room.speak(40)
        room.listeners.wait_for(lambda: room.listeners[0].count() > 10 * 50, "ten seconds of sound")
        sidecar.kill()
        killed = time.monotonic()
        before = room.heard(0, "en")
        self.earmark("db", "check")
        sidecar.start()
        room.listeners.wait_for(lambda: room.listeners[0].packets() and room.listeners[0].packets()[-1].arrival_s > killed + 0.5, "sound after the restart")
        self.assertLess(room.listeners[0].packets()[-1].arrival_s - killed, 6)
        self.assertEqual(sidecar.post("Relay", "GetStream", {"stream_id": "room"})["num_grants"], 3)
        # What was heard up to three seconds before the kill can be traced.
        clip = leak(before.decode(self.path("before.wav")), before.num_packets / 50 - 7, 4, self.path("before.mp4"))
        self.assert_names(self.submit(detectd, clip), "room-000")
        came_before = room.listeners[1].count()
        room.listeners.wait_for(lambda: room.listeners[1].count(room.ssrc(1, "en")) > came_before + 9 * 50, "nine seconds of sound after the restart")
        self.assertEqual(room.listeners[1].ssrcs(), [room.ssrc(1, "en")])
        after = room.heard(1, "en").decode(self.path("after.wav"))
        self.assert_names(self.submit(detectd, leak(after, duration_s(after) - 7, 6, self.path("after.mp4"))), "room-001")
        self.assertEqual(sidecar.post("Relay", "CloseStream", {"stream_id": "room"})["state"], "CLOSED")
        self.earmark("db", "check")

    def test_markings(self):
        """rooms that are marked in the source's own packets, of 20 ms and of 10, and one that is encoded again: a leak of five seconds names its listener"""
        sidecar, detectd = self.daemon(SIDECAR, self.store, relay={"name": "test"}), self.daemon(DETECTD, self.store)
        own = [(self.room(sidecar, f"own{frame_ms}", ["en"], 20, marking="IN_PACKET"), frame_ms) for frame_ms in (20, 10)]
        for room, _ in own:
            self.assertEqual(room.stream["format"], {"num_channels": 1, "bitrate_bps": 0, "marking": "IN_PACKET", "strength": 50})
        again = self.room(sidecar, "again", ["en"], 20, marking="REENCODE")
        rooms = [*own, (again, 20)]
        for room, frame_ms in rooms:
            room.speak(15, frame_ms=frame_ms)
        for room, frame_ms in rooms:
            room.speakers[0].wait()
            room.listeners.wait_for(lambda: all(listener.count() > 14.5 * 1000 / frame_ms for listener in room.listeners), "everybody's sound")
            heard = room.heard(4, "en")
            self.assertEqual((heard.num_lost, heard.num_duplicate), (0, 0))
            clip = leak(heard.decode(self.path(f"{room.name}.wav")), 6, 5, self.path(f"{room.name}.mp4"))
            self.assert_names(self.submit(detectd, clip), f"{room.name}-004")
            stats = next(sidecar.watch("Relay", "WatchStats", {"stream_id": room.name}))
            self.assertEqual((stats["send_drops"], stats["reference_packets_dropped"]), ("0", "0"))
            self.assertGreater(int(stats["sources"][0]["slots_marked"]), 10 * 50)  # of packets in one slot, the first alone is moved
            self.assertEqual(sidecar.post("Relay", "CloseStream", {"stream_id": room.name})["state"], "CLOSED")
        report = self.submit(detectd, leak(speech("en"), 25, 8, self.path("unmarked.mp4")))
        self.assertEqual((report["verdict"], report["accusations"]), ("no_accusation", []))

    def test_mistakes(self):
        """earmark-sidecar: what an operator gets wrong is one clear line, and what a caller gets wrong is told by name"""
        sidecar = self.daemon(SIDECAR, self.store)
        settings = {"store.url": f"sqlite:{self.folder}/other.db", "key.file": self.key, "auth.required": "false", "listen.grpc": "127.0.0.1:0", "listen.http": "127.0.0.1:0"}
        for wrong, status, words in [({"media.prot_min": 5000}, 2, ["media.prot_min", "port_min"]), ({"media.port_min": 9, "media.port_max": 8}, 2, ["media.port_min"]),
                                     ({"listen.grpc": sidecar.grpc}, 1, [sidecar.grpc]), ({"listen.http": "192.0.2.1:80"}, 2, ["listen.http", "loopback"]),
                                     ({"media.host": "localhost"}, 2, ["media.host", "localhost"]), ({"key.file": f"{self.folder}/none"}, 2, ["earmark keys create"]),
                                     ({"store.url": "mysql://x"}, 2, ["sqlite:PATH"])]:
            with self.subTest(wrong=wrong):
                options = [word for name, value in (settings | wrong).items() for word in ("--set", f"{name}={value}")]
                done = subprocess.run([SIDECAR, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, env=self.environment())
                self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                for word in words:
                    self.assertIn(str(word), done.stderr)
        sidecar.post("Relay", "OpenStream", {"stream_id": "room", "idempotency_key": "k"})
        self.assertEqual(sidecar.post("Relay", "OpenStream", {"stream_id": "room", "idempotency_key": "k"})["state"], "OPEN")  # the first answer again
        nowhere = {"host": "127.0.0.1", "port": 9}
        for method, body, status, word in [("OpenStream", {"stream_id": "room"}, 409, "room"), ("OpenStream", {"stream_id": "other", "idempotency_key": "k"}, 409, "idempotency_key"),
                                           ("AddSource", {"stream_id": "none", "source": "mic"}, 404, "none"), ("Revoke", {"grant_id": "none"}, 404, "none"),
                                           ("Grant", {"stream_id": "none", "account": "a", "destination": nowhere}, 404, "none"),
                                           ("Grant", {"stream_id": "room", "account": "", "destination": nowhere}, 400, "account"),
                                           ("Grant", {"stream_id": "room", "account": "a", "destination": {"host": "example.org", "port": 9}}, 400, "destination.host"),
                                           ("Grant", {"stream_id": "room", "account": "a", "destination": {}}, 400, "destination.host"), ("Variants", {}, 404, "gRPC"),
                                           ("Choices", {"stream_id": "room", "grant_id": "none"}, 404, "none"), ("GetStream", {"stream_id": "none"}, 404, "none"),
                                           ("OpenStream", {"stream_id": "x", "format": {"bitrate_bps": 32000, "strength": 50}}, 400, "format.strength"),
                                           ("OpenStream", {"stream_id": "x", "format": {"marking": "REENCODE", "strength": 50}}, 400, "format.strength"),
                                           ("OpenStream", {"stream_id": "x", "format": {"marking": "IN_PACKET", "bitrate_bps": 64000}}, 400, "format.bitrate_bps"),
                                           ("OpenStream", {"stream_id": "x", "format": {"marking": "IN_PACKET", "strength": 101}}, 400, "strength"),
                                           ("OpenStream", {"stream_id": "x", "format": {"marking": "IN_PACKET", "strength": 0}}, 400, "strength"),
                                           ("OpenStream", {"stream_id": "x", "format": {"marking": 7}}, 400, "format.marking"),
                                           ("CloseStream", {"stream_id": "none"}, 404, "none"), ("ListStreams", {"page_size": 2000}, 400, "page_size")]:
            with self.subTest(method=method, body=body):
                with self.assertRaises(CallError) as refused:
                    sidecar.post("Relay", method, body)
                self.assertEqual(refused.exception.http_status, status, refused.exception.message)
                self.assertIn(word, refused.exception.message)


if __name__ == "__main__":
    unittest.main(verbosity=2)
