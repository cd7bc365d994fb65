"""tools/demo --live, with few listeners: the story itself, and that nothing of it stays behind."""
import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from support import EndToEnd

DEMO = Path(__file__).resolve().parents[2] / "tools/livekit/demo.py"


class DemoLive(EndToEnd):
    def setUp(self):
        super().setUp()
        self.temporary = self.path("tmp")
        self.temporary.mkdir()

    def play(self, *words):
        process = subprocess.Popen([sys.executable, "-B", DEMO, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=os.environ | {"TMPDIR": str(self.temporary)}, cwd=self.folder)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def assert_nothing_stays(self):
        self.assertEqual(list(self.temporary.iterdir()), [])
        running = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                running.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                pass
        self.assertEqual([words for words in running if str(self.temporary) in words], [])

    def test_story(self):
        """demo --live: the leaker is named on air, nobody innocent is, every packet came, and nothing stays behind"""
        process = self.play("--listeners", "20")
        out, err = process.communicate(timeout=300)
        self.assertEqual((process.returncode, err), (0, ""), out)
        self.assertEqual((out.count("\n   right\n"), out.count("wrong")), (7, 0), out)
        self.assertEqual((out.count("Named: listener-"), out.count("Named: guest-002"), out.count("Nobody is named.")), (1, 1, 2), out)
        self.assertIn("0 were dropped", out)
        self.assertNotIn("\033", out)
        self.assert_nothing_stays()

    def test_interrupted(self):
        """demo --live, Ctrl-C while on air: services, speakers and files are gone"""
        process = self.play("--listeners", "3")
        for line in process.stdout:
            if "packets have come" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, err), (130, ""))
        self.assert_nothing_stays()

    def test_bad_store(self):
        """demo --live on a store that is not there: a line that says so"""
        process = self.play("--listeners", "3", "--store", "postgresql://nobody:hidden@127.0.0.1:1/nothing")
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, out)
        self.assertIn("earmark-sidecar", err)
        self.assertNotIn("hidden", out + err)
        self.assert_nothing_stays()


if __name__ == "__main__":
    unittest.main(verbosity=2)
