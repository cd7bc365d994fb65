"""The README's quick start for investigators and its live room, run as they stand: only ports, the programs' folder, the recording and the database are the
test's own."""
import json
import os
import re
import shutil
import socket
import subprocess
import unittest
from pathlib import Path
from urllib.parse import urlsplit

from support import BINARY, EndToEnd, Recordings

ROOT = Path(__file__).resolve().parents[2]
DAEMON = Path(os.environ.get("EARMARK_DETECTD", ROOT / "build/release/services/detectd/earmark-detectd")).resolve()
SIDECAR = Path(os.environ.get("EARMARK_SIDECAR", ROOT / "build/release/services/sidecar/earmark-sidecar")).resolve()
SERVER = os.environ.get("EARMARK_TEST_POSTGRES", "")


def section(title):
    text = (ROOT / "README.md").read_text()
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def commands(text):
    return "\n".join(re.findall(r"```bash\n(.*?)```", text, re.S))


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Readme(EndToEnd):
    def setUp(self):
        super().setUp()
        shutil.copy(Recordings.speech(20), self.path("talk.wav"))
        self.grpc, self.http, self.grpc_2, self.http_2 = free_ports(4)

    def script(self, text):
        """The commands with what is the test's own put in."""
        for port, own in ((7420, self.grpc), (7421, self.http), (7430, self.grpc_2), (7431, self.http_2)):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{own}")
        text = text.replace("export PATH=$PWD/build/release/tools/earmark:$PWD/build/release/services/detectd:$PATH", f"export PATH={BINARY.parent}:{DAEMON.parent}:$PATH")
        return text.replace("createdb earmark", f"psql -q {SERVER}/postgres -c 'CREATE DATABASE readme'").replace("postgresql:///earmark", f"{SERVER}/readme")

    def run_commands(self, text, **environment):
        done = subprocess.run(["bash", "-eu", "-c", text], cwd=self.folder, env=self.environment() | environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_quick_start(self):
        """the commands run, in their order, and every call answers what the text says"""
        text = section("Five minutes as an investigator")
        sqlite, postgres = text.split("**On PostgreSQL")
        out = self.run_commands("set -o pipefail\n" + self.script(commands(sqlite) + ("\n" + commands(postgres) if SERVER else "")),
                                EARMARK_LISTEN_GRPC=f"127.0.0.1:{self.grpc}", EARMARK_LISTEN_HTTP=f"127.0.0.1:{self.http}")
        self.assertIn("accused alice, stream town-hall", out)
        lines = [json.loads(line) for line in out.splitlines() if line.startswith(("{", "["))]
        stages = [line["stage"] for line in lines if "stage" in line]
        self.assertEqual(stages[-1], "done")
        for wanted in ({"state": "DONE", "verdict": "accused", "accounts": ["alice"]}, {"state": "DONE"}, [{"account": "alice", "stream_id": "town-hall", "finding_id": "1"}],
                       [{"account": "alice", "streams": "1"}], {"streams": "0", "clips": "0"},
                       {"name": "relay-1", "revoked": True},
                       [{"name": "ops", "role": "ADMIN"}, {"name": "kim", "role": "INVESTIGATOR"}, {"name": "relay-1", "role": "RELAY"}],
                       {"call": "Detection.QueryLeaks", "subject": 'account: "alice"', "reason": "case 2026-17"}):
            self.assertIn(wanted, lines)
        findings, = [line for line in lines if isinstance(line, list) and line and "verdict" in line[0]]
        self.assertEqual([(f["name"], f["verdict"]) for f in findings], [("clip.mp4", "accused")] * 2)
        spent, = [line for line in lines if "alpha" in line]
        self.assertEqual((spent["alpha"], spent["scans"]), (2e-6, "2"))
        if SERVER:
            self.assertIn("accused bob, stream town-hall", out)
            self.assertNotIn(urlsplit(SERVER).password, out)

    def test_relay(self):
        """a room is opened, heard, ended and leaked, by the commands of the text; FFmpeg is speaker and listener"""
        shutil.copy(Recordings.speech(50), self.path("talk.wav"))
        rtp, listener = free_ports(2)
        text = commands(section("Run it beside your relay"))
        for written, own in (("export PATH=$PWD/build/release/tools/earmark:$PWD/build/release/services/sidecar:$PWD/build/release/services/detectd:$PATH",
                              f"export PATH={BINARY.parent}:{SIDECAR.parent}:{DAEMON.parent}:$PATH"),
                             ("[media]\nport_min = 40000          # sources' RTP\nport_max = 40099\n",
                              f'[media]\nport_min = {rtp}\nport_max = {rtp}\n[listen]\ngrpc = "127.0.0.1:{self.grpc}"\nhttp = "127.0.0.1:{self.http}"\n'),
                             ('cp "../$(../tools/speech)" talk.wav', "cp ../talk.wav talk.wav"), ("127.0.0.1:40000", f"127.0.0.1:{rtp}"),
                             ("m=audio 5004", f"m=audio {listener}"), ('"port": 5004', f'"port": {listener}'), ("call 7421/", f"call {self.http}/"),
                             ("call 7431/", f"call {self.http_2}/")):
            self.assertIn(written, text)
            text = text.replace(written, own)
        for port, own in ((7430, self.grpc_2), (7431, self.http_2)):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{own}")
        out = self.run_commands(text)
        self.assertIn("accused alice, stream town-hall", out)
        answers = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        self.assertEqual([answer["state"] for answer in answers if "retention_days" in answer], ["OPEN", "CLOSED"])
        self.assertIn({"rtp_host": "127.0.0.1", "rtp_port": rtp}, answers)
        stats, = [answer for answer in answers if "packets_sent" in answer]
        self.assertGreater(int(stats["packets_sent"]), 600)
        self.assertEqual([answer["verdict"] for answer in answers if "verdict" in answer], ["accused"])
        leaks, = [answer for answer in answers if "leaks" in answer]
        self.assertEqual([(leak["account"], leak["stream_id"]) for leak in leaks["leaks"]], [("alice", "town-hall")])
        self.assertEqual([(of["account"], of["streams"]) for of in leaks["accounts"]], [("alice", "1")])


if __name__ == "__main__":
    unittest.main()
