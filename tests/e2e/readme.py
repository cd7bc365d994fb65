"""The README's quick start for investigators, run as it stands: only ports, the programs' folder and the database are the test's own."""
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

    def run_commands(self, text):
        environment = self.environment() | {"EARMARK_LISTEN_GRPC": f"127.0.0.1:{self.grpc}", "EARMARK_LISTEN_HTTP": f"127.0.0.1:{self.http}"}
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", self.script(text)], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_quick_start(self):
        """the commands run, in their order, and every call answers what the text says"""
        text = section("Five minutes as an investigator")
        sqlite, postgres = text.split("**On PostgreSQL")
        out = self.run_commands(commands(sqlite) + ("\n" + commands(postgres) if SERVER else ""))
        self.assertIn("accused alice, stream town-hall", out)
        lines = [json.loads(line) for line in out.splitlines() if line.startswith(("{", "["))]
        stages = [line["stage"] for line in lines if "stage" in line]
        self.assertEqual(stages[-1], "done")
        for wanted in ({"state": "DONE", "verdict": "accused", "accounts": ["alice"]}, {"state": "DONE"}, [{"account": "alice", "stream_id": "town-hall", "finding_id": "1"}],
                       [{"account": "alice", "streams": "1"}], {"streams": "0", "clips": "0"},
                       [{"name": "ops", "role": "ADMIN"}, {"name": "kim", "role": "INVESTIGATOR"}],
                       {"call": "Detection.QueryLeaks", "subject": 'account: "alice"', "reason": "case 2026-17"}):
            self.assertIn(wanted, lines)
        findings, = [line for line in lines if isinstance(line, list) and line and "verdict" in line[0]]
        self.assertEqual([(f["name"], f["verdict"]) for f in findings], [("clip.mp4", "accused")] * 2)
        spent, = [line for line in lines if "alpha" in line]
        self.assertEqual((spent["alpha"], spent["scans"]), (2e-6, "2"))
        if SERVER:
            self.assertIn("accused bob, stream town-hall", out)
            self.assertNotIn(urlsplit(SERVER).password, out)


if __name__ == "__main__":
    unittest.main()
