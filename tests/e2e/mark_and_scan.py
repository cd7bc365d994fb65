"""The main job: a copy that was marked is scanned, and names the account whose copy it is."""
import os
import subprocess
import unittest
from pathlib import Path

from support import Done, EndToEnd, Recordings, ffmpeg, read_wav, speech, write_wav

CONTRACT = {"verdict": str, "accusations": list, "alignments": list, "candidates": int, "symbols_used": int, "seconds_needed": (int, float, type(None))}
ACCUSATION = {"account": str, "stream": str, "log10_p": float, "log10_bound": float, "score": float, "clip_start_s": float, "clip_end_s": float}
ALIGNMENT = {"stream": str, "clip_start_s": float, "clip_end_s": float, "stream_start_s": float, "speed": float}


class MarkAndScan(EndToEnd):
    def assert_fields(self, value, fields):
        self.assertEqual(list(value), list(fields))
        for name, kind in fields.items():
            self.assertIsInstance(value[name], kind, name)

    def assert_contract(self, report):
        self.assert_fields(report, CONTRACT)
        for accusation in report["accusations"]:
            self.assert_fields(accusation, ACCUSATION)
        for alignment in report["alignments"]:
            self.assert_fields(alignment, ALIGNMENT)

    def cut(self, source, start_s, seconds, name, *options):
        clip = self.path(name)
        ffmpeg("-ss", start_s, "-t", seconds, "-i", source, *options, clip)
        return clip

    def test_every_copy_names_its_account(self):
        """mark, scan: every copy of a stream names the account that got it"""
        source = Recordings.speech(20)
        for account in ("alice", "bob", "listener-97"):
            copy = self.mark(source, account, f"{account}.opus")
            report = self.scan(copy)
            self.assert_contract(report)
            self.assert_accuses(report, account)
            accusation, alignment = report["accusations"][0], report["alignments"][0]
            self.assertEqual(accusation["stream"], "room")
            self.assertLess(accusation["log10_bound"], -6)
            self.assertAlmostEqual(accusation["log10_bound"], accusation["log10_p"] + 2, delta=0.01)     # a hundred candidates
            self.assertEqual(report["candidates"], 100)
            self.assertIsNone(report["seconds_needed"])
            self.assertAlmostEqual(alignment["stream_start_s"] - alignment["clip_start_s"], 0, delta=0.05)
            self.assertAlmostEqual(alignment["speed"], 1, delta=1e-3)
        self.assertEqual(len(self.streams()), 1)

    def all_to(self, source, folder, *options):
        return self.earmark("mark", source, "--stream", "room", "--listeners", self.listeners, "--all-to", self.path(folder), *options, "--json").json()

    def test_all_copies(self):
        """mark --all-to: every listener's copy is a file of its own, the same as the one that --for writes, and names its account"""
        source = Recordings.speech(20)
        accounts = {"alice": "alice", "Alice": "%41lice", "../x/y": "%2E.%2Fx%2Fy", "Zo\u00eb": "%5Ao%C3%AB", "l" * 255: None}
        self.listeners.write_text("\n".join(accounts) + "\n")
        done = self.all_to(source, "copies")
        self.assertEqual((done["registered"], done["left_out"]), (True, []))
        self.assertEqual({c["account"] for c in done["copies"]}, set(accounts))
        paths = {c["account"]: Path(c["out"]) for c in done["copies"]}
        self.assertEqual(sorted(p.name for p in self.path("copies").iterdir()), sorted(p.name for p in paths.values()))
        for account, name in accounts.items():
            self.assertEqual(paths[account].parent, self.path("copies"))
            if name:
                self.assertEqual(paths[account].name, name + ".opus")
            self.assertEqual(paths[account].read_bytes(), self.mark(source, account, "one.opus").read_bytes(), account)
        for account in ("Alice", "l" * 255):
            self.assert_accuses(self.scan(paths[account]), account)

    def test_all_copies_of_parts(self):
        """mark --all-to: whoever was granted a part gets that part, whoever was revoked is left out, and WAVs are asked for by --format"""
        source = Recordings.speech(20)
        self.listeners.write_text("alice\nbob\n")
        self.mark(source, "alice", "alice.opus")
        self.earmark("grant", "room", "erin", "--from", "4", "--to", "16")
        self.earmark("grant", "room", "fred", "--from", "4", "--to", "4.02")
        self.earmark("revoke", "room", "bob")
        done = self.all_to(source, "copies", "--format", "wav")
        self.assertEqual([(c["account"], c["from_s"], c["to_s"]) for c in done["copies"]][:2], [("alice", 0, done["seconds"]), ("erin", 4, 16)])
        self.assertIn("revoked", {out["account"]: out["why"] for out in done["left_out"]}["bob"])
        for account in ("alice", "erin"):
            self.assertEqual(self.path(f"copies/{account}.wav").read_bytes(), self.mark(source, account, "one.wav").read_bytes())
        self.assertFalse(self.path("copies/bob.wav").exists())
        told = self.run_raw("mark", source, "--stream", "room", "--listeners", self.listeners, "--all-to", self.path("more"), keyed=True)
        self.assertEqual(told.status, 0)
        self.assertRegex(told.out, r"more: \d copies\n")
        self.assertIn("revoked", told.err)

    def test_all_copies_of_pcm(self):
        """mark --all-to: marked PCM comes as WAVs"""
        source = Recordings.speech(20)
        self.listeners.write_text("alice\nbob\n")
        self.all_to(source, "copies", "--codec", "none")
        self.assertEqual(sorted(p.name for p in self.path("copies").iterdir()), ["alice.wav", "bob.wav"])
        for account in ("alice", "bob"):
            self.assertEqual(self.path(f"copies/{account}.wav").read_bytes(), self.mark(source, account, "one.wav").read_bytes())
        self.assert_accuses(self.scan(self.path("copies/bob.wav")), "bob")

    def test_more_listeners(self):
        """mark, grant: accounts that the list has now, or that are granted, are added, and copies that are out are still named"""
        source = Recordings.speech(20)
        before = self.mark(source, "alice", "before.opus")
        self.listeners.write_text(self.listeners.read_text() + "carol\ndave\n")
        done = self.earmark("mark", source, "--stream", "room", "--listeners", self.listeners, "--for", "carol", "--out", self.path("carol.opus"), "--json").json()
        self.assertEqual((done["registered"], done["added"]), (False, 2))
        self.assertEqual(self.earmark("grant", "room", "erin", "alice", "erin", "--json").json(), {"stream": "room", "added": 1})
        for account, copy in (("alice", before), ("carol", self.path("carol.opus")), ("erin", self.mark(source, "erin", "erin.opus"))):
            report = self.scan(copy)
            self.assert_accuses(report, account)
            self.assertEqual(report["candidates"], 103)

    def test_revoked(self):
        """revoke, grant: whoever is revoked is named by his copy as before; granting again gives the same copy again"""
        source = Recordings.speech(20)
        copy = self.mark(source, "alice", "alice.opus")
        self.assertEqual(self.earmark("revoke", "room", "alice", "bob", "alice", "--json").json(), {"stream": "room", "revoked": 2})
        self.assertEqual(self.earmark("revoke", "room", "alice", "--json").json(), {"stream": "room", "revoked": 0})
        self.assertIn("0 listeners revoked; copies that are out stay traceable", self.earmark("revoke", "room", "alice").out)
        report = self.scan(copy)
        self.assert_accuses(report, "alice")
        self.assertEqual(report["candidates"], 100)
        self.assertEqual(self.earmark("grant", "room", "alice", "--json").json(), {"stream": "room", "added": 1})
        self.assertEqual(self.mark(source, "alice", "again.opus").read_bytes(), copy.read_bytes())

    def test_part(self):
        """grant --from --to: the copy holds that part, as Opus, decoded and as PCM, of packets that were encoded here or before, and names its account"""
        wav = Recordings.speech(20)
        opus = Recordings.converted("long-packets.opus", "-c:a", "libopus", "-b:a", "48k", "-frame_duration", "60")
        for stream, source, options, suffixes in (("encoded", wav, [], ("opus", "wav")), ("own", opus, [], ("opus", "wav")), ("pcm", wav, ["--codec", "none"], ("wav",))):
            whole = self.mark(source, "alice", f"{stream}-whole.{suffixes[0]}", *options, stream=stream)
            self.assertEqual(self.earmark("grant", stream, "carol", "--from", "4", "--to", "9", "--json").json(), {"stream": stream, "added": 1})
            self.assertEqual(self.earmark("grant", stream, "carol", "--from", "9", "--to", "12.01", "--json").json(), {"stream": stream, "added": 1})
            self.assertEqual(self.earmark("grant", stream, "carol", "--from", "5", "--to", "8", "--json").json(), {"stream": stream, "added": 0})
            self.assertEqual(self.earmark("grant", stream, "dave", "--from", "12", "--json").json(), {"stream": stream, "added": 1})
            for suffix in suffixes:
                with self.subTest(stream=stream, suffix=suffix):
                    done = self.earmark("mark", source, "--stream", stream, "--listeners", self.listeners, "--for", "carol", "--out", self.path("carol." + suffix), "--json").json()
                    self.assertEqual((done["from_s"], done["to_s"]), (4, 12))
                    _, (sound,) = read_wav(self.path("carol." + suffix))
                    self.assertLessEqual(len(sound), 8 * 48000)
                    self.assertGreater(len(sound), 7.8 * 48000)
                    report = self.scan(self.path("carol." + suffix), "--stream", stream)
                    self.assert_accuses(report, "carol")
                    self.assertAlmostEqual(report["alignments"][0]["stream_start_s"] - report["alignments"][0]["clip_start_s"], 4, delta=0.1)
                    _, (rest,) = read_wav(self.mark(source, "dave", "dave." + suffix, *options, stream=stream))
                    self.assertAlmostEqual(len(rest) / 48000, 8, delta=0.1)
                    self.assert_accuses(self.scan(self.path("dave." + suffix), "--stream", stream), "dave")
            self.assertEqual(self.scan(self.cut(whole, 13, 5, "clip.wav"), "--stream", stream)["candidates"], 101)  # dave, not carol

    def test_second_track(self):
        """scan: a copy in the second track of a file, behind a silent one, one of other sound or the recording itself, is found and its track told"""
        source = Recordings.speech(20)
        clip = self.cut(self.mark(source, "alice", "alice.opus"), 4, 8, "clip.wav")
        for name, first, tracks in (("silent", ("-f", "lavfi", "-t", 8, "-i", "anullsrc=r=48000:cl=mono"), [2]), ("other", ("-i", Recordings.speech(8, seed=77)), [2]),
                                    ("same", ("-ss", 4, "-t", 8, "-i", source), [1, 2])):
            for codec, container in (("aac", "mp4"), ("libopus", "mkv")):
                with self.subTest(first=name, container=container):
                    film = self.path(f"{name}.{container}")
                    ffmpeg(*first, "-i", clip, "-map", "0:a", "-map", "1:a", "-c:a", codec, "-b:a", "64k", film)
                    report = self.scan(film)
                    self.assert_accuses(report, "alice")
                    self.assertEqual(sorted(a["track"] for a in report["alignments"]), tracks)

    def test_leak(self):
        """mark, scan: 5 s of a copy as AAC 48k in an MP4 name the account and the place"""
        copy = self.mark(Recordings.speech(20), "bob", "bob.opus")
        report = self.scan(self.cut(copy, 9, 5, "leak.mp4", "-c:a", "aac", "-b:a", "48k"))
        self.assert_accuses(report, "bob")
        self.assertAlmostEqual(report["alignments"][0]["stream_start_s"] - report["alignments"][0]["clip_start_s"], 9, delta=0.1)

    def test_wav_is_the_decoded_opus(self):
        """mark: OUT.wav is OUT.opus decoded, as long as the recording, and names the same account"""
        source = Recordings.speech(20)
        opus, wav = self.mark(source, "alice", "alice.opus"), self.mark(source, "alice", "alice.wav")
        ffmpeg("-c:a", "libopus", "-i", opus, "-c:a", "pcm_s16le", self.path("decoded.wav"))
        rate_hz, (decoded,) = read_wav(self.path("decoded.wav"))
        wav_rate_hz, (written,) = read_wav(wav)
        self.assertEqual((rate_hz, wav_rate_hz), (48000, 48000))
        self.assertEqual((len(decoded), len(written)), (960000, 960000))
        self.assertLessEqual(max(abs(a - b) for a, b in zip(decoded, written)), 2)      # rounding
        self.assert_accuses(self.scan(wav), "alice")

    def test_same_copy_again(self):
        """mark: the same account's copy is the same file, byte by byte"""
        first = self.mark(Recordings.speech(20), "alice", "first.opus")
        again = self.mark(Recordings.speech(20), "alice", "again.opus")
        self.assertEqual(first.read_bytes(), again.read_bytes())

    def test_pcm(self):
        """mark --codec none: marked PCM of the recording's length names the account"""
        wav = self.mark(Recordings.speech(20), "bob", "bob.wav", "--codec", "none")
        self.assertEqual(len(read_wav(wav)[1][0]), 960000)
        report = self.scan(wav)
        self.assert_contract(report)
        self.assert_accuses(report, "bob")
        self.assert_accuses(self.scan(self.mark(Recordings.speech(20), "alice", "alice.wav")), "alice")      # the stream knows what it is

    def test_plain_registers_nothing(self):
        """mark --plain: no stream, no store, no key; and nobody is named for it"""
        before = self.files()
        plain = self.plain(Recordings.speech(20), "plain.opus")
        self.assertEqual(set(self.files()) - set(before), {"plain.opus"})
        self.mark(Recordings.speech(20), "alice", "alice.opus")
        report = self.scan(plain)
        self.assert_contract(report)
        self.assertEqual((report["verdict"], report["accusations"]), ("no_accusation", []))
        self.assertEqual({a["stream"] for a in report["alignments"]}, {"room"})
        for target in ("plain.wav", "pcm.wav"):
            codec = ["--codec", "none"] if target == "pcm.wav" else []
            self.assertEqual(self.scan(self.plain(Recordings.speech(20), target, *codec))["accusations"], [])

    def test_plain_is_comparable(self):
        """mark --plain: as long as a copy, and in step with it, to compare sample by sample"""
        source = Recordings.speech(20)
        _, (copy,) = read_wav(self.mark(source, "alice", "alice.wav"))
        _, (plain,) = read_wav(self.plain(source, "plain.wav"))
        self.assertEqual(len(copy), len(plain))
        signal = sum(x * x for x in plain)
        noise = sum((x - y) ** 2 for x, y in zip(plain, copy))
        self.assertLess(noise, 0.1 * signal)                                            # out of step it would be above 1
        self.assertGreater(noise, 0)

    def test_stereo(self):
        """mark, scan: a stereo recording gives a stereo copy that names the account"""
        left, right = speech(20, 3), speech(20, 4)
        source = write_wav(self.path("stereo.wav"), [[0.8 * a + 0.2 * b for a, b in zip(left, right)], [0.3 * a + 0.6 * b for a, b in zip(left, right)]])
        for target, options in (("alice.opus", []), ("alice.wav", [])):
            copy = self.mark(source, "alice", target, *options)
            self.assert_accuses(self.scan(copy), "alice")
        self.assertEqual(len(read_wav(copy)[1]), 2)

    def test_sound_on_one_side(self):
        """mark, scan: a recording with sound on its left side alone gives copies that name the account, from sound and from packets"""
        voice = speech(20, 3)
        wav = write_wav(self.path("left.wav"), [voice, [0.0] * len(voice)])
        opus = self.path("left.opus")
        ffmpeg("-i", wav, "-c:a", "libopus", "-b:a", "64k", opus)
        for source in (wav, opus):
            copy = self.mark(source, "alice", f"alice-{source.name}.opus", stream=source.name)
            self.assert_accuses(self.scan(copy, "--stream", source.name), "alice")

    def test_rates(self):
        """mark, scan: recordings of 8, 44.1 and 192 kHz"""
        for rate_hz in (8000, 44100, 192000):
            with self.subTest(rate_hz=rate_hz):
                source = Recordings.converted(f"at-{rate_hz}.wav", "-ar", rate_hz)
                copy = self.mark(source, "bob", f"{rate_hz}.wav", stream=f"room-{rate_hz}")
                self.assertEqual((read_wav(copy)[0], len(read_wav(copy)[1][0])), (48000, 960000))
                report = self.scan(copy, "--stream", f"room-{rate_hz}")
                self.assert_accuses(report, "bob")

    def test_containers(self):
        """mark: recordings in MP3, MP4 and FLAC"""
        for name, options in (("talk.mp3", ["-b:a", "96k"]), ("talk.mp4", ["-c:a", "aac"]), ("talk.flac", [])):
            with self.subTest(name=name):
                source = Recordings.converted(name, *options)
                self.assert_accuses(self.scan(self.mark(source, "alice", f"{name}.opus", stream=name), "--stream", name), "alice")

    def test_unknown_audio(self):
        """scan: a recording that no stream has is unknown audio, with status 0"""
        self.mark(Recordings.speech(20), "alice", "alice.opus")
        report = self.scan(Recordings.speech(10, seed=77))
        self.assert_contract(report)
        self.assertEqual((report["verdict"], report["accusations"], report["alignments"]), ("unknown_audio", [], []))

    def test_nothing_to_search(self):
        """scan: silence, and what is too short, is not called unknown: status 2, and why"""
        self.mark(Recordings.speech(20), "alice", "alice.opus")
        for name, options, reason in (("silence.wav", ("-af", "volume=0", "-t", "5"), "silent"), ("short.wav", ("-t", "0.1"), "too short")):
            with self.subTest(name=name):
                done = self.run_raw("scan", Recordings.converted(name, *options), "--store", self.store, "--key", self.key)
                self.assertEqual((done.status, done.out), (2, ""))
                self.assertIn(reason, done.err)
                self.assertIn(name, done.err)

    def test_two_streams(self):
        """scan: the right stream of two, and --stream keeps to the one named"""
        one = self.mark(Recordings.speech(20), "alice", "one.opus", stream="one")
        self.mark(Recordings.speech(20, seed=2), "bob", "two.opus", stream="two")
        report = self.scan(one)
        self.assert_accuses(report, "alice")
        self.assertEqual({a["stream"] for a in report["alignments"]}, {"one"})
        self.assertEqual(self.scan(one, "--stream", "two")["verdict"], "unknown_audio")

    def test_wrong_key(self):
        """scan: with a wrong key nothing can be searched: status 2, and why"""
        copy = self.mark(Recordings.speech(20), "alice", "alice.opus")
        self.make_key("other.key")
        done = self.run_raw("scan", copy, "--store", self.store, "--key", self.path("other.key"))
        self.assertEqual((done.status, done.out), (2, ""))
        self.assertIn("another master key", done.err)

    def test_bound_is_kept(self):
        """scan --max-false-accusation: a limit that the clip cannot meet gives no accusation, and how much more would do"""
        copy = self.mark(Recordings.speech(20), "alice", "alice.opus")
        clip = self.cut(copy, 5, 3, "short.wav")
        self.assert_accuses(self.scan(clip), "alice")
        report = self.scan(clip, "--max-false-accusation", "1e-300")
        self.assert_contract(report)
        self.assertEqual((report["verdict"], report["accusations"]), ("no_accusation", []))
        self.assertGreater(report["seconds_needed"], 3)

    def test_wild_bound(self):
        """scan --force: whom a scan names that may be wrong more than once in a hundred is printed, and not recorded"""
        copy = self.mark(Recordings.speech(20), "alice", "alice.opus")
        done = self.earmark("scan", copy, "--max-false-accusation", "0.02", "--force", "--json")
        self.assert_accuses(done.json(), "alice")
        self.assertIn("not recorded", done.err)
        self.assertEqual(self.earmark("findings", "--json").json(), [])
        self.assertEqual(self.earmark("scan", copy, "--max-false-accusation", "0.01").err, "")
        self.assertEqual(len(self.earmark("findings", "--json").json()), 1)

    def by_reader(self, *words):
        """A run that may do what the modes of files say: root gives up not to be asked for them."""
        bound = ["setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
        return Done(subprocess.run(bound + self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.environment(), check=False))

    def test_store_that_may_only_be_read(self):
        """scan, lists: without permission to write the store, its folder or both, they work; the verdict is told, and that it is not recorded"""
        copy = self.mark(Recordings.speech(20), "alice", "alice.opus")
        self.scan(copy)
        self.addCleanup(self.folder.chmod, 0o755)
        for folder_mode, file_mode in ((0o555, 0o444), (0o555, 0o666), (0o755, 0o444)):
            with self.subTest(folder=oct(folder_mode), file=oct(file_mode)):
                self.path("store.db").chmod(file_mode)
                self.folder.chmod(folder_mode)
                before = sorted(path.name for path in self.folder.iterdir())
                for words in (["streams"], ["accounts"], ["findings"], ["leaks"]):
                    done = self.by_reader(*words)
                    self.assertEqual((done.status, done.err), (0, ""))
                    self.assertIn("room" if words == ["streams"] else "alice", done.out)
                scan = self.by_reader("scan", copy, "--json")
                self.assertEqual(scan.status, 0, scan.err)
                self.assert_accuses(scan.json(), "alice")
                self.assertIn("not recorded", scan.err)
                self.assertEqual(scan.err.count("\n"), 1)
                self.assertNotEqual(self.by_reader("grant", "room", "carol").status, 0)
                self.assertEqual(sorted(path.name for path in self.folder.iterdir()), before)
        self.assertEqual(len(self.earmark("findings", "--json").json()), 1)

    def test_list_with_byte_order_mark(self):
        """mark: a list that an editor has begun with a byte order mark holds the accounts that one sees in it"""
        self.listeners.write_bytes(b"\xef\xbb\xbfalice\r\nbob\r\n")
        self.mark(Recordings.speech(6), "alice", "alice.opus")
        self.assertEqual([a["account"] for a in self.earmark("accounts", "--json").json()], ["alice", "bob"])

    def test_people(self):
        """scan: what people read names the account, the stream, the place and the bound"""
        copy = self.mark(Recordings.speech(20), "alice", "alice.opus")
        done = self.earmark("scan", copy)
        self.assertEqual(done.err, "")
        for word in ("accused alice", "stream room", "10^-"):
            self.assertIn(word, done.out)

    def test_damaged_clip(self):
        """scan: a clip that breaks off is scanned as far as it goes, with a note"""
        copy = self.mark(Recordings.speech(20), "alice", "alice.opus")
        whole = self.cut(copy, 0, 15, "whole.mp4", "-c:a", "aac", "-movflags", "+faststart")
        self.path("broken.mp4").write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
        done = self.earmark("scan", self.path("broken.mp4"))
        self.assertIn("accused alice", done.out)
        self.assertEqual(done.err.count("\n"), 1)
        self.assertIn("breaks off", done.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
