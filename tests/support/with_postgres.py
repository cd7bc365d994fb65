#!/usr/bin/env python3
"""Runs a command with a PostgreSQL server of its own, on a free port of the loopback, and takes the server away again.

    with_postgres.py COMMAND [WORD...]

The command finds the server's URL, without a database, in $EARMARK_TEST_POSTGRES; its user may create databases. Needs Debian's postgresql
package; root runs the server as the user postgres, since PostgreSQL refuses root.
"""
import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


def server_programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        sys.exit("with_postgres: no PostgreSQL under /usr/lib/postgresql; install Debian's package postgresql")
    return found[-1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self):
        self.programs, self.port, self.password = server_programs(), free_port(), secrets.token_hex(8)
        self.folder = tempfile.mkdtemp(prefix="earmark-postgres-")
        self.user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        self.process = None

    def as_user(self):
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}

    def start(self):
        password_file, log = f"{self.folder}/password", open(f"{self.folder}/log", "wb")
        with open(password_file, "w") as file:
            file.write(self.password + "\n")
        if self.user:
            for path in (self.folder, password_file):
                os.chown(path, self.user.pw_uid, self.user.pw_gid)
        data = f"{self.folder}/data"
        subprocess.run([f"{self.programs}/initdb", "--pgdata", data, "--username", "earmark", "--pwfile", password_file, "--auth", "scram-sha-256",
                        "--encoding", "UTF8", "--locale", "C", "--no-sync"], check=True, stdout=log, stderr=log, cwd=self.folder, **self.as_user())
        # Nothing of it outlives the tests, so nothing needs to reach the disk.
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "fsync": "off",
                   "full_page_writes": "off", "synchronous_commit": "off", "max_connections": 100}
        words = [f"{self.programs}/postgres", "-D", data] + [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder, **self.as_user())
        end = time.monotonic() + 60
        while subprocess.run([f"{self.programs}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                with open(f"{self.folder}/log", errors="replace") as said:
                    sys.exit(f"with_postgres: the server does not start:\n{said.read()[-2000:]}")
            time.sleep(0.05)
        return f"postgresql://earmark:{self.password}@127.0.0.1:{self.port}"

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGINT)  # "fast": ends sessions, too
            self.process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = Server()
    try:
        url = server.start()
        sys.exit(subprocess.run(sys.argv[1:], env=os.environ | {"EARMARK_TEST_POSTGRES": url}, check=False).returncode)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
