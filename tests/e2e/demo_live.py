"""tools/demo --live, with few listeners: the story itself, and that nothing of it stays behind."""
import signal
import unittest

from support import Demo


class DemoLive(Demo):
    demo = "demo.py"

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
