"""An investigator's day: a clip is leaked, the detection service names the listener, and refuses whoever has no token. Run by tools/demo --service.

The programs are $EARMARK_BIN and $EARMARK_DETECTD; by default those of build/release.
"""
import json
import math
import random
import sys
import time

from live_support import CallError, Daemon, leak
from story import Failed, Story, bold, play, program, say

CLIP_S = 8
LATEST_START_S = 23   # of the clip; in the prompts there are long pauses before
LEAST_RECORDING_S = 20
MAX_FALSE_ACCUSATION = 1e-6
CASE = "demo"


def secret_of(token):
    return token.split("_", 2)[2]  # before it is its id, which is public


class ServiceStory(Story):
    moral = "the leaker was named, twice, nobody innocent was, and nobody without a token was told anything"

    # ---- helpers
    def server(self, token_file=None):
        return ["--server", self.detectd.grpc, *(["--token-file", token_file] if token_file else [])]

    def as_holder_of(self, token):
        """The daemon, whose HTTP calls now carry this token, or none."""
        self.detectd.token = token
        return self.detectd

    def new_token(self, name, *words):
        """(text, file)"""
        text, file = self.earmark("token", "create", *words).strip(), self.folder / f"{name}.token"
        file.write_text(text + "\n")
        return text, file

    def submit(self, clip):
        """(report, seconds from submit to verdict, exit status)"""
        begin = time.monotonic()
        done = self.run("submit", clip, "--case", CASE, "--wait", "--json", *self.server(self.kim_file))
        took_s = time.monotonic() - begin
        try:
            return json.loads(done.stdout), took_s, done.returncode
        except ValueError:
            raise Failed(done.stderr.strip() or f"earmark submit ended with status {done.returncode} and no report") from None

    def follow_over_http(self, clip):
        """(finding, seconds from submit to verdict, stages)"""
        begin, stages, last = time.monotonic(), [], {}
        as_kim = self.as_holder_of(self.kim)
        scan = as_kim.upload(clip, case_label=CASE)
        for progress in as_kim.watch("Detection", "WatchScan", {"scan_id": scan["scan_id"], "reason": CASE}):
            stages.append(progress["stage"])
            share = f", {progress['fraction']:.0%}" if 0 < progress["fraction"] < 1 else ""
            say(f"  {time.monotonic() - begin:4.1f} s: {progress['state']}, {progress['stage']}{share}")
            last = progress.get("scan", {})
        if "finding" not in last:
            raise Failed(f"the scan ended {last.get('state', 'without a word')}: {last.get('reason', '')}")
        return last["finding"], time.monotonic() - begin, stages

    def names_the_leaker(self, report):
        return [accused["account"] for accused in report["accusations"]] == [self.leaker] and \
            report["accusations"][0]["log10_bound"] <= math.log10(MAX_FALSE_ACCUSATION)

    def alpha_spent(self):
        """(alpha, scans)"""
        spent = self.as_holder_of(self.admin).post("Admin", "AlphaSpent")
        return spent["alpha"], int(spent["scans"])

    # ---- the story
    def mark(self):
        number = self.options.listeners
        self.heading(f"A stream with {number} listeners")
        width = len(str(number))
        accounts = [f"listener{self.suffix}-{i + 1:0{width}}" for i in range(number)]
        self.leaker, self.stream = random.choice(accounts), f"town-hall{self.suffix}"
        listeners = self.folder / "listeners.txt"
        listeners.write_text("\n".join(accounts) + "\n")
        self.earmark("keys", "create", "--key", self.key)
        begin = time.monotonic()
        made = json.loads(self.earmark("mark", self.audio, "--stream", self.stream, "--listeners", listeners, "--for", self.leaker,
                                       "--out", self.folder / "copy.opus", "--store", self.store, "--key", self.key, "--json"))
        took_s = time.monotonic() - begin
        say(f"'{self.stream}': {made['seconds']:.0f} s of {self.audio.name}, marked for {number} accounts in {took_s:.1f} s. "
            f"{self.engine} keeps what recognises the copies.")
        say()
        self.start_s = min(LATEST_START_S, made["seconds"] - CLIP_S - 2)

    def start(self):
        self.heading("The detection service starts, and asks for tokens")
        self.admin, self.admin_file = self.new_token("admin", "--role", "admin", "--name", "ops", "--store", self.store)
        say("earmark token create --role admin --name ops --store …")
        config = {"store": {"url": self.store}, "key": {"file": str(self.key)}, "auth": {"required": True}, "scan": {"max_false_accusation": MAX_FALSE_ACCUSATION}}
        self.detectd = self.keep(Daemon(program("EARMARK_DETECTD", "services/detectd/earmark-detectd"), config, folder=self.folder, own_session=True))
        say(f"earmark-detectd at {self.detectd.grpc} (HTTP {self.detectd.http})")
        self.kim, self.kim_file = self.new_token("kim", "--role", "investigator", "--name", "kim", "--expires", "1d", *self.server(self.admin_file))
        say("earmark token create --role investigator --name kim --expires 1d --server … --token-file admin.token")
        say()
        self.alpha_before, self.scans_before = self.alpha_spent()

    def leak(self):
        self.heading("One of them leaks eight seconds")
        self.clip = leak(self.folder / "copy.opus", self.start_s, CLIP_S, self.folder / "leak.mp4")
        say(f"{self.leaker}, picked at random, posts second {self.start_s:.0f} to {self.start_s + CLIP_S:.0f}: transcoded to AAC at 64 kb/s, "
            f"in an MP4 of {self.clip.stat().st_size / 1000:.0f} kB.")
        say()

    def name_leaker(self):
        self.heading("Who was it?")
        say(f"earmark submit leak.mp4 --case {CASE} --wait --server … --token-file kim.token")
        report, took_s, status = self.submit(self.clip)
        self.say_verdict(report, took_s)
        self.judge(status == 0 and self.names_the_leaker(report), f"It was {self.leaker}.")

    def name_leaker_over_http(self):
        self.heading("The same over HTTP, with how it gets on")
        say(f"POST /v1/scans?name=leak.mp4&case_label={CASE}, then /v1/Detection/WatchScan")
        finding, took_s, stages = self.follow_over_http(self.clip)
        self.say_verdict(json.loads(finding["report_json"]), took_s)
        told = stages[-1] == "done" and len(stages) > 1
        self.judge(told and finding["verdict"] == "accused" and self.names_the_leaker(finding), f"It was {self.leaker}.",
                   *([] if told else [f"The progress was told as {stages}."]))
        self.finding = finding["finding_id"]

    def try_unmarked(self):
        self.heading("The same seconds without a mark: same encoder, same MP4")
        self.earmark("mark", self.audio, "--plain", "--out", self.folder / "plain.opus", "--store", self.store, "--key", self.key)
        report, took_s, status = self.submit(leak(self.folder / "plain.opus", self.start_s, CLIP_S, self.folder / "plain.mp4"))
        self.say_verdict(report, took_s)
        known = [place["stream"] for place in report["alignments"]][:1] == [self.stream]
        self.judge(status == 0 and known and report["verdict"] == "no_accusation" and report["accusations"] == [],
                   *([] if known else ["The sound should have been recognised."]))

    def try_unreadable(self):
        self.heading("The leaked clip, cut off in the middle of its download")
        damaged = self.folder / "damaged.mp4"
        damaged.write_bytes(self.clip.read_bytes()[:self.clip.stat().st_size // 2])
        report, _, status = self.submit(damaged)
        say(f"{report['verdict']}: {report.get('reason')}. Exit status {status}.")
        self.judge((report["verdict"], report["accusations"], status) == ("unreadable", [], 2) and bool(report.get("reason")))
        self.heading("What is no recording at all, over HTTP")
        letter = self.folder / "letter.txt"
        letter.write_text("You will never find out who it was.\n" * 100)
        finding, _, _ = self.follow_over_http(letter)
        say(f"{finding['verdict']}: {finding['reason']}.")
        self.judge((finding["verdict"], finding["accusations"]) == ("unreadable", []) and finding["reason"] != "")

    def try_without_token(self):
        self.heading("Whoever has no token is told nothing; with one, what it is for")
        done = self.run("submit", self.clip, "--wait", *self.server())
        say("earmark submit leak.mp4 --wait --server …")
        say(f"  exit status {done.returncode}; {done.stderr.strip()}")
        refused = [done.returncode == 2 and self.leaker not in done.stdout + done.stderr]
        for whose, token, service, method, wanted in (("no token", None, "Detection", "QueryLeaks", 401), ("kim's token", self.kim, "Admin", "AlphaSpent", 403)):
            try:
                self.as_holder_of(token).post(service, method)
                say(f"POST /v1/{service}/{method} with {whose}: answered")
                refused.append(False)
            except CallError as error:
                say(f"POST /v1/{service}/{method} with {whose}: {error.http_status}, {error.message}")
                refused.append(error.http_status == wanted)
        self.judge(all(refused))

    def ask_who_leaks(self):
        self.heading("Kept for whoever asks, and may")
        words = ["leaks", "--account", self.leaker, *self.server(self.kim_file)]
        say(f"earmark leaks --account {self.leaker} --server … --token-file kim.token")
        for line in self.earmark(*words).splitlines():
            say(f"  {line.rstrip()}")
        leaks = json.loads(self.earmark(*words, "--json"))["leaks"]
        everybody = json.loads(self.earmark("leaks", "--stream", self.stream, "--json", *self.server(self.kim_file)))["leaks"]
        self.judge([(row["account"], row["stream_id"]) for row in leaks] == [(self.leaker, self.stream)] and len(everybody) == 1)

    def ask_for_alpha(self):
        self.heading("What all of that has risked")
        alpha, scans = self.alpha_spent()
        alpha, scans = alpha - self.alpha_before, scans - self.scans_before
        say(f"AlphaSpent, with the administrator's token: {scans} scans compared anybody's code with a clip; the unreadable did not.")
        say(f"The chance that any of them accused anybody innocent is at most {alpha:.1g}.")
        self.judge(scans == 3 and math.isclose(alpha, 3 * MAX_FALSE_ACCUSATION, rel_tol=1e-6), f"It should have been 3 scans, {MAX_FALSE_ACCUSATION:.0e} each.")

    def stop(self):
        self.heading("The service stops")
        status = self.detectd.stop()
        log = self.detectd.log.read_text(errors="replace")
        discreet = not any(word in log for word in (self.leaker, secret_of(self.admin), secret_of(self.kim)))
        say(f"earmark-detectd: exit status {status}. Its log holds {'neither tokens nor who was named' if discreet else 'a token or who was named'}.")
        self.judge(status == 0 and discreet)

    def steps(self):
        return (self.mark, self.start, self.leak, self.name_leaker, self.name_leaker_over_http, self.try_unmarked, self.try_unreadable, self.try_without_token,
                self.ask_who_leaks, self.ask_for_alpha, self.stop)


if __name__ == "__main__":
    sys.exit(play(ServiceStory, "tools/demo --service", "A leaked clip, the detection service that names the listener, and who is told.", "the stream has", 500, 100_000,
                  LEAST_RECORDING_S))
