"""tools/lab attack: what happens to a copy between the leaker's player and the place where it is found.

An attack reads a WAV and writes a WAV at whatever rate and channel count it naturally ends with. Those with a random part
depend on the seed alone. Codecs are other people's encoders (ffmpeg, opus-tools), at settings people use.

Every attack belongs to a class, which carries the clip length and the goal of the table in the README.
"""
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
from scipy import signal

from . import audio, ogg
from .common import LabError, require_tools, run_tool, seed_of


@dataclass(frozen=True)
class AttackClass:
    name: str
    clip_s: float
    goal: float | None          # share of clips in which the right account, and no other, is named


CLASSES = {c.name: c for c in [
    AttackClass("light", 2, 0.97),
    AttackClass("medium", 3, 0.95),
    AttackClass("timing", 4, 0.90),
    AttackClass("room", 5, 0.90),
    AttackClass("extra", 5, None),
]}


@dataclass(frozen=True)
class Attack:
    name: str
    group: AttackClass
    what: str
    apply: Callable             # (in_path, out_path, Context) -> None
    keeps_order: bool = True    # false: time in the result does not grow evenly with time in the copy
    container: str = "wav"      # what each clip is wrapped in after it was cut, see CONTAINERS


class Context:
    """What an attack may use besides its input: a random generator, scratch files, another recording."""

    def __init__(self, seed, scratch, other=None):
        self.rng = np.random.default_rng(seed)
        self.scratch, self.other_path = Path(scratch), other
        self.files = 0

    def temporary(self, extension):
        self.files += 1
        return self.scratch / f"{self.files}.{extension}"

    def other(self, rate_hz, channels):
        if self.other_path is None:
            raise LabError("this attack mixes in another recording: give one with --other FILE.wav")
        return audio.decode(self.other_path, channels, rate_hz)


ATTACKS = {}


def register(name, group, what, apply, **more):
    ATTACKS[name] = Attack(name, CLASSES[group], what, apply, **more)


# ---- building blocks ---------------------------------------------------------------------------------------------------

def ffmpeg(*arguments):
    run_tool("ffmpeg", "-nostdin", "-v", "error", "-y", *arguments)


def codec(extension, *encoder, decoder=()):
    """Encodes with ffmpeg to a file of that type and decodes it again."""
    def apply(source, target, context):
        encoded = context.temporary(extension)
        ffmpeg("-i", source, *encoder, encoded)
        ffmpeg("-i", encoded, *decoder, "-c:a", "pcm_s16le", target)
    return apply


def opus(bitrate_kbps, *options, channels=None, loss_percent=0):
    """opus-tools; loss_percent drops packets at random, which the decoder conceals."""
    def apply(source, target, context):
        encoded = context.temporary("opus")
        if channels:
            downmixed = context.temporary("wav")
            ffmpeg("-i", source, "-ac", channels, downmixed)
            source = downmixed
        run_tool("opusenc", "--quiet", "--serial", 1, "--bitrate", bitrate_kbps, *options, source, encoded)
        if loss_percent:
            # opusdec --packet-loss draws from rand() unseeded by us; dropping the packets here keeps runs repeatable.
            drop_opus_packets(encoded, context.rng, loss_percent / 100)
        run_tool("opusdec", "--quiet", "--rate", 48000, encoded, target)
    return apply


def drop_opus_packets(path, rng, share):
    """Replaces that share of the packets by one-byte packets of the same kind, which decoders treat as lost frames."""
    packets, end_granule = ogg.read_packets(path)
    lost = [packet[:1] if rng.random() < share else packet for packet in packets[2:]]
    ogg.write_packets(path, packets[:2] + lost, end_granule)


def ffmpeg_filter(graph, *options):
    return lambda source, target, context: ffmpeg("-i", source, "-af", graph, *options, "-c:a", "pcm_s16le", target)


