"""Reading, writing and measuring audio. Arrays are float64, full scale ±1, shape (samples, channels)."""
import re
import tempfile

import numpy as np
from scipy.io import wavfile
from scipy.ndimage import minimum_filter1d

from .common import LabError, run_tool

RATE_HZ = 48000


def decode(path, channels=None, rate_hz=RATE_HZ, start_s=0, length_s=None, input_format=None):
    """Decodes anything ffmpeg reads. Headerless G.722 and GSM need input_format."""
    if channels is None:
        channels = probe(path)[1]
    command = ["ffmpeg", "-nostdin", "-v", "error"]
    command += ["-f", input_format] if input_format else []
    command += ["-ss", start_s] if start_s else []
    command += ["-t", length_s] if length_s else []
    command += ["-i", path, "-map", "0:a:0", "-ac", channels, "-af", f"aresample={rate_hz}:resampler=soxr", "-f", "f32le", "-"]
    samples = np.frombuffer(run_tool(*command, binary_output=True), np.float32)
    return samples.astype(np.float64).reshape(-1, channels)


def probe(path):
    """Sample rate and channel count of the first audio stream."""
    words = run_tool("ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "stream=sample_rate,channels",
                     "-of", "csv=p=0", path).strip().split(",")
    if len(words) < 2:
        raise LabError(f"{path}: no audio in this file")
    return int(words[0]), int(words[1])


def read_wav(path):
    """(samples, rate_hz) of a PCM WAV, without a child process; other WAVs go through ffmpeg."""
    try:
        rate_hz, x = wavfile.read(path)
    except FileNotFoundError:
        raise LabError(f"{path}: no such file") from None
    except ValueError:
        rate_hz, channels = probe(path)
        return decode(path, channels, rate_hz), rate_hz
    if x.dtype == np.int16:
        x = x / 32768.0
    elif x.dtype == np.int32:
        x = x / 2147483648.0
    elif x.dtype == np.uint8:
        x = (x - 128.0) / 128.0
    x = x.astype(np.float64)
    return (x[:, None] if x.ndim == 1 else x), rate_hz


def write_wav(path, x, rate_hz=RATE_HZ):
    pcm = np.clip(np.round(x * 32767), -32768, 32767).astype(np.int16)
    wavfile.write(path, int(rate_hz), pcm[:, 0] if pcm.ndim == 2 and pcm.shape[1] == 1 else pcm)


def loudness_lufs(x, rate_hz=RATE_HZ):
    """Integrated loudness after EBU R128."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as f:
        wavfile.write(f.name, rate_hz, x.astype(np.float32))
        # ebur128 reports on the log (stderr) only at level info, so send the log to a file.
        with tempfile.NamedTemporaryFile(suffix=".log") as log:
            run_tool("ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-i", f.name, "-af",
                     f"ebur128=metadata=1,ametadata=mode=print:key=lavfi.r128.I:file={log.name}", "-f", "null", "-")
            values = re.findall(r"lavfi\.r128\.I=(-?[\d.]+|-inf|nan)", log.read().decode())
    return float(values[-1]) if values else float("-inf")


def limit_peaks(x, threshold=0.95):
    """Look-ahead gain riding over 20 ms. No wave shaping, so no new spectrum above the source's band."""
    peak = np.abs(x).max(axis=1)
    if peak.max() <= threshold:
        return x
    gain = minimum_filter1d(np.minimum(1, threshold / np.maximum(peak, 1e-9)), 961)
    window = np.hanning(481)
    gain = np.convolve(np.pad(gain, 240, mode="edge"), window / window.sum(), "valid")
    return x * gain[:, None]


def rms(x):
    return np.sqrt((x ** 2).mean()) + 1e-12


def frame_levels_db(x, rate_hz, frame_s=0.02):
    """Level of each 20 ms frame, all channels together, in dB re full scale."""
    size = int(rate_hz * frame_s)
    count = len(x) // size
    energy = (x[:count * size] ** 2).mean(axis=1).reshape(count, size).mean(axis=1)
    return 10 * np.log10(energy + 1e-15)


def loud_level_db(levels_db):
    """The level that the loudest 5 % of the frames exceed: steadier than the one loudest frame."""
    return float(np.percentile(levels_db, 95)) if len(levels_db) else -150.0


def active_rms(x, rate_hz):
    """RMS over the frames within 30 dB of the loudest, so that an SNR does not depend on how much silence there is."""
    levels = frame_levels_db(x, rate_hz)
    if not len(levels):
        return rms(x)
    active = levels[levels > levels.max() - 30]
    return float(np.sqrt((10 ** (active / 10)).mean())) + 1e-12


def bandwidth_hz(x, rate_hz=RATE_HZ):
    """Highest frequency within 70 dB of the strongest one, over the frames that carry sound."""
    size = 4096
    frames = x.mean(axis=1)[:len(x) // size * size].reshape(-1, size)
    energy = (frames ** 2).mean(axis=1)
    frames = frames[energy > energy.max() * 1e-3]
    power = (np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2).mean(axis=0)
    level_db = 10 * np.log10(power + 1e-20)
    return float(np.nonzero(level_db > level_db.max() - 70)[0].max() * rate_hz / size)
