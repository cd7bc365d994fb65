"""What the demos of the services share: how a story is told and judged, the command line, and that nothing stays behind."""
import argparse
import contextlib
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import children
from live_support import ROOT, CallError, duration_s, speech

BOLD = ("\033[1m", "\033[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")


def program(variable, path):
    return Path(os.environ.get(variable) or ROOT / "build/release" / path).resolve()


def bold(text):
    return BOLD[0] + text + BOLD[1]


def say(text=""):
    print(f"   {text}" if text else "", flush=True)


class Failed(Exception):
    """The story cannot go on; one line why."""


class Story:
    """A story's `steps` are told one after another; `moral` is what has been shown if all of them come out right."""

    moral = ""

    def __init__(self, options, stack, folder):
        self.options, self.keep, self.folder, self.num_wrong, self.num_steps = options, stack.enter_context, folder, 0, 0
        self.audio = Path(options.audio).resolve() if options.audio else speech("en")
        self.key, self.environment = folder / "master.key", {name: v for name, v in os.environ.items() if not name.startswith("EARMARK_")}
        self.store = options.store or f"sqlite:{folder}/store.db"
        self.engine = "PostgreSQL" if self.store.startswith("postgres") else "SQLite"
        # A stream's name is never used again: in a store that stays, each demo has names of its own.
        self.suffix = f"-{secrets.token_hex(3)}" if options.store else ""

    def steps(self):
        raise NotImplementedError

    def heading(self, text):
        self.num_steps += 1
        print(bold(f"{self.num_steps}. {text}"), flush=True)

    def judge(self, right, *faults):
        for fault in faults if not right else ():
            say(str(fault))
        self.num_wrong += not right
        say("right" if right else "wrong")
        say()

    def run(self, *words):
        return children.run([program("EARMARK_BIN", "tools/earmark/earmark"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=self.environment | {"HOME": str(self.folder)})

    def earmark(self, *words):
        done = self.run(*words)
        if done.returncode != 0:
            raise Failed(done.stderr.strip() or f"earmark {words[0]} ended with status {done.returncode}")
        return done.stdout

    def say_verdict(self, report, took_s):
        starts = {}
        for place in report["alignments"]:
            starts[place["stream"]] = min(place["stream_start_s"], starts.get(place["stream"], math.inf))
        places = [f"of '{stream}' from second {start_s:.1f} on" for stream, start_s in sorted(starts.items(), reverse=True)]
        say(f"{took_s:.1f} s from submit to verdict. The sound is that {' and '.join(places) or 'of no stream'}.")
        for accused in report["accusations"]:
            say(f"Named: {bold(accused['account'])}. The chance that any innocent of {report['candidates']} listeners is named so is below "
                f"10^{accused['log10_bound']:.1f}.")
        if not report["accusations"]:
            say("Nobody is named.")

    def tell(self):
        begin = time.monotonic()
        for step in self.steps():
            step()
        took = f"{time.monotonic() - begin:.0f} s in all"
        if self.num_wrong == 0:
            print(f"{bold('All right')}: {self.moral}. {took}.")
        else:
            print(f"{bold('Not right')}: {self.num_wrong} step{'s' if self.num_wrong > 1 else ''} came out wrong. {took}.")
        return 1 if self.num_wrong else 0


def read_options(prog, about, listeners_help, default_listeners, max_listeners, least_recording_s):
    parser = argparse.ArgumentParser(prog=prog, allow_abbrev=False,
                                     description=f"{about} Needs ffmpeg. Exit status 0 if every step came out right, 1 if not.")
    parser.add_argument("--listeners", type=int, default=default_listeners, metavar="N",
                        help=f"how many listeners {listeners_help}, 1 to {max_listeners} (default: {default_listeners})")
    parser.add_argument("--store", default="", metavar="URL", help="a store to use, such as postgresql://USER@HOST/DATABASE. What the demo writes stays there, "
                                                                   "under a key that does not. Default: SQLite in a temporary folder, removed")
    parser.add_argument("--audio", default=os.environ.get("EARMARK_DEMO_AUDIO", ""), metavar="FILE",
                        help=f"a recording of {least_recording_s} s or more (default: $EARMARK_DEMO_AUDIO, or recorded speech out of a Debian package)")
    options = parser.parse_args()
    if not 1 <= options.listeners <= max_listeners:
        parser.error(f"--listeners: wanted 1 to {max_listeners}, got {options.listeners}")
    if options.audio:
        try:
            seconds = duration_s(options.audio)
        except (subprocess.CalledProcessError, ValueError):
            parser.error(f"--audio: {options.audio} cannot be read")
        if seconds < least_recording_s:
            parser.error(f"--audio: wanted {least_recording_s} s or more, got {seconds:.0f} s")
    return options


def play(story, *about):
    """The exit status, when the story, a class, has been told, with nothing of it left. `about`: for read_options."""
    for number in children.SIGNALS:
        signal.signal(number, children.interrupted)
    folder = None
    try:
        options = read_options(*about)
        with children.held():
            folder = Path(tempfile.mkdtemp(prefix="earmark-demo-"))
        with contextlib.ExitStack() as stack:
            return story(options, stack, folder).tell()
    except (Failed, CallError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        children.end_all()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
