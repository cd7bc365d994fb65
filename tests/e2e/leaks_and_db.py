"""leaks, db and submit on one machine: what they print, and what they refuse."""
import socket
import sqlite3
import unittest

from support import EndToEnd, Recordings


class Leaks(EndToEnd):
    def test_leaks(self):
        """leaks: one row an account and stream, the newest first; filters; text and JSON"""
        self.scan(self.mark(Recordings.speech(6), "alice", "alice.opus", stream="one"))
        self.scan(self.path("alice.opus"))
        self.scan(self.mark(Recordings.speech(6, seed=2), "bob", "bob.opus", stream="two"))
        answer = self.earmark("leaks", "--json").json()
        self.assertEqual(list(answer), ["leaks", "next_page_token", "accounts"])
        self.assertEqual(answer["next_page_token"], "")
        self.assertEqual([(row["account"], row["stream_id"]) for row in answer["leaks"]], [("bob", "two"), ("alice", "one")])
        for row in answer["leaks"]:
            self.assertEqual(list(row), ["account", "stream_id", "finding_id", "log10_bound", "first_seen", "last_seen"])
            self.assertIsInstance(row["finding_id"], str)
            self.assertLess(row["log10_bound"], -6)
            self.assertRegex(row["first_seen"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertLessEqual(row["first_seen"], row["last_seen"])
        for options, accounts in ((["--account", "alice"], ["alice"]), (["--stream", "two"], ["bob"]), (["--since", "1h"], ["bob", "alice"]), (["--until", "1h"], []),
                                  (["--since", "2001-01-01", "--until", "2001-02-03T04:05:06+01:00"], []), (["--case", "none"], [])):
            with self.subTest(options=options):
                self.assertEqual([row["account"] for row in self.earmark("leaks", "--json", *options).json()["leaks"]], accounts)
        header, first, second = self.earmark("leaks").out.splitlines()
        self.assertEqual(header.split()[:4], ["ACCOUNT", "STREAM", "CHANCE", "FINDING"])
        self.assertEqual([line.split()[0] for line in (first, second)], ["bob", "alice"])
        self.assertEqual(header.index("CHANCE"), first.index("10^"))
        self.assertEqual(self.earmark("leaks", "--account", "nobody").out, "no leaks are known\n")

    def test_together(self):
        """leaks: an account that was accused in two streams is told once more, with what both say together"""
        for seed, stream in ((1, "one"), (2, "two")):
            self.scan(self.mark(Recordings.speech(6, seed=seed), "alice", "alice.opus", stream=stream))
        answer = self.earmark("leaks", "--json").json()
        alice, = answer["accounts"]
        self.assertEqual((alice["account"], alice["streams"]), ("alice", 2))
        strongest = min(answer["leaks"], key=lambda row: row["log10_bound"])
        self.assertEqual((alice["finding_id"], alice["log10_bound"]), (strongest["finding_id"], strongest["log10_bound"]))
        self.assertLess(alice["log10_combined_bound"], alice["log10_bound"] - 3)
        self.assertGreater(alice["log10_combined_bound"], sum(row["log10_bound"] for row in answer["leaks"]))
        told = self.earmark("leaks").out.splitlines()
        self.assertEqual(told[3:5], ["", "ACCOUNT  STREAMS  ALL TOGETHER"])
        self.assertEqual(told[5].split()[:2], ["alice", "2"])
        self.assertEqual(len(told), 6)
        one, = self.earmark("leaks", "--stream", "one", "--json").json()["accounts"]
        self.assertEqual(one["streams"], 1)
        self.assertGreater(one["log10_combined_bound"], one["log10_bound"])

    def test_moments(self):
        """leaks: what is no time is refused, with what would be one"""
        for text in ("yesterday", "7", "7w", "2026-02-31", "2026-01-01T25:00:00Z", "2026-01-01T00:00:00", "99999999d"):
            with self.subTest(text=text):
                self.assert_refused(self.run_raw("leaks", "--since", text, keyed=True), "--since", "2026-05-31", text)


class Db(EndToEnd):
    def test_migrate(self):
        """db migrate: makes a store, leaves one of this build as it is, refuses another program's"""
        made = self.earmark("db", "migrate", "--json").json()
        self.assertEqual(made["from"], 0)
        self.assertGreaterEqual(made["to"], 2)
        again = self.earmark("db", "migrate", "--json").json()
        self.assertEqual((again["from"], again["to"]), (made["to"], made["to"]))
        self.assertIn("already", self.earmark("db", "migrate").out)
        sqlite3.connect(self.path("other.db")).executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1);")
        self.assert_refused(self.run_raw("db", "migrate", "--store", f"sqlite:{self.path('other.db')}"), "another program")

    def test_expire(self):
        """db expire: what marking stored stays, a live stream goes when its days are over"""
        self.mark(Recordings.speech(6), "alice", "alice.opus", stream="one")
        self.mark(Recordings.speech(6, seed=2), "bob", "bob.opus", stream="two")
        self.assertEqual(self.earmark("db", "expire", "--json").json(), {"streams": 0, "clips": 0})
        with sqlite3.connect(self.path("store.db")) as store:
            store.execute("UPDATE streams SET retention_days = 1, updated_unix_us = 1 WHERE id = 'two'")
        self.assertEqual(self.earmark("db", "expire").out, "dropped 1 streams and 0 clips whose time is over\n")
        self.assertEqual([stream["stream"] for stream in self.earmark("streams", "--json").json()], ["one"])
        self.assert_refused(self.run_raw("db", "expire", "--server", "127.0.0.1:1", "--store", self.store), "--server", "--store")

    def test_check(self):
        """db check: a sound store is 0 with counts; damage is 1 with a line each"""
        self.assert_refused(self.run_raw("db", "check", keyed=True), "there is none")
        self.scan(self.mark(Recordings.speech(6), "alice", "alice.opus", stream="one"))
        self.mark(Recordings.speech(6, seed=2), "bob", "bob.opus", stream="two")
        counts = self.earmark("db", "check", "--json").json()
        self.assertEqual((counts["streams"], counts["grants"], counts["findings"], counts["damaged"]), (2, 200, 1, []))
        self.assertEqual(counts["chunks"], counts["opened_chunks"])
        self.assertGreater(counts["chunks"], 1)
        self.assertIn("sound", self.earmark("db", "check").out)
        self.key.rename(self.path("away.key"))
        self.assertEqual(self.earmark("db", "check", "--json").json()["opened_chunks"], 0)
        self.path("away.key").rename(self.key)
        with sqlite3.connect(self.path("store.db")) as store:
            table, = [name for name, in store.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%sealed%'")]
            row, sealed = store.execute(f"SELECT rowid, sealed FROM {table} ORDER BY rowid LIMIT 1").fetchone()
            store.execute(f"UPDATE {table} SET sealed = ? WHERE rowid = ?", (sealed[:100] + bytes([sealed[100] ^ 1]) + sealed[101:], row))
        done = self.run_raw("db", "check", keyed=True)
        self.assertEqual(done.status, 1, done.err)
        self.assertEqual(len([line for line in done.out.splitlines() if line.startswith("damaged stream one")]), 1, done.out)
        self.assertIn("cannot be opened", done.out)


class Submit(EndToEnd):
    def test_refusals(self):
        """submit: what is missing or unsafe is refused with one line, before anything is sent"""
        clip = Recordings.speech(6)
        self.path("empty").touch()
        self.assert_refused(self.run_raw("submit", clip), "--server", "earmark scan")
        self.assert_refused(self.run_raw("submit", "--server", "127.0.0.1:1"), "CLIP", "--follow")
        self.assert_refused(self.run_raw("submit", clip, "--server", "127.0.0.1"), "HOST:PORT")
        for host in ("10.1.2.3:7420", "127.0.0.1.example.com:7420", "[2001:db8::1]:7420"):
            for words in ([], ["--insecure"]):
                self.assert_refused(self.run_raw("submit", clip, "--server", host, *words), "--ca", host)
        self.assert_refused(self.run_raw("submit", clip, "--server", "127.0.0.1:1", "--token-file", self.path("none")), "none", "No such file")
        self.assert_refused(self.run_raw("submit", clip, "--server", "127.0.0.1:1", "--token-file", self.path("empty")), "--token-file")
        self.assert_refused(self.run_raw("submit", self.path("none.wav"), "--server", "127.0.0.1:1"), "none.wav")
        self.assert_refused(self.run_raw("submit", self.path("empty"), "--server", "127.0.0.1:1"), "empty: is empty")
        self.assert_refused(self.run_raw("leaks", "--server", "127.0.0.1:1", "--store", self.store), "--server", "--store")

    def test_no_server(self):
        """submit, leaks: a server that is not there is status 1, and soon"""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))  # nobody listens
            server = f"127.0.0.1:{probe.getsockname()[1]}"
            for words in (["submit", Recordings.speech(6), "--wait"], ["leaks"]):
                done = self.run_raw(*words, "--server", server, timeout=30)
                self.assertEqual((done.status, done.out), (1, ""))
                self.assertIn(server, done.err)
                self.assertEqual(done.err.count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
