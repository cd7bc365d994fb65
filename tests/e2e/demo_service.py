"""tools/demo --service: the story itself, that it tells when something is wrong, and that nothing of it stays behind."""
import os
import shlex
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from support import BINARY, DEMOS, Demo

ROOT = Path(__file__).resolve().parents[2]
DAEMON = Path(os.environ.get("EARMARK_DETECTD", ROOT / "build/release/services/detectd/earmark-detectd")).resolve()
NUM_JUDGED = 9


class DemoService(Demo):
    demo = "service_demo.py"

    def play(self, *words, **programs):
        return super().play(*words, **({"EARMARK_BIN": str(BINARY), "EARMARK_DETECTD": str(DAEMON)} | programs))

    def play_wrong(self, **programs):
        """What is said with programs that are not right, to the end of the story."""
        process = self.play("--listeners", "20", **programs)
        out, err = process.communicate(timeout=300)
        self.assertEqual((process.returncode, err), (1, ""), out)
        self.assertNotIn("All right", out)
        self.assert_nothing_stays()
        return out

    def program(self, name, *lines):
        """One that stands in for another, which it calls."""
        path = self.path(name)
        path.write_text("\n".join(["#!/bin/bash", *lines]) + "\n")
        path.chmod(0o755)
        return str(path)

    def assert_wrong(self, out, *headings):
        """Just the steps with these headings came out wrong."""
        steps = [step.splitlines() for step in out.split("\n\n")]
        wrong = [step[0] for step in steps if "   wrong" in step]
        self.assertEqual(len(wrong), len(headings), out)
        for heading, wanted in zip(wrong, headings):
            self.assertIn(wanted, heading)
        self.assertEqual(out.count("\n   right\n"), NUM_JUDGED - len(headings), out)
        self.assertIn(f"Not right: {len(headings)} step{'s' if len(headings) > 1 else ''} came out wrong.", out)

    def test_story(self):
        """demo --service: the leaker is named twice, nobody innocent is, what cannot be read has its reason, and nothing stays behind"""
        process = self.play("--listeners", "300")
        out, err = process.communicate(timeout=300)
        self.assertEqual((process.returncode, err), (0, ""), out)
        self.assertEqual((out.count("\n   right\n"), out.count("wrong")), (NUM_JUDGED, 0), out)
        self.assertEqual((out.count("Named: listener-"), out.count("any innocent of 300 listeners"), out.count("Nobody is named.")), (2, 2, 1), out)
        self.assertEqual((out.count("unreadable: "), out.count("moov"), out.count("no audio or video format")), (2, 1, 1), out)
        self.assertEqual((out.count("wanted one, as"), out.count("with no token: 401"), out.count("with kim's token: 403")), (2, 1, 1), out)
        self.assertIn(": DONE, done\n", out)
        self.assertIn("3 scans compared anybody's code", out)
        self.assertIn("at most 3e-06.", out)
        self.assertNotIn("\033", out)
        self.assertNotIn("earmark_", out)  # as tokens begin
        self.assert_nothing_stays()

    def test_somebody_else_is_named(self):
        """demo --service with a program that gives the copy to another account: that he is named, and kept, is wrong"""
        # The last of the 20 gets the first one's copy, and everybody else the last one's.
        mixing = self.program("mixing", 'words=()', 'for word in "$@"; do', '  if [ "${last:-}" = --for ]; then',
                              '    if [ "$word" = listener-20 ]; then word=listener-01; else word=listener-20; fi', '  fi', '  last=$word words+=("$word")', 'done',
                              f'exec {shlex.quote(str(BINARY))} "${{words[@]}}"')
        out = self.play_wrong(EARMARK_BIN=mixing)
        self.assert_wrong(out, "Who was it?", "over HTTP", "Kept for whoever asks")
        self.assertEqual(out.count("It was listener-"), 2, out)

    def test_unmarked_is_marked(self):
        """demo --service with a program that marks what should not be: that somebody is named is wrong"""
        marking = self.program("marking", 'for word in "$@"; do', '  case $word in', '    */plain.opus) folder=${word%/plain.opus} ;;',
                               '  esac', 'done', 'if [ -n "${folder:-}" ]; then exec cp "$folder/copy.opus" "$folder/plain.opus"; fi',
                               f'exec {shlex.quote(str(BINARY))} "$@"')
        self.assert_wrong(self.play_wrong(EARMARK_BIN=marking), "without a mark")

    def test_no_tokens_asked_for(self):
        """demo --service with a service that asks for no tokens: wrong, as it answers whoever asks"""
        open_to_all = self.program("open", f'exec {shlex.quote(str(DAEMON))} "$@" --set auth.required=false')
        out = self.play_wrong(EARMARK_DETECTD=open_to_all)
        self.assertIn("with no token: answered", out)
        self.assertRegex(out, r"no token is told nothing[^\n]*\n(   [^\n]*\n)*   wrong\n")

    def test_bad_end(self):
        """demo --service with a service that ends with another status: wrong"""
        ending = self.program("ending", "trap 'kill $child' TERM", f'{shlex.quote(str(DAEMON))} "$@" &', "child=$!", "wait $child", "wait $child", "exit 3")
        out = self.play_wrong(EARMARK_DETECTD=ending)
        self.assert_wrong(out, "The service stops")
        self.assertIn("exit status 3", out)

    def test_no_service(self):
        """demo --service with a service that does not start, a command that fails, or a store that is not there: a line that says so"""
        for words, programs, told in (((), {"EARMARK_DETECTD": "/bin/false"}, "false: ended with status 1"), ((), {"EARMARK_BIN": "/bin/false"}, "ended with status 1"),
                                      ((), {"EARMARK_BIN": str(self.path("missing"))}, "missing"),
                                      (("--store", "postgresql://nobody:hidden@127.0.0.1:1/nothing"), {}, "127.0.0.1")):
            with self.subTest(told=told):
                process = self.play("--listeners", "3", *words, **programs)
                out, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 1, out)
                self.assertTrue(err.startswith("demo: "), err)
                self.assertIn(told, err)
                self.assertNotIn("Traceback", err)
                self.assertNotIn("hidden", out + err)
                self.assert_nothing_stays()

    def test_interrupted(self):
        """demo --service, Ctrl-C before and while clips are scanned: service and files are gone"""
        for heading in ("1. ", "2. ", "5. "):
            with self.subTest(heading=heading):
                process = self.play("--listeners", "20")
                for line in process.stdout:
                    if line.startswith(heading):
                        break
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=60)
                self.assertEqual((process.returncode, err), (130, ""))
                self.assert_nothing_stays()

    def test_interrupted_at_a_start(self):
        """an interruption that comes while a program is being started waits until it is known, and then ends it"""
        script = ("import os, signal, subprocess\n"
                  "import children\n"
                  "signal.signal(signal.SIGINT, children.interrupted)\n"
                  "popen = subprocess.Popen\n"
                  "def interrupted(*words, **options):\n"
                  "    child = popen(*words, **options)\n"
                  "    print(child.pid, flush=True)\n"
                  "    os.kill(os.getpid(), signal.SIGINT)\n"
                  "    return child\n"
                  "subprocess.Popen = interrupted\n"
                  "try:\n"
                  "    children.start(['cat'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)\n"
                  "    print('went on')\n"
                  "finally:\n"
                  "    children.end_all()\n"
                  "    print([child.returncode for child in children._started])\n")
        done = subprocess.run([sys.executable, "-B", "-c", script], env=os.environ | {"PYTHONPATH": str(DEMOS)}, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (130, ""))
        self.assertEqual(done.stdout.split("\n", 1)[1], "[-9]\n")

    def test_wrong_options(self):
        """demo --service says what it wants, and its help tells of every option"""
        for words, told in ((["--listeners", "0"], "wanted 1 to 100000, got 0"), (["--audio", DEMOS / self.demo], "cannot be read"), (["--listener", "3"], "--listener")):
            process = self.play(*map(str, words))
            out, err = process.communicate(timeout=60)
            self.assertEqual((process.returncode, out), (2, ""), err)
            self.assertIn(told, err)
        out, _ = self.play("--help").communicate(timeout=60)
        for option in ("--listeners N", "--store URL", "--audio FILE"):
            self.assertIn(option, out)


if __name__ == "__main__":
    unittest.main(verbosity=2)
