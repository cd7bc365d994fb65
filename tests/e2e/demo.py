"""The demo, on something like speech."""
import os
import tempfile
import unittest

from support import EndToEnd, Recordings


class Demo(EndToEnd):
    def test_story(self):
        """demo: the leaker is named, nobody else ever, and nothing stays behind"""
        temporary = self.path("tmp")
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        self.addCleanup(os.environ.pop, "TMPDIR")
        done = self.run_raw("demo", "--audio", Recordings.speech(60), "--listeners", "10000")
        self.assertEqual((done.status, done.err), (0, ""), done.out)
        self.assertEqual(done.out.count("\n   right\n"), 4)
        self.assertEqual(done.out.count("Named: listener-"), 1)
        self.assertNotIn("\033", done.out)
        self.assertEqual(list(temporary.iterdir()), [])
        self.assertFalse(self.path("home").exists())

    def test_json(self):
        """demo --json, --work-dir: one object, and the files are kept"""
        work = self.path("work")
        story = self.run_raw("demo", "--audio", Recordings.speech(60), "--listeners", "50", "--work-dir", work, "--json").json()
        self.assertTrue(story["all_right"])
        self.assertEqual(story["leaked_copy"]["report"]["accusations"][0]["account"], story["leak"]["account"])
        for name in ("unmarked_audio", "wrong_key", "other_room"):
            self.assertEqual((story[name]["right"], story[name]["report"]["accusations"]), (True, []))
        for name in ("leak.mp4", "copy.opus", "store.db", "store.key"):
            self.assertTrue((work / name).exists(), name)

    def environment(self):
        return super().environment() | {"TMPDIR": os.environ.get("TMPDIR", tempfile.gettempdir())}


if __name__ == "__main__":
    unittest.main(verbosity=2)
