"""streams, accounts, findings, keys, completion, help: what they print, for people and as JSON."""
import contextlib
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import time
import unittest
from unittest import mock

from support import BINARY, EndToEnd, Recordings

COMMANDS = ("demo", "mark", "grant", "revoke", "scan", "submit", "leaks", "token", "streams", "accounts", "findings", "keys", "db", "completion")


class Listings(EndToEnd):
    def test_streams(self):
        """streams: text, JSON, and removing one"""
        self.mark(Recordings.speech(6), "alice", "alice.opus", stream="one")
        self.earmark("grant", "one", "alice")  # whom it has already
        self.listeners.write_text(self.listeners.read_text() + "carol\n")
        self.mark(Recordings.speech(6, seed=2), "alice", "two.wav", "--codec", "none", "--variants", "2", stream="two")
        one, two = self.earmark("streams", "--json").json()
        self.assertEqual((one["stream"], one["state"], one["variants"], one["channels"], one["bitrate_bps"], one["strength"]), ("one", "complete", 4, 1, 32000, 50))
        self.assertEqual((two["stream"], two["variants"]), ("two", 2))
        self.assertEqual((one["listeners"], two["listeners"]), (100, 101))
        self.assertAlmostEqual(one["seconds"], 6, delta=0.2)
        self.assertRegex(one["created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertRegex(one["key_id"], r"^[0-9a-f]{16}$")
        lines = self.earmark("streams").out.splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["one", "two"])
        self.assertIn("100 listeners,", lines[0])
        self.earmark("revoke", "one", "alice", "bob")
        self.assertEqual([(s["listeners"], s["revoked"]) for s in self.earmark("streams", "--json").json()], [(100, 2), (101, 0)])
        self.assertIn("100 listeners (2 revoked),", self.earmark("streams").out)
        self.assertEqual(self.earmark("streams", "remove", "one", "--yes", "--json").json(), {"removed": "one"})
        self.assertIn("two", self.earmark("streams", "remove", "two", "--yes").out)
        self.assertEqual(self.earmark("streams", "--json").json(), [])
        self.assertIn("no streams", self.earmark("streams").out)

    def test_accounts(self):
        """accounts: everybody with a grant, or one stream's; grants and accusing clips counted"""
        self.mark(Recordings.speech(6), "alice", "alice.opus", stream="one")
        self.listeners.write_text("# staff\nalice\n\ncarol \r\nalice\n")
        self.mark(Recordings.speech(6, seed=2), "carol", "carol.opus", stream="two")
        for _ in range(2):  # the same clip again accuses nobody more
            self.scan(self.path("alice.opus"))
        accounts = {a["account"]: (a["grants"], a["accusations"]) for a in self.earmark("accounts", "--json").json()}
        self.assertEqual(len(accounts), 101)
        self.assertEqual([accounts[name] for name in ("alice", "bob", "carol")], [(2, 1), (1, 0), (1, 0)])
        two = self.earmark("accounts", "--stream", "two", "--json").json()
        self.assertEqual([a["account"] for a in two], ["alice", "carol"])
        self.assertEqual(len(self.earmark("accounts").out.splitlines()), 101)

    def test_findings(self):
        """findings: every scan is kept with its report, the newest first; by account, stream and verdict"""
        copy = self.mark(Recordings.speech(6), "alice", "alice.opus")
        report = self.scan(copy)
        self.scan(Recordings.speech(6, seed=9))
        findings = self.earmark("findings", "--json").json()
        self.assertEqual([f["report"]["verdict"] for f in findings], ["unknown_audio", "accused"])
        self.assertEqual(findings[1]["report"], report)
        self.assertTrue(findings[1]["clip"].endswith("alice.opus"))
        self.assertRegex(findings[1]["sha256"], r"^[0-9a-f]{64}$")
        self.assertGreater(findings[0]["id"], findings[1]["id"])
        for options, count in ((["--account", "alice"], 1), (["--account", "bob"], 0), (["--stream", "room"], 1), (["--verdict", "unknown_audio"], 1),
                               (["--verdict", "no_accusation"], 0), (["--limit", "1"], 1)):
            self.assertEqual(len(self.earmark("findings", "--json", *options).json()), count, options)
        text = self.earmark("findings").out
        self.assertIn("alice in room", text)
        self.earmark("streams", "remove", "room", "--yes")
        self.assertEqual(len(self.earmark("findings", "--json").json()), 2)

    def test_findings_page_by_page(self):
        """findings: those beyond the limit are announced, and --after shows them; --since leaves out what is older"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        day_us = 86400 * 10**6
        with contextlib.closing(sqlite3.connect(self.path("store.db"))) as store, store:
            store.executemany("INSERT INTO findings (id, created_unix_us, clip_name, clip_sha256, verdict, report_json) VALUES (?, ?, 'clip', '', 'unknown_audio', '{}')",
                              [(number, time.time_ns() // 1000 - (1501 - number) * day_us) for number in range(1, 1502)])

        def page(*options):
            done = self.earmark("findings", "--json", *options)
            return [f["id"] for f in done.json()], done.err

        self.assertEqual(page()[0], list(range(1501, 1401, -1)))
        ids, said = page("--limit", "1000")
        self.assertEqual(ids, list(range(1501, 501, -1)))
        self.assertEqual(said.count("\n"), 1)
        self.assertIn("--after 502", said)
        self.assertEqual(page("--limit", "501", "--after", "502"), (list(range(501, 0, -1)), ""))
        self.assertEqual(page("--limit", "2", "--after", "3"), ([2, 1], ""))
        self.assertEqual(page("--after", "1"), ([], ""))
        self.assert_refused(self.run_raw("findings", "--after", "999999", "--store", self.store), "999999")
        for after in ("0", "-3", "x"):
            self.assert_refused(self.run_raw("findings", "--after", after), "--after")
        self.assertEqual(page("--since", "36h"), ([1501, 1500], ""))
        an_hour_ago = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
        self.assertEqual(page("--since", an_hour_ago), ([1501], ""))
        self.assertIn("--after 1500", self.earmark("findings", "--limit", "2").err)

    def test_keys(self):
        """keys: create makes a private file; its id is shown, its secret never"""
        created = self.earmark("keys", "create", "--json").json()
        self.assertEqual(stat.S_IMODE(self.key.stat().st_mode), 0o600)
        shown = self.earmark("keys", "--json").json()
        self.assertEqual(created, shown)
        self.assertRegex(shown["key_id"], r"^[0-9a-f]{16}$")
        text = self.earmark("keys").out
        self.assertIn(shown["key_id"], text)
        self.assertNotIn(self.key.read_text().split()[1][:16], text + str(shown))

    def test_private_files(self):
        """mark: store and key can be read by their owner alone"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        for name in ("store.db", "master.key"):
            self.assertEqual(stat.S_IMODE(self.path(name).stat().st_mode) & 0o077, 0, name)

    def test_default_places(self):
        """without --store and --key: $EARMARK_STORE and $EARMARK_KEY, else the XDG data folder"""
        words = ["mark", Recordings.speech(6), "--stream", "room", "--listeners", self.listeners, "--for", "alice", "--out", self.path("a.opus")]
        run = lambda **more: subprocess.run(self.command(*words, keyed=False), env=self.environment() | more, capture_output=True, check=True)
        run()
        self.assertTrue(self.path("home/.local/share/earmark/store.db").exists() and self.path("home/.local/share/earmark/master.key").exists())
        run(XDG_DATA_HOME=str(self.path("xdg")))
        self.assertTrue(self.path("xdg/earmark/store.db").exists() and self.path("xdg/earmark/master.key").exists())
        run(EARMARK_STORE=f"sqlite:{self.path('my.db')}", EARMARK_KEY=str(self.path("my.key")))
        self.assertTrue(self.path("my.db").exists() and self.path("my.key").exists())

    def test_without_home(self):
        """without HOME and XDG_DATA_HOME nothing is made in the current folder: status 2, and how to name the place"""
        mark = ["mark", Recordings.speech(6), "--stream", "room", "--listeners", self.listeners, "--for", "alice", "--out", self.path("a.opus")]
        for home in ({}, {"HOME": ""}, {"HOME": "home", "XDG_DATA_HOME": "xdg"}):
            environment = {name: value for name, value in self.environment().items() if name != "HOME"} | home
            for words, option in ((mark, "--store"), ([*mark, "--store", self.store], "--key"), (["keys", "create"], "--key"), (["streams"], "--store"), (["db", "migrate"], "--store")):
                with self.subTest(words=words, home=home):
                    before = self.files()
                    done = subprocess.run(self.command(*words, keyed=False), stdin=subprocess.DEVNULL, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
                    self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), done.stderr)
                    self.assertIn("HOME", done.stderr)
                    self.assertIn(option, done.stderr)
                    self.assertEqual(self.files(), before)

    def test_first_key_is_announced(self):
        """mark, keys create: a key that is made is announced with its place; one that is there is not"""
        done = self.earmark("mark", Recordings.speech(6), "--stream", "room", "--listeners", self.listeners, "--for", "alice", "--out", self.path("a.opus"))
        self.assertEqual(done.err.count("\n"), 1)
        self.assertIn("back it up", done.err)
        self.assertIn(str(self.key), done.err)
        again = self.earmark("mark", Recordings.speech(6), "--stream", "room", "--listeners", self.listeners, "--for", "bob", "--out", self.path("b.opus"))
        self.assertEqual(again.err, "")
        self.assertIn("back it up", self.run_raw("keys", "create", "--key", self.path("other.key")).err)

    def test_mark_json(self):
        """mark --json: one object"""
        first = self.earmark("mark", Recordings.speech(6), "--stream", "room", "--listeners", self.listeners, "--for", "alice", "--out", self.path("a.opus"), "--json").json()
        self.assertEqual((first["stream"], first["account"], first["registered"], first["plain"]), ("room", "alice", True, False))
        again = self.earmark("mark", Recordings.speech(6), "--stream", "room", "--listeners", self.listeners, "--for", "bob", "--out", self.path("b.opus"), "--json").json()
        self.assertFalse(again["registered"])
        self.assertTrue(self.earmark("mark", Recordings.speech(6), "--plain", "--out", self.path("p.opus"), "--json").json()["plain"])

    def test_names_that_are_not_utf8(self):
        """mark, scan, findings, keys: files whose names are not UTF-8 give JSON with replacement characters"""
        strange = os.fsencode(self.folder) + b"/talk-\xff\xe9"
        shutil.copy(Recordings.speech(6), strange + b".wav")

        def run(*words):
            done = subprocess.run([os.fsencode(word) for word in (BINARY, *words)], stdin=subprocess.DEVNULL, capture_output=True, env=self.environment(), timeout=120, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(done.stdout.decode("utf-8"))  # strict

        places = ["--store", self.store, "--key", os.fsdecode(strange + b".key")]
        marked = run("mark", strange + b".wav", "--stream", "room", "--listeners", self.listeners, "--for", "alice", "--out", strange + b".opus", "--json", *places)
        self.assertIn("talk-\ufffd\ufffd.opus", marked["out"])
        self.assert_accuses(run("scan", strange + b".opus", "--json", *places), "alice")
        self.assertIn("talk-\ufffd\ufffd.opus", run("findings", "--json", "--store", self.store)[0]["clip"])
        self.assertIn("talk-\ufffd\ufffd.key", run("keys", "--json", *places[2:])["file"])
        self.assertEqual(run("leaks", "--json", "--store", self.store)["leaks"][0]["account"], "alice")

    def test_help(self):
        """--help of every command: status 0, on stdout, with an example; --version"""
        for words in ([], *([name] for name in COMMANDS), ["streams", "remove"], ["keys", "create"], ["db", "migrate"], ["db", "check"]):
            with self.subTest(words=words):
                done = self.run_raw(*words, "--help")
                self.assertEqual((done.status, done.err), (0, ""))
                self.assertIn("Usage:", done.out)
                if len(words) < 2:
                    self.assertRegex(done.out, r"Examples?:")
        for name in COMMANDS:
            self.assertIn(name, self.run_raw("--help").out)
        self.assertRegex(self.run_raw("--version").out, r"^earmark \d+\.\d+\.\d+\n$")

    def complete(self, *words):
        script = ('set -eu; source <("$1" completion); shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; '
                  '_earmark; printf "%s\\n" ${COMPREPLY[@]+"${COMPREPLY[@]}"}')
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", str(BINARY), str(BINARY), *words], cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [line for line in done.stdout.split("\n") if line]

    def test_completion(self):
        """completion: bash takes the script, and completes commands, options, sub-commands and files"""
        self.assertTrue(set(COMMANDS) <= set(self.complete("")))
        self.assertEqual(self.complete("sc"), ["scan"])
        self.assertEqual(self.complete("mark", "--list"), ["--listeners"])
        self.assertIn("remove", self.complete("streams", ""))
        self.path("a talk.wav").touch()
        self.assertEqual(self.complete("scan", "a"), ["a talk.wav"])
        self.assertEqual(self.complete("frobnicate", "--x"), [])

    def test_completion_of_values(self):
        """completion: streams, accounts and choices where these are wanted, files where files are, and nothing where there is no store"""
        self.mark(Recordings.speech(6), "alice", "alice.opus", stream="one")
        store = ("--store", self.store)
        self.assertEqual(self.complete("scan", *store, "--stream", ""), ["one"])
        self.assertEqual(self.complete("mark", *store, "--stream", "one", "--for", "listener-9"), [f"listener-{i}" for i in range(90, 98)])
        self.assertEqual(self.complete("mark", *store, "--stream", "other", "--for", ""), [])
        with mock.patch.dict(os.environ, {"EARMARK_STORE": self.store}):
            self.assertEqual(self.complete("revoke", ""), ["one"])
            self.assertEqual(self.complete("revoke", "one", "al"), ["alice"])
        self.assertEqual(self.complete("findings", "--verdict", "un"), ["unknown_audio", "unreadable"])
        self.assertEqual(self.complete("mark", "--codec", ""), ["opus", "none"])
        self.assertEqual(self.complete("mark", "--strength", ""), [])
        self.path("list.txt").touch()
        self.assertEqual(self.complete("mark", "--listeners", "list."), ["list.txt"])
        self.assertEqual(self.complete("scan", "--store", f"sqlite:{self.path('none.db')}", "--stream", ""), [])
        self.assertFalse(self.path("none.db").exists())

    def test_completion_knows_every_option(self):
        """completion: every option that --help shows"""
        for name in COMMANDS:
            options = set(re.findall(r"(?m)^  (?:-\w,)?(--[a-z-]+)", self.run_raw(name, "--help").out))
            self.assertTrue(options <= set(self.complete(name, "--")), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
