"""A live room, a leak while it is on air, and the listener who leaked it: run by tools/demo --live.

The programs are $EARMARK_BIN, $EARMARK_SIDECAR and $EARMARK_DETECTD; by default those of build/release.
"""
import contextlib
import json
import math
import random
import sys
import time

from live_support import Daemon, Listeners, Recording, RtpSource, leak
from story import Failed, Story, bold, play, program, say

START_S = 20   # where in the recording the speaker begins: the prompts before it have long pauses
CLIP_S = 8
CUT_S = 3      # where the clip begins in what the leaker recorded
GUESTS = 3     # listeners of the other room
LEAST_RECORDING_S = 110


class Room:
    def __init__(self, story, stream, prefix, num_listeners):
        self.stream, self.prefix = stream, prefix
        self.listeners = story.keep(Listeners(num_listeners))
        story.sidecar.post("Relay", "OpenStream", {"stream_id": stream})
        self.port = story.sidecar.post("Relay", "AddSource", {"stream_id": stream, "source": "speaker"})["rtp_port"]
        self.ssrcs = []
        for i in range(num_listeners):
            grant = story.sidecar.post("Relay", "Grant", {"stream_id": stream, "account": self.account(i), "destination": self.listeners.destination(i)})
            self.ssrcs.append(grant["sources"][0]["ssrc"])

    def account(self, index):
        return f"{self.prefix}-{index + 1:03}"

    def heard(self, index):
        return Recording(self.listeners[index], self.ssrcs[index])

    def received(self):
        return sum(listener.count() for listener in self.listeners)


