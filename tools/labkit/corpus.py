"""tools/lab corpus: real speech and music out of Debian packages.

Packages are fetched with `apt-get download` and unpacked beside the corpus, never installed; one that happens to be
installed is read in place. Every item becomes a 48 kHz 16-bit WAV at -20 LUFS, 83 to 150 s long (20 s in the
full-band sets). The recipe has no randomness but fixed seeds, so the same packages give the same samples.

`dev` is for tuning. `heldout` shares no speaker and no piece with it: figures for the README come from there only.
`demo` is a download of 30 MB with items of both. `dev-fullband` and `heldout-fullband` are pieces of 20 s with sound above
16 kHz, as differently made as Debian has them, for grades.
"""
import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np

from . import audio
from .audio import RATE_HZ
from .common import LabError, require_tools, run_tool, say

MANIFEST_FIELDS = ["item", "kind", "file", "seconds", "channels", "bandwidth_hz", "package", "version", "licence", "notes"]


@dataclass(frozen=True)
class Item:
    name: str
    sets: tuple
    kind: str                                   # speech or music
    package: str
    licence: str
    notes: str
    build: Callable[[Path], np.ndarray]         # unpacked package -> samples at 48 kHz


# ---- speech: short recordings put one after another --------------------------------------------------------------------

def shuffled(paths):
    """An order that neither the alphabet nor the file system decides."""
    return sorted(paths, key=lambda p: hashlib.md5(p.name.encode()).hexdigest())


def utterances(paths, input_format=None):
    """Decoded recordings, silence at both ends cut away, all at the same RMS level."""
    for path in paths:
        x = audio.decode(path, 1, input_format=input_format)
        x = trimmed(x - x.mean())               # cheap sound cards add an offset, which would click at every pause
        yield x * 0.1 / audio.rms(x)