def samples(change):
    """An attack written as change(x, rate_hz, context) -> x; scaled down only if it would clip."""
    def apply(source, target, context):
        x, rate_hz = audio.read_wav(source)
        y = change(x, rate_hz, context)
        audio.write_wav(target, y * min(1.0, 0.99 / max(np.abs(y).max(), 1e-9)), rate_hz)
    return apply


def chain(*steps):
    def apply(source, target, context):
        for index, step in enumerate(steps):
            end = target if index == len(steps) - 1 else context.temporary("wav")
            step(source, end, context)
            source = end
    return apply


def pink_noise(count, rng):
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.maximum(np.arange(len(spectrum)), 1)
    noise = np.fft.irfft(spectrum / np.sqrt(frequency), count)
    return noise / audio.rms(noise)


def add_noise(x, rate_hz, rng, snr_db, colour):
    noise = rng.standard_normal(len(x)) if colour == "white" else pink_noise(len(x), rng)
    return x + (noise * audio.active_rms(x, rate_hz) * 10 ** (-snr_db / 20))[:, None]


def noise(snr_db, colour):
    return samples(lambda x, rate_hz, context: add_noise(x, rate_hz, context.rng, snr_db, colour))


def butterworth(kind, edge_hz):
    return samples(lambda x, rate_hz, context: signal.sosfilt(
        signal.butter(6, edge_hz, kind, fs=rate_hz, output="sos"), x, axis=0))


def filter_by(x, response):
    return signal.fftconvolve(x, response[:, None], axes=0)[:len(x)]