class LiveStory(Story):
    moral = "the leaker was named while the room was on air, and nobody innocent was"

    # ---- helpers
    def submit(self, clip, *options):
        """(report, seconds from submit to verdict)"""
        begin = time.monotonic()
        report = json.loads(self.earmark("submit", clip, "--server", self.detectd.grpc, "--wait", "--json", *options))
        return report, time.monotonic() - begin

    def stats(self, room):
        with contextlib.closing(self.sidecar.watch("Relay", "WatchStats", {"stream_id": room.stream})) as messages:
            return next(messages)

    def poll(self, event, limit_s):
        end = time.monotonic() + limit_s
        while not (found := event()) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    # ---- the story
    def start(self):
        self.heading("Two services start")
        self.earmark("keys", "create", "--key", self.key)
        config = {"store": {"url": self.store}, "key": {"file": str(self.key)}, "auth": {"required": False}}
        self.sidecar = self.keep(Daemon(program("EARMARK_SIDECAR", "services/sidecar/earmark-sidecar"), config | {"relay": {"name": f"demo{self.suffix}"}},
                                        folder=self.folder, own_session=True))
        self.detectd = self.keep(Daemon(program("EARMARK_DETECTD", "services/detectd/earmark-detectd"), config, folder=self.folder,
                                        own_session=True))
        say(f"earmark-sidecar at {self.sidecar.grpc} (HTTP {self.sidecar.http}), earmark-detectd at {self.detectd.grpc} (HTTP {self.detectd.http}),")
        say(f"one store, {self.engine}, and one master key.")
        say()

    def fill_rooms(self):
        number = self.options.listeners
        self.heading(f"A room with {number} listeners")
        begin = time.monotonic()
        self.hall = Room(self, f"town-hall{self.suffix}", f"listener{self.suffix}", number)
        self.lobby = Room(self, f"lobby{self.suffix}", f"guest{self.suffix}", GUESTS)
        took_s = time.monotonic() - begin
        say(f"'{self.hall.stream}' is open: one source on UDP port {self.hall.port}, {number} grants, each to a UDP socket of its own.")
        say(f"'{self.lobby.stream}' too, with {GUESTS} listeners: the same speech will be heard there. {number + GUESTS + 4} calls in {took_s:.1f} s.")
        say()

    def go_on_air(self):
        self.heading("On air")
        say("FFmpeg speaks real speech into both rooms, as RTP with Opus at 64 kb/s.")
        self.speakers = [self.keep(RtpSource(self.audio, room.port, start_s=START_S, seconds=90)) for room in (self.hall, self.lobby)]
        self.leaker = random.randrange(self.options.listeners)
        leaker, wanted, told = self.hall.listeners[self.leaker], (CUT_S + CLIP_S + 2) * 50, 0
        begin = time.monotonic()
        while leaker.count() < wanted:
            seconds = time.monotonic() - begin
            if seconds >= told + 3:
                told += 3
                say(f"{told:2} s: {self.hall.received():,} packets have come to {sum(l.count() > 0 for l in self.hall.listeners)} listeners")
            if seconds > 40 or any(speaker.process.poll() is not None for speaker in self.speakers):
                raise Failed(f"after {seconds:.0f} s the leaker had {leaker.count()} packets, wanted {wanted}")
            time.sleep(0.05)
        say()

    def leak_on_air(self):
        self.heading("One of them records, and leaks eight seconds")
        heard = self.hall.heard(self.leaker)
        wav = heard.decode(self.folder / "leaker.wav")
        mp4 = leak(wav, CUT_S, CLIP_S, self.folder / "leak.mp4")
        account = self.hall.account(self.leaker)
        say(f"{account}, picked at random, has recorded {heard.num_packets / 50:.1f} s, {heard.num_lost} packets lost, and posts second {CUT_S} to "
            f"{CUT_S + CLIP_S}:")
        say(f"transcoded to AAC at 64 kb/s, in an MP4 of {mp4.stat().st_size / 1000:.0f} kB.")
        say()
        self.heading("Who was it? The room is still on air")
        say("earmark submit leak.mp4 --server … --wait")
        report, took_s = self.submit(mp4, "--case", "demo")
        self.say_verdict(report, took_s)
        on_air = all(speaker.process.poll() is None for speaker in self.speakers)
        named = [accused["account"] for accused in report["accusations"]] == [account]
        bounded = named and report["accusations"][0]["log10_bound"] <= math.log10(1e-6)
        self.judge(named and bounded and on_air, *([] if on_air else ["The room was not on air any more."]), f"It was {account}.")
        self.finding = report["finding"]

    def ask_who_leaks(self):
        self.heading("Kept for whoever asks")
        account = self.hall.account(self.leaker)
        say(f"earmark leaks --account {account} --server …")
        for line in self.earmark("leaks", "--account", account, "--server", self.detectd.grpc).splitlines():
            say(f"  {line.rstrip()}")
        leaks = json.loads(self.earmark("leaks", "--account", account, "--server", self.detectd.grpc, "--json"))["leaks"]
        self.judge((self.hall.stream, str(self.finding)) in [(entry["stream_id"], entry["finding_id"]) for entry in leaks])

    def go_off_air(self):
        self.heading("Off air: what went out, and what is kept")
        for speaker in self.speakers:
            speaker.stop()
        # What is on its way arrives; the rest of the reference goes to the store.
        stats = self.stats(self.hall)

        def settled():
            nonlocal stats
            stats = self.stats(self.hall)
            slots = sum(int(s["slots_marked"]) + int(s["slots_erased"]) for s in stats["sources"])
            return int(stats["packets_sent"]) == self.hall.received() and int(stats["reference_packets_stored"]) >= slots
        self.poll(settled, 10)
        sent, drops, received = int(stats["packets_sent"]), int(stats["send_drops"]), self.hall.received()
        stored, lost = int(stats["reference_packets_stored"]), int(stats["reference_packets_dropped"])
        source = stats["sources"][0]
        missing = sum(self.hall.heard(i).num_lost for i in range(len(self.hall.listeners)))
        say(f"{int(source['packets_received']):,} packets came from the speaker, {int(source['packets_lost'])} were lost; {sent:,} went out, {drops} were dropped;")
        say(f"{received:,} have been received, {missing} are missing. Reference: {stored:,} packets stored, {lost} lost.")
        closed = [self.sidecar.post("Relay", "CloseStream", {"stream_id": room.stream})["state"] for room in (self.hall, self.lobby)]
        self.judge(sent == received and drops == 0 and missing == 0 and lost == 0 and stored > 0 and closed == ["CLOSED"] * 2)

    def try_unmarked(self):
        self.heading("The recording itself, without a mark: same seconds, same MP4")
        unmarked = leak(self.audio, START_S + CUT_S, CLIP_S, self.folder / "unmarked.mp4")
        report, took_s = self.submit(unmarked)
        self.say_verdict(report, took_s)
        self.judge(report["verdict"] == "no_accusation" and report["accusations"] == [])

    def try_other_room(self):
        guest = 1
        self.heading(f"{self.lobby.account(guest)}'s copy, from '{self.lobby.stream}', looked for in '{self.hall.stream}' alone")
        wav = self.lobby.heard(guest).decode(self.folder / "guest.wav")
        elsewhere = leak(wav, CUT_S, CLIP_S, self.folder / "guest.mp4")
        report, took_s = self.submit(elsewhere, "--stream", self.hall.stream)
        self.say_verdict(report, took_s)
        self.judge(report["verdict"] == "no_accusation" and report["accusations"] == [])
        self.heading("The same copy, looked for in all rooms")
        report, took_s = self.submit(elsewhere)
        self.say_verdict(report, took_s)
        self.judge([accused["account"] for accused in report["accusations"]] == [self.lobby.account(guest)])

    def stop(self):
        self.heading("Both services stop")
        statuses = self.sidecar.stop(), self.detectd.stop()
        say(f"earmark-sidecar: exit status {statuses[0]}; earmark-detectd: {statuses[1]}.")
        self.judge(statuses == (0, 0))

    def steps(self):
        return (self.start, self.fill_rooms, self.go_on_air, self.leak_on_air, self.ask_who_leaks, self.go_off_air, self.try_unmarked, self.try_other_room, self.stop)


if __name__ == "__main__":
    sys.exit(play(LiveStory, "tools/demo --live", "A live room, a leak while it is on air, and the listener who did it.", "the room has", 200, 1000, LEAST_RECORDING_S))
