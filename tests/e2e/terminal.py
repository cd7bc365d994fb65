"""Colours and progress: on a terminal, and nowhere else."""
import os
import pty
import re
import subprocess
import unittest

from support import EndToEnd, Recordings, ffmpeg

ESCAPE = "\033"


class Terminal(EndToEnd):
    def long_recording(self):
        source = Recordings.path("minutes.wav")
        if not source.exists():
            ffmpeg("-stream_loop", "29", "-i", Recordings.speech(20), source)
        return source

    def mark_words(self, source):
        return ["mark", source, "--stream", "room", "--listeners", self.listeners, "--for", "alice", "--out", self.path("out.opus")]

    def run_on_terminal(self, *words, both=False, **environment):
        """(status, what the terminal showed): stderr is a terminal, stdout too if `both`."""
        terminal, inside = pty.openpty()
        process = subprocess.Popen(self.command(*words), stdin=inside, stdout=inside if both else subprocess.DEVNULL, stderr=inside,
                                   env=self.environment() | environment)
        os.close(inside)
        shown = b""
        while True:
            try:
                piece = os.read(terminal, 65536)
            except OSError:                     # how Linux says that the other side is closed
                break
            if not piece:
                break
            shown += piece
        os.close(terminal)
        return process.wait(), shown.decode()

    def test_progress_on_a_terminal(self):
        """mark: work of over 2 s shows a bar that moves, with the time left, and is wiped away"""
        status, shown = self.run_on_terminal(*self.mark_words(self.long_recording()))
        self.assertEqual(status, 0)
        shares = [int(share) for share in re.findall(r"marking +\[[# ]{30}\] +(\d+) %", shown)]
        self.assertGreater(len(set(shares)), 3, shown)
        self.assertEqual(shares, sorted(shares))
        self.assertRegex(shown, r"\d+ s left")
        self.assertTrue(shown.endswith("\r\033[K"), repr(shown[-80:]))

    def test_no_progress_for_short_work(self):
        """mark: quick work shows nothing"""
        self.make_key("master.key")
        self.assertEqual(self.run_on_terminal(*self.mark_words(Recordings.speech(3))), (0, ""))

    def test_no_progress_elsewhere(self):
        """mark: nothing on stderr, and no control sequences, when it is no terminal"""
        self.make_key("master.key")
        done = self.earmark(*self.mark_words(self.long_recording()))
        self.assertEqual(done.err, "")
        self.assertNotIn(ESCAPE, done.out)
        self.assertNotIn("\r", done.out)

    def test_colours(self):
        """scan: colours on a terminal; none in a pipe, with NO_COLOR, or in JSON"""
        copy = self.mark(Recordings.speech(6), "alice", "alice.opus")
        status, shown = self.run_on_terminal("scan", copy, both=True)
        self.assertEqual(status, 0)
        self.assertIn("\033[1;31maccused\033[0m", shown)
        colour = r"\x1b\[[0-9;]*m"  # a busy machine's progress bar is another sequence
        self.assertNotRegex(self.run_on_terminal("scan", copy, both=True, NO_COLOR="1")[1], colour)
        self.assertNotRegex(self.run_on_terminal("scan", copy, "--json", both=True)[1], colour)
        done = self.earmark("scan", copy)
        self.assertNotIn(ESCAPE, done.out + done.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