def trimmed(x, below_peak_db=45):
    """Cuts what is quieter than that at either end, keeping 50 ms before and 100 ms after, with 5 ms fades."""
    size = RATE_HZ // 100
    count = len(x) // size
    level = np.sqrt((x[:count * size, 0].reshape(count, size) ** 2).mean(axis=1))
    loud = np.nonzero(level > level.max() * 10 ** (-below_peak_db / 20))[0]
    if len(loud) == 0:
        return x
    y = x[max(0, loud[0] - 5) * size:min(count, loud[-1] + 10) * size].copy()
    fade = min(RATE_HZ // 200, len(y) // 4)
    y[:fade] *= np.linspace(0, 1, fade)[:, None]
    y[len(y) - fade:] *= np.linspace(1, 0, fade)[:, None]
    return y


def monologue(clips, length_s, pause_s=(0.25, 0.8), seed=0):
    rng = np.random.default_rng(seed)
    parts, total = [], 0
    for clip in clips:
        parts += [clip, np.zeros((int(rng.uniform(*pause_s) * RATE_HZ), 1))]
        total += len(parts[-1]) + len(clip)
        if total > length_s * RATE_HZ:
            break
    return np.concatenate(parts)[:int(length_s * RATE_HZ)]


def phrases(clips, count):
    """Joins every `count` recordings into one, 0.25 s apart."""
    gap = np.zeros((RATE_HZ // 4, 1))
    group = []
    for clip in clips:
        group += [clip, gap]
        if len(group) == 2 * count:
            yield np.concatenate(group[:-1])
            group = []


def long_pauses(clips, length_s, seed):
    """Short utterances with 3 to 15 s between them; every other pause is digital zero, the rest a -66 dBFS noise floor."""
    rng = np.random.default_rng(seed)
    parts, total = [], 0
    for index, clip in enumerate(clips):
        pause = rng.standard_normal((int(rng.uniform(3, 15) * RATE_HZ), 1)) * (0 if index % 2 else 5e-4)
        parts += [clip, pause]
        total += len(clip) + len(pause)
        if total > length_s * RATE_HZ:
            break
    return np.concatenate(parts)[:int(length_s * RATE_HZ)]


def conversation(speakers, length_s, seed, pans, overlap=0.25, back_channel=0.15):
    """Turns with gaps, overlaps and back-channels ("mm-hm" over somebody else); every voice has its own level and place.

    speakers: a list of clips for each voice. pans: (left, right) gains for each voice, or None for mono."""
    rng = np.random.default_rng(seed)
    channels = 1 if pans is None else 2
    y = np.zeros((int((length_s + 30) * RATE_HZ), channels))
    gains = [10 ** (rng.uniform(-3, 3) / 20) for _ in speakers]

    def add(voice, clip, start):
        clip = clip[:max(0, len(y) - start)] * gains[voice]
        y[start:start + len(clip)] += clip if pans is None else clip * np.array(pans[voice])

    now_s, last, used = 0.3, None, [0] * len(speakers)
    while now_s < length_s:
        ready = [v for v in range(len(speakers)) if used[v] < len(speakers[v])]
        if not ready:
            break
        voice = int(rng.choice([v for v in ready if v != last] or ready))
        clip = speakers[voice][used[voice]]
        used[voice] += 1
        if last is not None:
            now_s += -rng.uniform(0.3, 1.2) if rng.random() < overlap else rng.uniform(0.1, 1.2)
        start = int(max(0, now_s) * RATE_HZ)
        add(voice, clip, start)
        if rng.random() < back_channel and len(clip) > 3 * RATE_HZ:
            other = int(rng.choice([v for v in range(len(speakers)) if v != voice]))
            answer = speakers[other][int(rng.integers(len(speakers[other])))][:int(0.8 * RATE_HZ)] * 0.6
            add(other, answer, start + int(len(clip) * rng.uniform(0.3, 0.7)))
        now_s, last = (start + len(clip)) / RATE_HZ, voice
    return y[:int(min(length_s, now_s) * RATE_HZ)]


def files(root, pattern, min_bytes):
    found = [p for p in sorted(root.glob(pattern)) if p.stat().st_size > min_bytes]
    if not found:
        raise LabError(f"{root}: no file matches {pattern}; the package has changed")
    # Packages repeat some recordings under several names; a stream that repeats itself has no single right place.
    unique = {hashlib.md5(p.read_bytes()).hexdigest(): p for p in reversed(found)}
    return shuffled(unique.values())


def asterisk(language, length_s=120, count=45):
    pattern = f"usr/share/asterisk/sounds/{language}/**/*.g722"
    return lambda root: monologue(utterances(files(root, pattern, 14000)[:count], "g722"), length_s)


def asterisk_gsm(folder, length_s=120):
    pattern = f"usr/share/asterisk/sounds/{folder}/**/*.gsm"
    return lambda root: monologue(utterances(files(root, pattern, 4500), "gsm"), length_s)


def tuxpaint_files(root, language):
    return files(root, f"usr/share/tuxpaint/stamps/**/*desc_{language}.ogg", 22000)


def tuxpaint(language, length_s=120):
    return lambda root: monologue(utterances(tuxpaint_files(root, language)), length_s)


def tuxpaint_meeting(root):
    voices = [list(utterances(tuxpaint_files(root, language)[:50])) for language in ("bg", "ru")]
    return conversation(voices, 150, seed=23, pans=[(0.9, 0.45), (0.45, 0.9)])


def fillets_dialog(root):
    voices = []
    for letter in "mv":
        pattern = f"usr/share/games/fillets-ng/sound/*/cs/*-{letter}-*.ogg"
        voices.append(list(utterances(files(root, pattern, 9000)[:60])))
    return conversation(voices, 150, seed=11, pans=None)


# ---- music: an excerpt of a piece --------------------------------------------------------------------------------------

def excerpt(path, start_s=0, length_s=120, channels=2, input_format=None):
    return lambda root: audio.decode(root / path, channels, start_s=start_s, length_s=length_s, input_format=input_format)


def stems(folder, start_s, length_s=120):
    """The guitar and the rest of the band are separate files in Frets on Fire."""
    def build(root):
        parts = [audio.decode(root / folder / name, 2, start_s=start_s, length_s=length_s) for name in ("song.ogg", "guitar.ogg")]
        count = min(len(p) for p in parts)
        return parts[0][:count] + parts[1][:count]
    return build


PIECE_S = 20                # of the full-band sets


def hedgewars(voice):
    pattern = f"usr/share/games/hedgewars/Data/Sounds/voices/{voice}/*.ogg"
    return lambda root: monologue(utterances(files(root, pattern, 9000)), PIECE_S)


def samples(*names):
    """Recordings of single instruments, whole, one after another."""
    def build(root):
        return np.concatenate([audio.decode(root / f"usr/share/sonic-pi/samples/{name}.flac", 2) for name in names])[:PIECE_S * RATE_HZ]
    return build


CC_BY_SA = "CC-BY-SA-3.0"
SECTOID = "usr/share/games/fretsonfire/data/songs/sectoid"
DEV, HELDOUT, DEMO, DEV_FULL, HELDOUT_FULL = SETS = "dev", "heldout", "demo", "dev-fullband", "heldout-fullband"
ISLANDS = "usr/share/unknown-horizons/content/audio/music"

ITEMS = [
    Item("en_allison", (DEV, DEMO), "speech", "asterisk-core-sounds-en-g722", CC_BY_SA,
         "studio prompts, one woman (Allison Smith), 16 kHz G.722 source", asterisk("en_US_f_Allison")),
    Item("it_carlo", (DEV,), "speech", "asterisk-core-sounds-it-g722", "CC-BY-3.0",
         "studio prompts, one man (Carlo Flora), 16 kHz G.722 source", asterisk("it*")),
    Item("ru_silences", (DEV,), "speech", "asterisk-core-sounds-ru-g722", "CC-BY-3.0",
         "long pauses, half digital zero, half a -66 dBFS floor; one woman, 16 kHz G.722 source",
         lambda root: long_pauses(utterances(files(root, "usr/share/asterisk/sounds/ru*/**/*.g722", 14000)[:30], "g722"), 150, 5)),
    Item("el_tuxpaint", (DEV,), "speech", "tuxpaint-stamps-default", "GPL-2",
         "volunteers, Greek, domestic microphone, Vorbis source", tuxpaint("el")),
    Item("fr_tuxpaint", (DEV,), "speech", "tuxpaint-stamps-default", "GPL-2",
         "volunteers, French, domestic microphone, Vorbis source", tuxpaint("fr")),
    Item("cs_dialog", (DEV,), "speech", "fillets-ng-data-cs", "GPL-2",
         "conversation of two actors: turns, overlaps, back-channels; 22.05 kHz Vorbis source", fillets_dialog),
    Item("orch_northerners", (DEV,), "music", "wesnoth-1.16-music", "GPL-2+", "orchestral, sampled",
         excerpt("usr/share/games/wesnoth/1.16/data/core/music/northerners.ogg", 30)),
    Item("metal_chaos_god", (DEV,), "music", "fretsonfire-songs-muldjord", CC_BY_SA, "metal band, mix of two stems",
         stems("usr/share/games/fretsonfire/data/songs/muldjord/chaos_god", 30)),
    Item("rock_feelings", (DEV,), "music", "fretsonfire-songs-sectoid", "MIT", "melodic instrumental rock, mix of two stems",
         stems(f"{SECTOID}/Feelings", 60)),
    Item("ambient_domina", (DEV,), "music", "hyperrogue-music", CC_BY_SA, "ambient",
         excerpt("usr/share/hyperrogue/music/hr-domina-mountain.ogg")),
    Item("etr_credits", (DEV,), "music", "extremetuxracer-data", "GPL-2+", "game music",
         excerpt("usr/share/games/etr/music/credits1-cp.ogg")),
    Item("electronic_mechanic", (DEV,), "music", "pushover-data", "GPL-3+", "electronic",
         excerpt("usr/share/pushover/themes/mechanic.ogg", 30)),
    Item("synth_awakening", (DEV,), "music", "singularity-music", CC_BY_SA, "sparse electronic, 48 kHz Vorbis source",
         excerpt("usr/share/games/singularity/music/Awakening.ogg", 40)),

    Item("fr_june", (HELDOUT, DEMO), "speech", "asterisk-core-sounds-fr-g722", CC_BY_SA,
         "studio prompts, one woman (June Wallack), Canadian French, 16 kHz G.722 source", asterisk("fr_CA_f_June")),
    Item("fr_armelle", (HELDOUT,), "speech", "asterisk-prompt-fr-armelle", "BSD-like",
         "telephone prompts, one woman (Armelle Desjardins), 8 kHz GSM source", asterisk_gsm("fr")),
    Item("es_july", (HELDOUT,), "speech", "asterisk-prompt-es-co", "GPL-2",
         "telephone prompts, one woman (July E. Jiménez), Colombian Spanish, 8 kHz GSM source", asterisk_gsm("es")),
    Item("es_tuxpaint", (HELDOUT,), "speech", "tuxpaint-stamps-default", "GPL-2",
         "volunteers, Spanish, domestic microphone, Vorbis source", tuxpaint("es")),
    Item("ro_tuxpaint", (HELDOUT,), "speech", "tuxpaint-stamps-default", "GPL-2",
         "volunteers, Romanian, domestic microphone, Vorbis source", tuxpaint("ro")),
    Item("da_tuxpaint", (HELDOUT,), "speech", "tuxpaint-stamps-default", "GPL-2",
         "volunteers, Danish, domestic microphone, Vorbis source", tuxpaint("da")),
    Item("bg_ru_meeting", (HELDOUT,), "speech", "tuxpaint-stamps-default", "GPL-2",
         "conversation in stereo, two voices left and right: turns, overlaps, back-channels", tuxpaint_meeting),
    Item("be_pauses", (HELDOUT,), "speech", "tuxpaint-stamps-default", "GPL-2",
         "long pauses, half digital zero, half a -66 dBFS floor; Belarusian volunteers",
         lambda root: long_pauses(phrases(utterances(tuxpaint_files(root, "be")), 3), 150, 7)),
    Item("rock_war_of_freedom", (HELDOUT,), "music", "fretsonfire-songs-sectoid", "MIT", "instrumental rock, mix of two stems",
         stems(f"{SECTOID}/War of freedom", 30)),
    Item("metal_madness", (HELDOUT,), "music", "fretsonfire-songs-sectoid", "MIT", "instrumental metal, mix of two stems",
         stems(f"{SECTOID}/Metal madness", 30)),
    Item("maze_intro", (HELDOUT, DEMO), "music", "pathological", "GPL-2+", "orchestral, sampled, Vorbis 229 kb/s",
         excerpt("usr/share/games/pathological/music/intro.ogg")),
    Item("maze_loop", (HELDOUT,), "music", "pathological", "GPL-2+", "calm keyboards, Vorbis 120 kb/s",
         excerpt("usr/share/games/pathological/music/background.ogg", 60)),
    Item("zaz_one", (HELDOUT,), "music", "zaz-data", CC_BY_SA, "electronic (Leonard Ritter)",
         excerpt("usr/share/games/zaz/mus1.ogg", 60)),
    Item("zaz_three", (HELDOUT,), "music", "zaz-data", CC_BY_SA, "electronic (Leonard Ritter)",
         excerpt("usr/share/games/zaz/mus3.ogg", 60)),
    Item("hold_cold_day", (HELDOUT,), "music", "asterisk-moh-opsound-g722", CC_BY_SA, "mono, 16 kHz G.722 source (Macroform)",
         excerpt("usr/share/asterisk/moh/macroform-cold_day.g722", 60, channels=1, input_format="g722")),
    Item("hold_system", (HELDOUT,), "music", "asterisk-moh-opsound-g722", CC_BY_SA, "mono, 16 kHz G.722 source (Reno Project)",
         excerpt("usr/share/asterisk/moh/reno_project-system.g722", 60, channels=1, input_format="g722")),
    Item("asc_frontiers", (HELDOUT,), "music", "asc-music", "GPL-2+", "22.05 kHz MP3 80 kb/s source",
         excerpt("usr/share/games/asc/music/frontiers.mp3", 90)),
    Item("asc_machine_wars", (HELDOUT,), "music", "asc-music", "GPL-2+", "22.05 kHz MP3 80 kb/s source",
         excerpt("usr/share/games/asc/music/machine_wars.mp3", 60)),

    Item("voices_british", (DEV_FULL,), "speech", "hedgewars-data", "GFDL-1.3", "shouted lines of a game, one man, 44.1 kHz Vorbis source",
         hedgewars("British")),
    Item("voices_fr", (DEV_FULL,), "speech", "tuxpaint-stamps-default", "GPL-2", "volunteers, French", tuxpaint("fr", PIECE_S)),
    Item("folk_irelands_coast", (DEV_FULL,), "music", "unknown-horizons", CC_BY_SA, "folk instruments",
         excerpt(f"{ISLANDS}/irelands_coast.ogg", 30, PIECE_S)),
    Item("single_tabla_guitar", (DEV_FULL,), "music", "sonic-pi-samples", "CC0", "single instruments: tabla, guitar",
         samples("loop_tabla", "guit_em9")),
    Item("orchestra_northerners", (DEV_FULL,), "music", "wesnoth-1.16-music", "GPL-2+", "orchestral, sampled",
         excerpt("usr/share/games/wesnoth/1.16/data/core/music/northerners.ogg", 60, PIECE_S)),
    Item("band_chaos_god", (DEV_FULL,), "music", "fretsonfire-songs-muldjord", CC_BY_SA, "metal band, mix of two stems",
         stems("usr/share/games/fretsonfire/data/songs/muldjord/chaos_god", 60, PIECE_S)),
    Item("electronic_awakening", (DEV_FULL,), "music", "singularity-music", CC_BY_SA, "sparse electronic, 48 kHz Vorbis source",
         excerpt("usr/share/games/singularity/music/Awakening.ogg", 60, PIECE_S)),

    Item("voices_es", (HELDOUT_FULL,), "speech", "tuxpaint-stamps-default", "GPL-2", "volunteers, Spanish", tuxpaint("es", PIECE_S)),
    Item("voices_da", (HELDOUT_FULL,), "speech", "tuxpaint-stamps-default", "GPL-2", "volunteers, Danish", tuxpaint("da", PIECE_S)),
    Item("meeting_bg_ru", (HELDOUT_FULL,), "speech", "tuxpaint-stamps-default", "GPL-2", "conversation in stereo, two voices left and right",
         lambda root: tuxpaint_meeting(root)[:PIECE_S * RATE_HZ]),
    Item("folk_golden_valley", (HELDOUT_FULL,), "music", "unknown-horizons", CC_BY_SA, "folk instruments",
         excerpt(f"{ISLANDS}/goldenvalley.ogg", 30, PIECE_S)),
    Item("single_bell_percussion", (HELDOUT_FULL,), "music", "sonic-pi-samples", "CC0", "single instruments: bell, drum roll, percussion",
         samples("perc_bell", "drum_roll", "loop_safari")),
    Item("orchestra_maze", (HELDOUT_FULL,), "music", "pathological", "GPL-2+", "orchestral, sampled, Vorbis 229 kb/s",
         excerpt("usr/share/games/pathological/music/intro.ogg", 20, PIECE_S)),
    Item("band_war_of_freedom", (HELDOUT_FULL,), "music", "fretsonfire-songs-sectoid", "MIT", "instrumental rock, mix of two stems",
         stems(f"{SECTOID}/War of freedom", 60, PIECE_S)),
    Item("band_metal_madness", (HELDOUT_FULL,), "music", "fretsonfire-songs-sectoid", "MIT", "instrumental metal, mix of two stems",
         stems(f"{SECTOID}/Metal madness", 60, PIECE_S)),
    Item("electronic_zaz", (HELDOUT_FULL,), "music", "zaz-data", CC_BY_SA, "electronic (Leonard Ritter)",
         excerpt("usr/share/games/zaz/mus1.ogg", 60, PIECE_S)),
]


# ---- packages ----------------------------------------------------------------------------------------------------------

class Packages:
    """Fetches and unpacks Debian packages under one folder, each once."""

    def __init__(self, folder):
        self.folder = folder

    def root(self, name):
        """The folder below which the package's files are."""
        if self.installed_version(name):
            return Path("/")
        unpacked = self.folder / name
        if not unpacked.is_dir():
            deb = self.deb(name) or self.download(name)
            partial = self.folder / f"{name}.partial"
            run_tool("rm", "-rf", partial)
            run_tool("dpkg-deb", "-x", deb, partial)
            partial.rename(unpacked)
        return unpacked

    def version(self, name):
        deb = self.deb(name)
        return run_tool("dpkg-deb", "-f", deb, "Version").strip() if deb else self.installed_version(name)

    def deb(self, name):
        found = sorted(self.folder.glob(f"{name}_*.deb"))
        return found[-1] if found else None

    @staticmethod
    def installed_version(name):
        try:
            answer = run_tool("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name).split()
        except LabError:
            return None
        return answer[1] if len(answer) == 2 and answer[0] == "installed" else None

    def download(self, name):
        if not re.search(r"Candidate: \d", run_tool("apt-cache", "policy", name)):
            raise LabError(f"apt knows no package '{name}': run apt-get update (as root), and use Debian 12's main archive")
        say(f"  downloading {name}")
        staging = self.folder / "incoming"
        staging.mkdir(parents=True, exist_ok=True)
        # apt-get download writes into the working directory; a half-done file must not look like a whole one.
        try:
            run_tool("sh", "-c", 'cd "$1" && exec apt-get -qq -o APT::Sandbox::User=root download "$2"', "sh", staging, name)
        except LabError as error:
            raise LabError(f"cannot download {name}: {error}. Is there a network? If there is, run apt-get update") from None
        for deb in staging.glob(f"{name}_*.deb"):
            return deb.rename(self.folder / deb.name)
        raise LabError(f"apt-get download {name} left no file")


# ---- the sets ----------------------------------------------------------------------------------------------------------

def read_manifest(set_folder):
    """Rows of a set as dictionaries, in the order of the manifest."""
    path = Path(set_folder) / "MANIFEST.tsv"
    if not path.exists():
        raise LabError(f"{path} is missing: build the corpus first with tools/lab corpus --set {Path(set_folder).name}")
    with open(path, newline="") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def write_manifest(set_folder, rows):
    partial = set_folder / "MANIFEST.tsv.partial"
    with open(partial, "w", newline="") as f:
        writer = csv.DictWriter(f, MANIFEST_FIELDS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.rename(set_folder / "MANIFEST.tsv")


def finish(x, path):
    """Level, limiter, dither, file. Returns the bandwidth, measured before dither adds energy everywhere."""
    silent = (x == 0).all(axis=1)
    x = x - x[~silent].mean(axis=0)
    x = x * 10 ** ((-20 - audio.loudness_lufs(x)) / 20)
    bandwidth = audio.bandwidth_hz(x)
    x = audio.limit_peaks(x)
    rng = np.random.default_rng(1)
    dither = (rng.random(x.shape) - rng.random(x.shape)) / 32768
    y = x + dither
    y[silent] = 0                               # digital silence stays digital
    partial = path.with_suffix(".partial")
    audio.write_wav(partial, y)
    partial.rename(path)
    return bandwidth


def build_set(name, out):
    """Builds what is missing of one set; returns the number of items built."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    done = {}
    if (folder / "MANIFEST.tsv").exists():
        done = {row["item"]: row for row in read_manifest(folder) if (folder / row["file"]).exists()}
    items = [item for item in ITEMS if name in item.sets]
    missing = [item for item in items if item.name not in done]
    packages = Packages(out / "packages")
    packages.folder.mkdir(parents=True, exist_ok=True)
    for index, item in enumerate(missing, 1):
        say(f"{name}: {index}/{len(missing)} {item.name} from {item.package}")
        x = item.build(packages.root(item.package))
        path = folder / f"{item.name}.wav"
        bandwidth = finish(x, path)
        done[item.name] = {"item": item.name, "kind": item.kind, "file": path.name, "seconds": f"{len(x) / RATE_HZ:.1f}",
                           "channels": x.shape[1], "bandwidth_hz": f"{bandwidth:.0f}", "package": item.package,
                           "version": packages.version(item.package), "licence": item.licence, "notes": item.notes}
        # After every item, so that an interrupted build goes on where it stopped.
        write_manifest(folder, [done[i.name] for i in items if i.name in done])
    return len(missing)


def add_parser(commands, common):
    parser = commands.add_parser(
        "corpus", parents=[common], help="build the speech and music to measure on",
        description="Builds 48 kHz WAVs of real speech and music at -20 LUFS out of Debian packages, which are downloaded and "
                    "unpacked but not installed. A second run does nothing. Needs apt-get update to have run once.",
        epilog="examples:\n  tools/lab corpus --set demo            three items, 30 MB of downloads\n"
               "  tools/lab corpus --set heldout         18 items, 250 MB\n"
               "  tools/lab corpus --set heldout-fullband  9 pieces of 20 s\n  tools/lab corpus --set all --out /data/corpus")
    parser.add_argument("--set", choices=[*SETS, "all"], default="all", help="which items (default: all of dev and heldout)")
    parser.add_argument("--out", type=Path, default=None, help="folder to build in (default: the corpus folder, see --corpus)")
    parser.set_defaults(run=main)


def main(args):
    require_tools("ffmpeg", "ffprobe", "apt-get", "dpkg-deb")
    out = (args.out or args.corpus).resolve()
    for name in ([DEV, HELDOUT] if args.set == "all" else [args.set]):
        built = build_set(name, out)
        say(f"{name}: {'nothing to do' if built == 0 else f'{built} items built'} in {out / name}")
    return 0
