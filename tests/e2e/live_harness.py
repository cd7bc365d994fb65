"""The harness of the live tests, tested by itself: FFmpeg's RTP straight to a listener, and back to sound."""
import shutil
import stat
import tempfile
import textwrap
import unittest
from pathlib import Path

from support import Recordings, read_wav  # first: it says where live_support is
from live_support import CallError, Daemon, Listeners, Recording, RtpSource, duration_s, leak, mix, opus_samples, to_toml


class Harness(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="earmark-harness-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def play(self, listeners, seconds, **options):
        with RtpSource(Recordings.speech(6), listeners[0].port, seconds=seconds, **options) as source:
            source.wait()
        listeners.wait_for(lambda: listeners[0].count() >= seconds * 50, "the last packet")

    def correlation(self, a, b, lag):
        x, y = a[lag:lag + 48000 * 2], b[:48000 * 2]
        return sum(p * q for p, q in zip(x, y)) / (sum(p * p for p in x) * sum(q * q for q in y)) ** 0.5

    def test_sound(self):
        """RTP from FFmpeg, recorded, decoded: every packet, in time, of the right length, and the sound that was sent"""
        with Listeners(2) as listeners:
            self.play(listeners, 3, ssrc=77)
            self.assertEqual((listeners[0].ssrcs(), listeners[1].ssrcs()), ([77], []))
            self.assertGreater(len(listeners[0].rtcp), 0)
            recording = Recording(listeners[0], 77)
        self.assertEqual((recording.num_lost, recording.num_duplicate), (0, 0))
        packets = [packet for _, packet in recording.slots]
        self.assertEqual({(packet.payload_type, opus_samples(packet.payload)) for packet in packets}, {(111, 960)})
        self.assertAlmostEqual(packets[-1].arrival_s - packets[0].arrival_s, 3, delta=0.5)
        wav = recording.decode(self.folder / "heard.wav")
        self.assertAlmostEqual(duration_s(wav), recording.num_packets * 0.02, delta=0.001)
        sent = read_wav(Recordings.converted("speech-48k.wav", "-ar", "48000", "-ac", "1", seconds=6))[1][0]
        heard = read_wav(wav)[1][0]
        self.assertGreater(max(abs(self.correlation(heard, sent, lag)) for lag in (312, 313, 311)), 0.8)
        clip = leak(wav, 0.5, 2, self.folder / "leak.mp4")
        self.assertAlmostEqual(duration_s(clip), 2, delta=0.1)

    def test_gaps(self):
        """missing and repeated packets, and a wrap of both counters: time does not shift"""
        with Listeners(1) as listeners:
            self.play(listeners, 2, ssrc=5, bitrate="32k", application="voip")
            packets = listeners[0].by_ssrc[5]
            first_sequence, first_timestamp = 65500, packets[0].timestamp
            for number, packet in enumerate(packets):
                packet.sequence = (first_sequence + number) & 0xFFFF
                packet.timestamp = (packet.timestamp - first_timestamp + 2**32 - 24000) & 0xFFFFFFFF
            whole = Recording(listeners[0], 5)
            del packets[30:40]
            packets.insert(50, packets[45])
            holed = Recording(listeners[0], 5)
        self.assertEqual((whole.num_lost, holed.num_lost, holed.num_duplicate), (0, 10, 1))
        self.assertEqual(len(whole.opus_packets()), len(holed.opus_packets()))
        self.assertAlmostEqual(duration_s(whole.decode(self.folder / "a.wav")), duration_s(holed.decode(self.folder / "b.wav")), delta=0.001)

    def test_mix(self):
        """two sources of one listener are laid over each other where they were heard"""
        with Listeners(1) as listeners:
            with RtpSource(Recordings.speech(6), listeners[0].port, seconds=3, ssrc=1) as first:
                listeners.wait_for(lambda: listeners[0].count(1) >= 50, "a second of the first source")
                with RtpSource(Recordings.speech(6, seed=2), listeners[0].port, seconds=3, ssrc=2) as second:
                    first.wait()
                    second.wait()
            listeners.wait_for(lambda: listeners[0].count(2) >= 150, "the last packet")
            recordings = [Recording(listeners[0], ssrc) for ssrc in (1, 2)]
        shift_s = recordings[1].start_s - recordings[0].start_s
        self.assertGreater(shift_s, 0.9)
        self.assertAlmostEqual(duration_s(mix(recordings, self.folder / "mix.wav")), shift_s + 3, delta=0.2)

    def program(self, text):
        path = self.folder / "daemon"
        path.write_text("#!/usr/bin/env python3\n" + textwrap.dedent(text))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def test_daemon(self):
        """a daemon is ready when it says so, answers, refuses, and ends by SIGTERM"""
        program = self.program("""
            import http.server, json, signal, sys
            class Handler(http.server.BaseHTTPRequestHandler):
                def do_POST(self):
                    body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                    known = self.path == "/v1/Relay/Grant"
                    data = json.dumps({"got": body} if known else {"code": 5, "message": "no such stream"}).encode()
                    self.send_response(200 if known else 404)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
            server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
            print(f"ready grpc=127.0.0.1:1 http=127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()
        """)
        with Daemon(program, {"store": {"url": "sqlite:x"}, "auth": {"required": False}}, self.folder) as daemon:
            self.assertEqual(daemon.post("Relay", "Grant", {"account": "alice"}), {"got": {"account": "alice"}})
            with self.assertRaises(CallError) as refused:
                daemon.post("Relay", "Revoke")
            self.assertEqual((refused.exception.http_status, refused.exception.code, refused.exception.message), (404, 5, "no such stream"))
            self.assertEqual(daemon.stop(), 3)
        self.assertEqual(to_toml({"auth": {"required": False}, "media": {"port_min": 1}}), '[auth]\nrequired = false\n[media]\nport_min = 1\n')

    def test_daemon_that_fails(self):
        """a daemon that ends instead is reported with its log"""
        with self.assertRaisesRegex(RuntimeError, "status 2(.|\n)*no key here"):
            Daemon(self.program("import sys\nprint('no key here', file=sys.stderr)\nsys.exit(2)\n"), {}, self.folder)


if __name__ == "__main__":
    unittest.main()
