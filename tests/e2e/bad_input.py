"""Bad input: one clear line on stderr, exit status 2, and nothing half-written."""
import os
import socket
import subprocess
import unittest

from support import EndToEnd, Recordings, ffmpeg, png, speech, write_wav


class BadInput(EndToEnd):
    def mark_words(self, source=None, **changes):
        options = {"--stream": "room", "--listeners": self.listeners, "--for": "alice", "--out": self.path("out.opus"),
                   "--store": self.store, "--key": self.key} | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
        words = ["mark", source or Recordings.speech(6)]
        for name, value in options.items():
            words += [] if value is None else [name, value]
        return words

    def assert_nothing_done(self, words, *in_message):
        before = self.files()
        done = self.run_raw(*words)
        self.assert_refused(done, *in_message)
        self.assertEqual(self.files(), before, done.err)

    def bad_recordings(self):
        """(path, words of the message)"""
        yield self.path("nowhere.wav"), ["nowhere.wav", "no such file"]
        yield png(self.path("picture.png")), ["picture.png", "picture"]
        yield png(self.path("picture.wav")), ["picture.wav", "picture"]
        empty_wav = self.path("empty.wav")
        empty_wav.write_bytes(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\xbb\0\0\0\x77\1\0\2\0\x10\0data\0\0\0\0")
        yield empty_wav, ["empty.wav", "no"]
        self.path("header.wav").write_bytes(Recordings.speech(6).read_bytes()[:44])
        yield self.path("header.wav"), ["header.wav"]
        self.path("nothing.wav").write_bytes(b"")
        yield self.path("nothing.wav"), ["nothing.wav"]
        whole = Recordings.converted("whole.mp4", "-c:a", "aac", seconds=6)
        self.path("cut.mp4").write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
        yield self.path("cut.mp4"), ["cut.mp4", "cut off"]
        self.path("text.mp3").write_text("This is not a song.\n" * 200)
        yield self.path("text.mp3"), ["text.mp3"]
        self.path("list.m3u8").write_text("#EXTM3U\nhttp://example.com/a.ts\n")
        yield self.path("list.m3u8"), ["list.m3u8", "playlist"]
        self.path("folder.wav").mkdir()
        yield self.path("folder.wav"), ["folder.wav", "folder"]
        os.mkfifo(self.path("pipe.wav"))
        yield self.path("pipe.wav"), ["pipe.wav", "pipe"]
        yield "/dev/zero", ["/dev/zero"]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path("socket.wav")))
        yield self.path("socket.wav"), ["socket.wav"]
        video = self.path("mute.mp4")
        ffmpeg("-f", "lavfi", "-i", "color=size=64x64:duration=1", "-c:v", "mpeg4", video)
        yield video, ["mute.mp4", "without sound"]

    def test_recordings(self):
        """mark: a recording that cannot be read leaves no store, no key, no stream and no file"""
        for path, message in self.bad_recordings():
            with self.subTest(path=path):
                self.assert_nothing_done(self.mark_words(path), *message)
                self.assert_nothing_done(["mark", path, "--plain", "--out", self.path("plain.opus")], *message)

    def test_recording_that_breaks_off(self):
        """mark: a recording that breaks off half-way leaves no stream and no file"""
        whole = Recordings.converted("faststart.mp4", "-c:a", "aac", "-movflags", "+faststart", seconds=6)
        self.path("broken.mp4").write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
        self.mark(Recordings.speech(6, seed=2), "alice", "other.opus", stream="other")
        before = set(self.files())
        for options in ({}, {"codec": "none", "out": self.path("out.wav")}):
            self.assert_refused(self.run_raw(*self.mark_words(self.path("broken.mp4"), **options)), "broken.mp4", "breaks off")
            self.assertEqual(set(self.files()), before)
            self.assertEqual([s["stream"] for s in self.streams()], ["other"])
        self.assert_refused(self.run_raw("mark", self.path("broken.mp4"), "--plain", "--out", self.path("out.opus")), "broken.mp4")
        self.assertEqual(set(self.files()), before)

    def test_recording_without_an_end(self):
        """mark: Ogg and Matroska that were cut are refused, and leave no stream and no file; scan reads what is there, and says so"""
        self.mark(Recordings.speech(20), "alice", "alice.opus")
        before = set(self.files())
        for name, codec in (("cut.ogg", "libvorbis"), ("cut.oga", "flac"), ("cut.opus", "libopus"), ("cut.webm", "libopus"), ("cut.mkv", "flac")):
            with self.subTest(name=name):
                ffmpeg("-i", self.path("alice.opus"), "-c:a", codec, self.path(name))
                whole = self.path(name).read_bytes()
                self.path(name).write_bytes(whole[:len(whole) * 99 // 100])
                self.assert_refused(self.run_raw(*self.mark_words(self.path(name), stream="cut")), name, "breaks off")
                self.assertEqual([s["stream"] for s in self.streams()], ["room"])
                done = self.earmark("scan", self.path(name))
                self.assertIn("accused alice", done.out)
                self.assertIn("breaks off", done.err)
                self.path(name).unlink()
        self.assertEqual(set(self.files()), before)

    def test_channels_that_cancel_out(self):
        """mark: a recording whose two channels cancel out is refused, as sound and as packets, with the way to mark it; half of one is noted"""
        self.mark(Recordings.speech(6, seed=2), "alice", "other.opus", stream="other")
        voice = speech(6)
        wav = write_wav(self.path("inverted.wav"), [voice, [-x for x in voice]])
        opus = self.path("inverted.opus")
        ffmpeg("-i", wav, "-c:a", "libopus", "-b:a", "64k", opus)
        before = set(self.files())
        for words in (self.mark_words(wav), self.mark_words(wav, bitrate="96k"), self.mark_words(wav, codec="none", out=self.path("out.wav")), self.mark_words(opus)):
            with self.subTest(words=words[1:]):
                self.assert_refused(self.run_raw(*words), "cancel out in their mean", "mark it as mono", "pan=mono")
                self.assertEqual(set(self.files()), before)
                self.assertEqual([s["stream"] for s in self.streams()], ["other"])
        half = write_wav(self.path("half.wav"), [voice, [x if i < 16000 * 2 else -x for i, x in enumerate(voice)]])
        done = self.run_raw(*self.mark_words(half))
        self.assertEqual(done.status, 0, done.err)
        self.assertIn("67 % of the recording the two channels cancel out", done.err)

    def test_clips(self):
        """scan: a clip that cannot be read adds no finding"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        for path, message in self.bad_recordings():
            with self.subTest(path=path):
                self.assert_refused(self.run_raw("scan", path, keyed=True), *message)
                self.assert_refused(self.run_raw("scan", path, "--json", keyed=True), *message)
        self.assertEqual(self.earmark("findings", "--json").json(), [])

    def test_listeners(self):
        """mark: a list of listeners from a pipe is read; a device, an endless pipe and what is far too long end at once with a clear error"""
        self.path("wide.txt").write_text("alice\n" + "y" * 5000 + "\n")
        with self.path("huge.txt").open("wb") as file:
            file.truncate(65 << 20)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path("socket")))
        for path, message in (("/dev/zero", ["/dev/zero", "device", "--listeners"]), ("/dev/urandom", ["/dev/urandom", "device"]), ("/dev/null", ["/dev/null", "device"]),
                              (self.path("wide.txt"), ["wide.txt", "line 2", "255 bytes, got 5000"]), (self.path("huge.txt"), ["huge.txt", "64 MB"]), (self.path("socket"), ["socket"])):
            with self.subTest(path=path):
                self.assert_nothing_done(self.mark_words(listeners=path), *message)
        endless = subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE)
        self.addCleanup(endless.wait)
        self.addCleanup(endless.kill)
        done = subprocess.run(self.command(*self.mark_words(listeners="/dev/stdin"), keyed=False), stdin=endless.stdout, capture_output=True, text=True, cwd=self.folder,
                              env=self.environment(), timeout=60, check=False)
        endless.stdout.close()
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("64 MB", done.stderr)
        os.mkfifo(self.path("pipe.txt"))
        marking = self.start(*self.mark_words(listeners=self.path("pipe.txt"), store=None, key=None), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.path("pipe.txt").write_text(self.listeners.read_text())
        self.assertEqual(marking.wait(60), 0, marking.stderr.read())
        marking.stderr.close()
        self.assertEqual(len(self.earmark("accounts", "--json").json()), 100)

    def test_options(self):
        """mark: options that are wrong or missing are told before anything is made"""
        self.path("empty.txt").write_text("\n# nobody\n\n")
        self.path("listeners.dir").mkdir()
        cases = [(self.mark_words(listeners=self.path("none.txt")), ["none.txt", "--listeners"]),
                 (self.mark_words(listeners=self.path("empty.txt")), ["empty.txt", "no accounts"]),
                 (self.mark_words(listeners=self.path("listeners.dir")), ["listeners.dir", "folder"]),
                 (self.mark_words(**{"for": "mallory"}), ["mallory", "listeners.txt"]),
                 (self.mark_words(out=self.path("nowhere/out.opus")), ["nowhere/out.opus", "folder"]),
                 (self.mark_words(out=self.path("out.mp3")), [".opus or .wav"]),
                 (self.mark_words(out=self.path("out.opus"), codec="none"), [".wav"]),
                 (self.mark_words(codec="mp3"), ["mp3"]),
                 (self.mark_words(variants="3"), ["3"]),
                 (self.mark_words(packets_per_symbol="11"), ["11"]),
                 (self.mark_words(frequency="7"), ["--frequency"]),
                 (self.mark_words(out=None), ["--out"]),
                 (self.mark_words(**{"for": None}), ["--for"]),
                 (self.mark_words(stream=None), ["--stream"]),
                 (self.mark_words(listeners=None), ["--listeners"]),
                 (self.mark_words() + ["--plain"], ["--plain", "--for"]),
                 (["mark", "--out", self.path("out.opus")], ["IN"]),
                 ([], ["command"]),
                 (["frobnicate"], ["frobnicate"]),
                 (["--frobnicate"], [])]
        cases += [(self.mark_words(bitrate=bitrate), ["--bitrate", bitrate])
                  for bitrate in ("0", "-32k", "11k", "257k", "32m", "k", "fast", "1e999", "nan", "32 k")]
        for words, message in cases:
            with self.subTest(words=words[2:]):
                self.assert_nothing_done(words, *message)

    def test_all_to(self):
        """mark --all-to: what cannot be is told before anything is made, and no file is overwritten"""
        self.path("file").write_text("")
        self.path("copies").mkdir()
        self.path("copies/listener-07.opus").write_text("somebody's")
        alone = {"for": None, "out": None}
        for words, message in ((self.mark_words(all_to=self.path("copies"), **alone), ["copies/listener-07.opus", "exists already"]),
                               (self.mark_words(all_to=self.path("file"), **alone), ["file", "folder"]),
                               (self.mark_words(all_to=self.path("no/where"), **alone), ["no/where", "folder"]),
                               (self.mark_words(all_to=self.path("new"), listeners=self.path("none.txt"), **alone), ["none.txt"]),
                               (self.mark_words(all_to=self.path("new"), listeners=None, **alone), ["--listeners"]),
                               (self.mark_words(all_to=self.path("new"), out=None), ["--for"]),
                               (self.mark_words(all_to=self.path("new"), **{"for": None}), ["--out"]),
                               (self.mark_words(all_to=self.path("new"), codec="none", format="opus", **alone), ["--format"]),
                               (self.mark_words(format="wav"), ["--format"])):
            with self.subTest(words=words[2:]):
                self.assert_nothing_done(words, *message)
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        self.earmark("grant", "room", "carol")
        self.path("copies/listener-07.opus").rename(self.path("copies/carol.opus"))
        self.assert_nothing_done(self.mark_words(all_to=self.path("copies"), **alone), "copies/carol.opus")

    def test_recording_as_output(self):
        """mark: OUT that is the recording itself is refused, by whatever name"""
        recording = self.path("talk.wav")
        recording.write_bytes(Recordings.speech(6).read_bytes())
        self.path("link.wav").symlink_to("talk.wav")
        for out in (recording, self.path("link.wav"), self.folder / "." / "talk.wav"):
            self.assert_nothing_done(self.mark_words(recording, out=out), "--out")

    def test_stores(self):
        """mark, scan, lists: a store that cannot be made, opened or written"""
        self.path("file").write_text("A regular file, with nothing of a store in it, longer than a hundred bytes. " * 3)
        clip = Recordings.speech(6)
        for url in ("sqlite:" + str(self.path("file/store.db")), "sqlite:/proc/earmark/store.db", "sqlite:" + str(self.path("file")), "sqlite:/dev/null",
                    "sqlite:" + str(self.folder), "sqlite:", "mysql://host/db", "", str(self.path("store.db"))):
            with self.subTest(url=url):
                self.assert_nothing_done(self.mark_words(store=url))
        self.earmark("keys", "create")
        for url in ("sqlite:" + str(self.path("none.db")), "sqlite:" + str(self.path("file")), "nonsense"):
            for words in (["scan", clip], ["streams"], ["accounts"], ["findings"], ["streams", "remove", "room", "--yes"], ["grant", "room", "carol"], ["revoke", "room", "carol"]):
                with self.subTest(url=url, words=words):
                    self.assert_nothing_done(words + ["--store", url, "--key", self.key])

    def test_keys(self):
        """mark, scan, keys: a key file that others can read, or that is none"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        good = self.key.read_text()
        for mode in (0o640, 0o604, 0o644):
            self.key.chmod(mode)
            for words in (self.mark_words(**{"for": "bob"}), ["scan", self.path("alice.opus"), "--store", self.store, "--key", self.key], ["keys", "--key", self.key]):
                self.assert_nothing_done(words, "master.key", "chmod 600")
        self.key.chmod(0o600)
        for text in ("", "secret\n", good[:-10], good + good):
            self.key.write_text(text)
            done = self.run_raw(*self.mark_words(**{"for": "bob"}))
            self.assert_refused(done, "master.key")
            self.assertNotIn(good.split()[1][:8], done.err)
        self.key.unlink()
        self.assert_nothing_done(["scan", self.path("alice.opus"), "--store", self.store, "--key", self.key], "master.key", "--key")
        self.assert_nothing_done(["keys", "--key", self.key], "master.key")

    def test_lost_key(self):
        """mark: with streams in the store no new key is made in place of one that is missing"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        self.key.rename(self.path("kept.key"))
        for stream in ("room", "new"):
            self.assert_nothing_done(self.mark_words(stream=stream), "master.key", "--key", self.streams()[0]["key_id"])
        self.path("kept.key").rename(self.key)
        self.mark(Recordings.speech(6), "bob", "bob.opus")

    def test_remove_asks(self):
        """streams remove: without a terminal and --yes nothing is removed, and what would be lost is said"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        self.assert_refused(self.run_raw("streams", "remove", "room", keyed=True), "100 listeners", "6.0 seconds", "no longer be traced", "--yes")
        self.assertEqual(len(self.streams()), 1)

    def test_grants(self):
        """grant: an unknown stream, and accounts that cannot be kept, with all that came with them"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        self.assert_refused(self.run_raw("grant", "nowhere", "carol", keyed=True), "nowhere")
        self.assert_refused(self.run_raw("grant", "room", keyed=True), "ACCOUNT")
        self.assert_refused(self.run_raw("grant", "room", "carol", "two\nlines", keyed=True), "account")
        for options, message in ((["--from", "2", "--to", "2"], ["--to"]), (["--from", "3", "--to", "2.5"], ["--to"]), (["--to", "0"], ["--to"]), (["--from", "7"], ["room", "6 s"]),
                                 (["--from", "2.001", "--to", "2.02"], ["20 ms"]), (["--from=-1"], ["--from", "-1"]), (["--to", "nan"], ["--to", "nan"]),
                                 (["--to", "inf"], ["--to", "inf"]), (["--to", "1e3"], ["--to", "1e3"]), (["--from", "1s"], ["--from", "1s"]), (["--from", "99999999999"], ["--from"])):
            with self.subTest(options=options):
                self.assert_refused(self.run_raw("grant", "room", "carol", *options, keyed=True), *message)
        self.assertEqual(len(self.earmark("accounts", "--json").json()), 100)

    def test_revoked(self):
        """revoke: an unknown stream, and accounts without a grant, leave everybody as he was; mark: whoever was revoked gets no copy, whatever the list says"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        self.assert_refused(self.run_raw("revoke", "nowhere", "alice", keyed=True), "nowhere")
        self.assert_refused(self.run_raw("revoke", "room", keyed=True), "ACCOUNT")
        self.assert_refused(self.run_raw("revoke", "room", "alice", "mallory", keyed=True), "mallory", "no grant", "room")
        self.assert_refused(self.run_raw("revoke", "room", "alice", "two\nlines", keyed=True), "account")
        self.assertEqual(self.streams()[0]["revoked"], 0)
        self.earmark("revoke", "room", "alice")
        self.assert_nothing_done(self.mark_words(), "alice", "room", "revoked")
        self.listeners.write_text(self.listeners.read_text() + "carol\n")
        self.assert_nothing_done(self.mark_words(), "alice", "room", "revoked")
        self.earmark("mark", Recordings.speech(6), "--stream", "room", "--listeners", self.listeners, "--for", "carol", "--out", self.path("carol.opus"))
        self.assertEqual([(s["listeners"], s["revoked"]) for s in self.streams()], [(101, 1)])
        self.mark(Recordings.speech(6), "alice", "pcm.wav", "--codec", "none", stream="pcm")
        self.earmark("revoke", "pcm", "alice")
        self.assert_nothing_done(self.mark_words(stream="pcm", out=self.path("out.wav")), "alice", "pcm", "revoked")
        for part in (["--to", "2"], ["--from", "3"]):
            self.earmark("grant", "room", "dave", *part)
        self.assert_nothing_done(self.mark_words(**{"for": "dave"}), "dave", "room", "gap")

    def test_other_key(self):
        """mark: another copy of a stream needs the key that it was marked under"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        self.make_key("other.key")
        self.listeners.write_text(self.listeners.read_text() + "carol\n")
        self.assert_nothing_done(self.mark_words(**{"for": "bob"}, key=self.path("other.key")), "room", "--key")

    def test_key_of_zeros(self):
        """mark, keys: a key file of zeros is refused"""
        self.key.write_text("earmark-key-1 " + "0" * 64 + "\n")
        self.key.chmod(0o600)
        for words in (self.mark_words(), ["keys", "--key", self.key]):
            self.assert_nothing_done(words, "master.key", "key of zeros")

    def test_key_is_never_overwritten(self):
        """keys create: an existing key stays"""
        self.earmark("keys", "create")
        self.assert_nothing_done(["keys", "create", "--key", self.key], "master.key")

    def test_known_streams(self):
        """mark: another recording, codec or bitrate under a known stream's name, and an account without a grant"""
        source = Recordings.speech(6)
        self.mark(source, "alice", "alice.opus")
        for words, message in ((self.mark_words(Recordings.speech(6, seed=2)), ["room", "another recording"]),
                               (self.mark_words(codec="none", out=self.path("out.wav")), ["room", "--codec"]),
                               (self.mark_words(bitrate="24k"), ["room", "--bitrate"]),
                               (self.mark_words(variants="8"), ["room", "--variants"]),
                               (self.mark_words(**{"for": "mallory"}), ["mallory", "no grant"])):
            with self.subTest(message=message):
                self.assert_nothing_done(words, *message)
        self.mark(source, "alice", "pcm.wav", "--codec", "none", stream="pcm")
        self.assert_nothing_done(self.mark_words(stream="pcm"), "pcm", ".wav")
        self.assert_nothing_done(self.mark_words(stream="pcm", **{"for": "mallory"}, out=self.path("out.wav")), "mallory", "no grant")
        self.mark(source, "bob", "bob.opus", "--bitrate", "32k", "--codec", "opus")             # what it is may be said again

    def test_names(self):
        """mark: streams and accounts with names that cannot be kept"""
        self.make_key("master.key")
        for stream in ("", "two\nlines", "x" * 256):
            with self.subTest(stream=stream):
                self.assert_refused(self.run_raw(*self.mark_words(stream=stream)))
        self.path("long.txt").write_text("alice\n" + "y" * 256 + "\n")
        self.assert_refused(self.run_raw(*self.mark_words(listeners=self.path("long.txt"))), "long.txt, line 2")
        self.path("binary.txt").write_bytes(b"# staff\n\nalice\n\xff\xfe\n")
        self.assert_refused(self.run_raw(*self.mark_words(listeners=self.path("binary.txt"))), "binary.txt, line 4")
        self.assertEqual(self.streams(), [])
        self.assertFalse(self.path("out.opus").exists())

    def test_message_is_one_line(self):
        """a file name with a line end or a control sequence in it still gives one harmless line"""
        done = self.run_raw("scan", self.path("two\nlines\033[31m.mp4"), keyed=True)
        self.assert_refused(done, "no such file")
        self.assertNotIn("\033", done.err)

    def test_names_that_work_unseen(self):
        """mark, grant: an account's name with a direction mark, a joiner or outer blanks is refused, and shown with what it holds"""
        source = Recordings.speech(6)
        for name, shown in (("ali\u202ece", "ali\\u{202E}ce"), ("alice\u200b", "alice\\u{200B}"), (" alice", "' alice'")):
            with self.subTest(name=shown):
                self.path("names.txt").write_text(f"bob\n{name}\n")
                self.assert_nothing_done(self.mark_words(source, listeners=self.path("names.txt")), "names.txt", "line 2", shown)
        self.mark(source, "alice", "alice.opus")
        self.assert_refused(self.run_raw("grant", "room", "ca\u202erol", keyed=True), "ca\\u{202E}rol")

    def test_scan_options(self):
        """scan: an unknown stream, and limits that are no probability"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        copy = self.path("alice.opus")
        self.assert_refused(self.run_raw("scan", copy, "--stream", "nowhere", keyed=True), "nowhere")
        for limit in ("0", "1", "2", "-1", "nan", "inf", "often"):
            with self.subTest(limit=limit):
                self.assert_refused(self.run_raw("scan", copy, "--max-false-accusation", limit, "--force", keyed=True), "false")
        self.assert_refused(self.run_raw("scan", copy, "--max-false-accusation", "0.011", keyed=True), "--force")
        self.assert_refused(self.run_raw("scan", copy, "--frobnicate", keyed=True), "--frobnicate")
        self.assert_refused(self.run_raw("scan", keyed=True), "CLIP")
        self.assertEqual(self.earmark("findings", "--json").json(), [])

    def test_list_options(self):
        """streams, accounts, findings, demo: what is unknown or out of range"""
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        for words in (["streams", "remove", "nowhere"], ["streams", "remove"], ["accounts", "--stream", "nowhere"], ["findings", "--limit", "0"],
                      ["findings", "--since", "yesterday"], ["findings", "--after", "0"], ["findings", "--after", "x"],
                      ["findings", "--verdict", "guilty"], ["keys", "frobnicate"]):
            with self.subTest(words=words):
                self.assert_refused(self.run_raw(*words, keyed=True))

    def test_demo(self):
        """demo: no recording, a short one, a folder that is in use, no ffmpeg"""
        self.assert_nothing_done(["demo"], "tools/demo")
        self.assert_nothing_done(["demo", "--audio", Recordings.speech(6)], "60 s")
        self.assert_nothing_done(["demo", "--audio", self.path("none.wav")], "none.wav")
        self.assert_nothing_done(["demo", "--audio", Recordings.speech(6), "--work-dir", self.folder], "--work-dir")
        self.assert_nothing_done(["demo", "--audio", Recordings.speech(6), "--listeners", "0"], "--listeners")


class NoFfmpeg(EndToEnd):
    def environment(self):
        return super().environment() | {"PATH": str(self.folder)}

    def test_demo(self):
        """demo: without the ffmpeg program it says what to install"""
        self.assert_refused(self.run_raw("demo", "--audio", Recordings.speech(6)), "ffmpeg", "apt-get install")


if __name__ == "__main__":
    unittest.main(verbosity=2)