def tilt(db):
    """Minus db at 125 Hz, plus db at 8 kHz, straight over octaves between."""
    def change(x, rate_hz, context):
        taps, frequency = 4097, np.linspace(0, rate_hz / 2, 2049)
        octaves = np.clip(np.log2(np.maximum(frequency, 1) / 1000) / 3, -1, 1)
        response = signal.firwin2(taps, frequency, 10 ** (db * octaves / 20), fs=rate_hz)
        return signal.fftconvolve(x, response[:, None], axes=0)[taps // 2:taps // 2 + len(x)]
    return samples(change)


def play_at(speed):
    """Another clock: plays `speed` times as fast, pitch moves along. Windowed-sinc interpolation, so any ratio is exact."""
    def change(x, rate_hz, context):
        half = 32
        position = np.arange(int(len(x) / speed)) * speed
        whole = np.floor(position).astype(int)
        fraction = position - whole
        padded = np.pad(x, ((half, half + 1), (0, 0)))
        cutoff = min(1.0, 1 / speed)
        y = np.zeros((len(position), x.shape[1]))
        for tap in range(-half + 1, half + 1):
            distance = tap - fraction
            window = np.where(np.abs(distance) < half, np.cos(np.pi * distance / (2 * half)) ** 2, 0)
            y += padded[whole + tap + half] * (cutoff * np.sinc(cutoff * distance) * window)[:, None]
        return y
    return samples(change)


def dropouts(share, mean_burst_frames=2):
    """Mutes 20 ms frames in bursts: a two-state channel with that share of bad frames."""
    def change(x, rate_hz, context):
        stay_bad = 1 - 1 / mean_burst_frames
        turn_bad = share / (1 - share) * (1 - stay_bad)
        size, y, bad = rate_hz // 50, x.copy(), False
        for start in range(0, len(x), size):
            bad = context.rng.random() < (stay_bad if bad else turn_bad)
            if bad:
                y[start:start + size] = 0
        return y
    return samples(change)


def jumps(shortest_ms, longest_ms, every_s=2.0):
    """What a player does when its buffer runs empty or full: leaves out or repeats a stretch, on average every 2 s.

    Lengths are spread evenly over octaves. 2 ms cross-fades, as players make them."""
    def change(x, rate_hz, context):
        fade = rate_hz // 500
        ramp = np.linspace(0, 1, fade)[:, None]
        parts, position = [], 0
        while position < len(x):
            take = int(context.rng.uniform(0.5, 1.5) * every_s * rate_hz)
            piece = x[position:position + take].copy()
            if parts and len(piece) > fade:
                piece[:fade] = piece[:fade] * ramp + parts[-1][-fade:] * (1 - ramp)
                parts[-1] = parts[-1][:-fade]
            if len(piece) > 2 * fade:
                parts.append(piece)
            jump_ms = shortest_ms * (longest_ms / shortest_ms) ** context.rng.random() * context.rng.choice([-1, 1])
            position = max(0, position + take + int(jump_ms / 1000 * rate_hz))
        return np.concatenate(parts)
    return samples(change)


def crop(length_s):
    def change(x, rate_hz, context):
        count = min(len(x), int(length_s * rate_hz))
        start = int(context.rng.integers(len(x) - count + 1))
        return x[start:start + count]
    return samples(change)


def another_voice(ratio_db):
    """Another recording on top, at the same active level less ratio_db."""
    def change(x, rate_hz, context):
        other = context.other(rate_hz, x.shape[1])
        other = np.tile(other, (len(x) // len(other) + 2, 1))
        start = int(context.rng.integers(len(other) - len(x)))
        other = other[start:start + len(x)]
        return x + other * (audio.active_rms(x, rate_hz) / audio.active_rms(other, rate_hz) * 10 ** (-ratio_db / 20))
    return samples(change)


def room_response(rate_hz, rt60_s, direct_to_reverberant_db, rng):
    """Direct sound, six early reflections within 25 ms and an exponentially decaying tail."""
    time_s = np.arange(int(rt60_s * 1.2 * rate_hz)) / rate_hz
    response = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / rt60_s)
    response *= np.minimum(1, time_s / 0.006) * (time_s >= 0.003)
    response *= 10 ** (-direct_to_reverberant_db / 20) / np.sqrt((response ** 2).sum())
    for _ in range(6):
        response[int(rng.uniform(0.002, 0.025) * rate_hz)] += rng.choice([-1, 1]) * rng.uniform(0.15, 0.45)
    response[0] = 1
    return response


def reverberation(rt60_s, direct_to_reverberant_db=6):
    return samples(lambda x, rate_hz, context: filter_by(
        x, room_response(rate_hz, rt60_s, direct_to_reverberant_db, context.rng)))


def air_gap(rt60_s, direct_to_reverberant_db, snr_db):
    """Small loudspeaker (150 Hz to 7 kHz, uneven by ±4 dB), room, pink noise, a microphone that clips a little."""
    def change(x, rate_hz, context):
        rng = context.rng
        y = x.mean(axis=1, keepdims=True)
        y = signal.sosfilt(signal.butter(2, 150, "highpass", fs=rate_hz, output="sos"), y, axis=0)
        y = signal.sosfilt(signal.butter(4, 7000, "lowpass", fs=rate_hz, output="sos"), y, axis=0)
        frequency = np.geomspace(100, 12000, 24)
        gain_db = rng.uniform(-4, 4, len(frequency))
        uneven = signal.firwin2(1025, np.r_[0, frequency, rate_hz / 2],
                                10 ** (np.r_[gain_db[0], gain_db, gain_db[-1]] / 20), fs=rate_hz)
        y = signal.fftconvolve(y, uneven[:, None], axes=0)[512:512 + len(y)]
        y = filter_by(y, room_response(rate_hz, rt60_s, direct_to_reverberant_db, rng))
        y = add_noise(y, rate_hz, rng, snr_db, "pink")
        return np.clip(y / np.abs(y).max() * 10 ** (3 / 20), -1, 1) * 0.9
    return samples(change)


def speex(source, target, context):
    narrow, encoded = context.temporary("wav"), context.temporary("spx")
    ffmpeg("-i", source, "-ac", 1, "-ar", 16000, narrow)
    run_tool("speexenc", "--wideband", "--quality", 5, narrow, encoded)
    run_tool("speexdec", encoded, target)


def amr_nb(source, target, context):
    narrow, encoded = context.temporary("wav"), context.temporary("amr-nb")
    ffmpeg("-i", source, "-ac", 1, "-ar", 8000, narrow)
    run_tool("sox", narrow, "-C", 7, encoded)
    run_tool("sox", encoded, target)


def aac(kbps):
    return codec("m4a", "-c:a", "aac", "-b:a", f"{kbps}k")


def mp3(kbps):
    return codec("mp3", "-c:a", "libmp3lame", "-b:a", f"{kbps}k")


def resample(rate_hz):
    # Float out of the resampler: its 16-bit output is dithered, differently every time.
    return ffmpeg_filter(f"aresample={rate_hz}:resampler=soxr:osf=flt")


# ---- the set -----------------------------------------------------------------------------------------------------------

def register_all():
    light, medium, timing, room, extra = "light", "medium", "timing", "room", "extra"
    register("none", light, "the copy as received", ffmpeg_filter("anull"))
    register("aac_96k", light, "AAC-LC 96 kb/s", aac(96))
    register("mp3_128k", light, "MP3 128 kb/s", mp3(128))
    register("mp3_64k", light, "MP3 64 kb/s", mp3(64))
    register("opus_64k", light, "Opus 64 kb/s", opus(64))
    register("opus_32k", light, "Opus 32 kb/s", opus(32))
    register("vorbis_q2", light, "Vorbis quality 2", codec("ogg", "-c:a", "libvorbis", "-q:a", 2))
    register("resample_44k1", light, "resampled to 44.1 kHz", resample(44100))
    register("resample_16k", light, "resampled to 16 kHz", resample(16000))
    register("gain_-12db", light, "12 dB quieter", samples(lambda x, rate_hz, context: x * 10 ** (-12 / 20)))
    register("mono", light, "mixed down to mono", ffmpeg_filter("anull", "-ac", 1))

    register("opus_24k", medium, "Opus 24 kb/s, mono", opus(24, channels=1))
    register("opus_16k", medium, "Opus 16 kb/s, mono, speech mode, constant rate", opus(16, "--speech", "--hard-cbr", channels=1))
    register("aac_48k", medium, "AAC-LC 48 kb/s", aac(48))
    register("clip_mp4", medium, "the clip saved as AAC 48 kb/s in MP4", ffmpeg_filter("anull"), container="mp4")
    register("mp3_32k", medium, "MP3 32 kb/s", mp3(32))
    register("g711", medium, "G.711 mu-law, 8 kHz", codec("wav", "-ac", 1, "-ar", 8000, "-c:a", "pcm_mulaw"))
    register("gsm", medium, "GSM full rate, 8 kHz", codec("gsm", "-ac", 1, "-ar", 8000, "-c:a", "libgsm", "-f", "gsm"))
    register("phone_band", medium, "band-pass 300 to 3400 Hz", butterworth("bandpass", (300, 3400)))
    register("compressor", medium, "compressor 6:1 above -26 dB, 5/80 ms, make-up gain and limiter", ffmpeg_filter(
        "acompressor=threshold=0.05:ratio=6:attack=5:release=80:makeup=2,alimiter=limit=0.95"))
    register("loudnorm", medium, "EBU R128 loudness, single pass, -16 LUFS", ffmpeg_filter("loudnorm=I=-16:TP=-1.5:LRA=7", "-ar", 48000))
    register("tilt_+6db", medium, "tone: -6 dB at 125 Hz to +6 dB at 8 kHz", tilt(6))
    register("tilt_-6db", medium, "tone: +6 dB at 125 Hz to -6 dB at 8 kHz", tilt(-6))
    for snr_db in (20, 10):
        for colour in ("white", "pink"):
            register(f"{colour}_{snr_db}db", medium, f"{colour} noise, SNR {snr_db} dB over the active parts", noise(snr_db, colour))
    register("voice_0db", medium, "another recording on top, equally loud", another_voice(0))

    register("drift_100ppm", timing, "clock 100 ppm fast", play_at(1.0001))
    register("dropouts_5%", timing, "5 % of 20 ms frames muted, in bursts", dropouts(0.05))
    register("opus_24k_loss_5%", timing, "Opus 24 kb/s, speech mode, 5 % of packets lost and concealed",
             opus(24, "--speech", "--expect-loss", 5, channels=1, loss_percent=5))

    air_codec = codec("m4a", "-ac", 1, "-ar", 16000, "-c:a", "aac", "-b:a", "64k")
    register("reverb_0.4s", room, "room, RT60 0.4 s, direct sound 6 dB above the rest", reverberation(0.4))
    register("air_gap", room, "loudspeaker, room of RT60 0.4 s, pink noise 15 dB, microphone, AAC 64 kb/s at 16 kHz",
             chain(air_gap(0.4, 6, 15), air_codec))

    register("resample_8k", extra, "resampled to 8 kHz", resample(8000))
    register("opus_12k", extra, "Opus 12 kb/s, mono, speech mode", opus(12, "--speech", "--hard-cbr", channels=1))
    register("aac_64k", extra, "AAC-LC 64 kb/s", aac(64))
    register("amr_nb", extra, "AMR-NB 12.2 kb/s, 8 kHz", amr_nb)
    register("speex", extra, "Speex wide-band quality 5", speex)
    register("bits_8", extra, "8-bit samples", samples(lambda x, rate_hz, context: np.round(x * 127) / 127))
    register("inversion", extra, "polarity inverted", samples(lambda x, rate_hz, context: -x))
    register("clipping_9db", extra, "9 dB too loud, hard clipping", samples(lambda x, rate_hz, context: np.clip(x * 10 ** (9 / 20), -1, 1) * 0.5))
    register("lowpass_4k", extra, "low-pass 4 kHz", butterworth("lowpass", 4000))
    register("echo_100ms", extra, "one echo after 100 ms, -6 dB", ffmpeg_filter("aecho=1:1:100:0.5,alimiter=limit=0.97"))
    register("agc", extra, "automatic gain control", ffmpeg_filter("dynaudnorm=f=150:g=9"))
    register("denoise", extra, "spectral noise reduction", ffmpeg_filter("afftdn=nr=30:nf=-30"))
    register("white_0db", extra, "white noise, SNR 0 dB", noise(0, "white"))
    register("voice_-6db", extra, "another recording on top, 6 dB louder", another_voice(-6))
    register("reverb_0.8s", extra, "room, RT60 0.8 s, direct sound 3 dB above the rest", reverberation(0.8, 3))
    register("air_gap_far", extra, "loudspeaker, room of RT60 0.6 s, direct sound as loud as the rest, pink noise 10 dB", chain(air_gap(0.6, 0, 10), air_codec))
    register("drift_300ppm", extra, "clock 300 ppm slow", play_at(0.9997))
    register("speed_+1%", extra, "1 % fast, pitch moves", play_at(1.01))
    register("speed_-1%", extra, "1 % slow, pitch moves", play_at(0.99))
    register("tempo_+2%", extra, "2 % fast, pitch kept (WSOLA)", ffmpeg_filter("atempo=1.02"))
    register("tempo_-2%", extra, "2 % slow, pitch kept (WSOLA)", ffmpeg_filter("atempo=0.98"))
    register("jumps_5-50ms", extra, "leaves out or repeats 5 to 50 ms about every 2 s", jumps(5, 50), keeps_order=False)
    register("jumps_50-500ms", extra, "leaves out or repeats 50 to 500 ms about every 2 s", jumps(50, 500), keeps_order=False)
    register("crop_30s", extra, "30 s cut out", crop(30), keeps_order=False)
    register("opus_32k_aac_64k", extra, "Opus 32 kb/s, then AAC 64 kb/s", chain(opus(32), aac(64)))
    register("rebroadcast", extra, "AAC 96 kb/s at 44.1 kHz, loudness -14 LUFS, Opus 64 kb/s", chain(
        codec("m4a", "-ar", 44100, "-c:a", "aac", "-b:a", "96k"), ffmpeg_filter("loudnorm=I=-14:TP=-1", "-ar", 48000), opus(64)))
    register("opus_24k_mp4", extra, "Opus 24 kb/s, mono; the clip saved as AAC 48 kb/s in MP4", opus(24, channels=1), container="mp4")
    register("clip_webm", extra, "the clip saved as Opus 48 kb/s in WebM", ffmpeg_filter("anull"), container="webm")
    register("voice_aac_48k", extra, "another recording 6 dB quieter, then AAC 48 kb/s", chain(another_voice(6), aac(48)))


register_all()

# The last step of some clips: what a phone or a site makes of them. Cut first, then wrapped, as people do.
CONTAINERS = {"wav": None, "mp4": ("-c:a", "aac", "-b:a", "48k"), "webm": ("-c:a", "libopus", "-b:a", "48k")}


def wrap(source, target):
    """Puts a WAV into the container that the target's name asks for."""
    ffmpeg("-i", source, *CONTAINERS[Path(target).suffix[1:]], target)


def attack_file(name, source, target, seed, other=None):
    """Runs one attack; the target appears whole or not at all."""
    if not Path(source).is_file():
        raise LabError(f"{source}: no such file")
    scratch = tempfile.mkdtemp(prefix="lab-attack-")
    try:
        result = Path(scratch) / "result.wav"
        ATTACKS[name].apply(source, result, Context(seed, scratch, other))
        shutil.move(result, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def select(words):
    """Attacks by name or class name, comma separated; "goals" is every attack with a goal, "all" is all of them."""
    chosen = []
    for word in words.split(","):
        found = [a for a in ATTACKS.values()
                 if word in ("all", a.name, a.group.name) or (word == "goals" and a.group.goal is not None)]
        if not found:
            raise LabError(f"no attack or class '{word}'; tools/lab attack --list shows them")
        chosen += [a for a in found if a not in chosen]
    return chosen


def add_parser(commands, common):
    parser = commands.add_parser(
        "attack", parents=[common], help="attack one file, or list the attacks",
        description="Applies one attack to a WAV. The same seed gives the same result.",
        epilog="examples:\n  tools/lab attack --list\n  tools/lab attack opus_16k copy.wav leaked.wav\n"
               "  tools/lab attack voice_0db copy.wav leaked.wav --other talk.wav --seed 7")
    parser.add_argument("name", nargs="?", help="attack, see --list")
    parser.add_argument("source", nargs="?", metavar="IN.wav")
    parser.add_argument("target", nargs="?", metavar="OUT.wav")
    parser.add_argument("--list", action="store_true", help="print name, class, clip length, goal and description of each")
    parser.add_argument("--seed", type=int, help="for the random part (default: from the names of attack and input)")
    parser.add_argument("--other", type=Path, help="recording that voice_* attacks mix in")
    parser.set_defaults(run=main)


def main(args):
    if args.list:
        for a in ATTACKS.values():
            goal = f"{a.group.goal:.0%}" if a.group.goal else "-"
            print(f"{a.name:18} {a.group.name:7} {a.group.clip_s:g} s  {goal:4} {a.what}")
        return 0
    if not args.target:
        raise LabError("attack needs NAME IN.wav OUT.wav (or --list)")
    if args.name not in ATTACKS:
        raise LabError(f"no attack '{args.name}'; tools/lab attack --list shows them")
    require_tools("ffmpeg", "opusenc", "opusdec")
    seed = args.seed if args.seed is not None else seed_of(args.name, Path(args.source).name)
    attack_file(args.name, args.source, args.target, seed, args.other)
    return 0
