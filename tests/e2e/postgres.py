"""The command line on a PostgreSQL store. Run by tests/support/with_postgres.py, whose server is in $EARMARK_TEST_POSTGRES."""
import os
import signal
import subprocess
import time
import unittest
from urllib.parse import urlsplit

from detectd import Daemon, WithDaemons
from support import Recordings

SERVER = os.environ.get("EARMARK_TEST_POSTGRES", "")


@unittest.skipUnless(SERVER, "run it by tests/support/with_postgres.py")
class Postgres(WithDaemons):
    """Each test has a database of its own; no output may hold its password."""
    num_databases = 0

    def setUp(self):
        super().setUp()
        Postgres.num_databases += 1
        name = f"cli_{Postgres.num_databases}"
        subprocess.run(["psql", "-q", f"{SERVER}/postgres", "-c", f"CREATE DATABASE {name}"], check=True)
        self.store = f"{SERVER}/{name}"

    def run_raw(self, *words, **options):
        done = super().run_raw(*words, **options)
        self.assertNotIn(urlsplit(SERVER).password, done.out + done.err, words)
        return done

    def test_everything(self):
        """mark, scan, streams, accounts, findings, leaks, db: the same words on a store on PostgreSQL"""
        self.assert_refused(self.run_raw("db", "check", keyed=True), "earmark db migrate")
        made = self.earmark("db", "migrate", "--json").json()
        self.assertEqual(made["from"], 0)
        self.assertGreaterEqual(made["to"], 1)
        self.assertIn("already", self.earmark("db", "migrate").out)
        copy = self.mark(Recordings.speech(6), "alice", "alice.opus")
        self.assert_accuses(self.scan(copy), "alice")
        self.assertEqual([s["stream"] for s in self.earmark("streams", "--json").json()], ["room"])
        accounts = {a["account"]: a["accusations"] for a in self.earmark("accounts", "--json").json()}
        self.assertEqual((len(accounts), accounts["alice"], accounts["bob"]), (100, 1, 0))
        self.assertEqual(len(self.earmark("findings", "--account", "alice", "--json").json()), 1)
        leak, = self.earmark("leaks", "--json").json()["leaks"]
        self.assertEqual((leak["account"], leak["stream_id"]), ("alice", "room"))
        self.assertIn("alice", self.earmark("leaks").out)
        counts = self.earmark("db", "check", "--json").json()
        self.assertEqual((counts["streams"], counts["grants"], counts["findings"], counts["damaged"]), (1, 100, 1, []))
        self.assertEqual(counts["chunks"], counts["opened_chunks"])
        self.earmark("streams", "remove", "room", "--yes")
        self.assertEqual(self.earmark("streams", "--json").json(), [])

    def test_six_clips_two_daemons_one_killed(self):
        """two detection services on one database, one of which is killed while it scans: six clips give six findings"""
        self.finish_six_with_one_killed()

    def test_the_store_goes_away(self):
        """every connection to the database breaks again and again while a clip is scanned: it is finished all the same, once"""
        clip, daemon = self.clip(0, 18), Daemon(self, "scan.lease_s=2")
        scan_id = daemon.submit(clip)
        self.wait_until(lambda: daemon.call("GetScan", scan_id=scan_id)["state"] == "RUNNING", "the begin of the scan")
        for _ in range(3):
            subprocess.run(["psql", "-qAt", f"{SERVER}/postgres", "-c", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"
                            f"{urlsplit(self.store).path[1:]}'"], check=True, stdout=subprocess.DEVNULL)
            time.sleep(0.2)
        self.wait_until(lambda: self.earmark("findings", "--json").json(), "the finding")
        self.assertEqual(self.finish(daemon, scan_id)["finding"]["verdict"], "accused")
        self.assertEqual(len(daemon.call("ListFindings")["findings"]), 1)
        self.assertEqual(daemon.stop(signal.SIGTERM), 0)
        self.assertNotIn(urlsplit(SERVER).password, daemon.log)

    def test_mark_makes_the_store(self):
        """mark: makes its tables in an empty database, as it makes a file"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        self.assertEqual(len(self.earmark("streams").out.splitlines()), 1)

    def test_passwords(self):
        """no help, error or typing mistake shows the password of the store's URL"""
        bad = self.store.replace("cli_", "missing_")
        for words in (["streams", self.store], ["mark", "--store", self.store], ["streams", "--store", bad], ["scan", self.store, "--store", bad],
                      ["db", "migrate", "--store", bad], ["streams", "--store", self.store.replace("//earmark:", "//nobody:")],
                      ["--help"], ["scan", "--help"], ["db", "check", "--help"]):
            with self.subTest(words=words[0]):
                done = self.run_raw(*words)
                self.assertNotIn("terminate", done.err)
        environment = self.environment() | {"EARMARK_STORE": self.store}
        done = subprocess.run(self.command("scan", "--help", keyed=False), env=environment, capture_output=True, text=True, check=True)
        self.assertNotIn(urlsplit(SERVER).password, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
