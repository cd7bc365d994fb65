"""What the live tests and the live demo share: daemons, speakers that send RTP, listeners that record it, and leaks made of what they heard.

    with Daemon(binary, config) as sidecar, Listeners(2) as listeners:
        sidecar.post("Relay", "OpenStream", {"stream_id": "room"})
        port = sidecar.post("Relay", "AddSource", {"stream_id": "room", "source": "anna"})["rtp_port"]
        grant = sidecar.post("Relay", "Grant", {"stream_id": "room", "account": "alice", "destination": listeners.destination(0)})
        with RtpSource(speech("en"), port, seconds=30) as source:
            source.wait()
        heard = Recording(listeners[0], grant["sources"][0]["ssrc"])
        leak(heard.decode(folder / "heard.wav"), 10, 8, folder / "leak.mp4")

Only the standard library and ffmpeg.
"""
import http.client
import json
import os
import queue
import selectors
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import children

RATE_HZ = 48000
ROOT = Path(__file__).resolve().parents[2]


def ffmpeg(*words):
    children.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *words], check=True)
    return Path(words[-1])


def duration_s(path):
    said = children.run(["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path], check=True, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE)
    return float(said.stdout)


def speech(language="en"):
    """Two minutes of real speech, 48 kHz mono: en and it are a woman and a man. Downloads a Debian package the first time."""
    done = children.run([ROOT / "tools/speech", language], stdout=subprocess.PIPE, text=True, check=True)
    return ROOT / done.stdout.strip()


# ---- daemons -----------------------------------------------------------------------------------------------------------

class CallError(Exception):
    """A call that was refused: HTTP status, gRPC's code number, message."""

    def __init__(self, http_status, code, message):
        super().__init__(f"HTTP {http_status}, code {code}: {message}")
        self.http_status, self.code, self.message = http_status, code, message

    @classmethod
    def of(cls, http_status, body):
        try:
            error = json.loads(body)
            return cls(http_status, error["code"], error["message"])
        except (ValueError, KeyError, TypeError):
            return cls(http_status, None, body.decode(errors="replace")[:500])


def to_toml(config):
    """{"listen": {"grpc": "127.0.0.1:0"}} as TOML. JSON writes strings, numbers, booleans and lists as TOML does."""
    return "".join(f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) for section, keys in config.items())


class Daemon:
    """A running daemon, its HTTP side, and its end. `config`: sections as a dict, or TOML. Ports that are not set are any."""

    def __init__(self, binary, config, folder=None, token=None, ready_s=30, own_session=False):
        """`own_session`: the terminal's Ctrl-C does not reach it, so that it gets one signal and not two."""
        self.binary, self.token, self.own_session = Path(binary), token, own_session
        self.folder = Path(folder or tempfile.mkdtemp(prefix="earmark-live-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config, self.log = self.folder / f"{self.binary.name}.toml", self.folder / f"{self.binary.name}.log"
        if isinstance(config, dict):
            config = to_toml({"listen": {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"}} | config)
        self.config.write_text(config)
        self.process, self.grpc, self.http = None, None, None
        self.start(ready_s)

    def start(self, ready_s=30):
        """Also again, after stop() or kill(); the log goes on."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EARMARK_")}
        with open(self.log, "ab") as log:
            self.process = children.start([self.binary, "--config", self.config], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                          text=True, env=environment, cwd=self.folder, start_new_session=self.own_session)
        try:
            self._wait_until_ready(ready_s)
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self, ready_s):
        lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.process.stdout, lines), daemon=True).start()
        end = time.monotonic() + ready_s
        while True:
            try:
                line = lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                line = "timeout"
            if line is None or line == "timeout":
                status = "no ready line" if line else f"ended with status {self.process.wait()}"
                raise RuntimeError(f"{self.binary.name}: {status} within {ready_s} s\n{self.said()}")
            if line.startswith("ready "):
                places = dict(word.split("=", 1) for word in line.split()[1:])
                self.grpc, self.http = places["grpc"], places["http"]
                return

    @staticmethod
    def _read(pipe, lines):
        with pipe:
            for line in pipe:  # to the end, so that the daemon never waits for a reader
                lines.put(line)
        lines.put(None)

    def said(self):
        return self.log.read_text(errors="replace")[-5000:]

    def request(self, method, path, body=None, timeout=60, content="application/json"):
        """(connection, response), of which the caller closes the former."""
        headers = {"Content-Type": content} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        connection = http.client.HTTPConnection(self.http, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def get(self, path, timeout=60):
        """(status, text) of /readyz, /metrics and the like."""
        connection, response = self.request("GET", path, timeout=timeout)
        try:
            return response.status, response.read().decode()
        finally:
            connection.close()

    def post(self, service, method, body=None, timeout=60):
        """A unary call. CallError: it was refused."""
        return self._answer(*self.request("POST", f"/v1/{service}/{method}", json.dumps(body or {}), timeout))

    def upload(self, path, timeout=60, **parameters):
        """POST /v1/scans with a file."""
        parameters = {"name": Path(path).name} | parameters
        return self._answer(*self.request("POST", f"/v1/scans?{urlencode(parameters)}", Path(path).read_bytes(), timeout, "application/octet-stream"))

    @staticmethod
    def _answer(connection, response):
        try:
            data = response.read()
            if response.status != 200:
                raise CallError.of(response.status, data)
            return json.loads(data)
        finally:
            connection.close()

    def watch(self, service, method, body=None, timeout=60):
        """The messages of a server stream, one by one; `timeout` is for each."""
        connection, response = self.request("POST", f"/v1/{service}/{method}", json.dumps(body or {}), timeout)
        try:
            if response.status != 200:
                raise CallError.of(response.status, response.read())
            for line in response:
                message = json.loads(line)
                if "error" in message and set(message) == {"error"}:
                    raise CallError(200, message["error"]["code"], message["error"]["message"])
                yield message
        finally:
            connection.close()

    def stop(self, timeout=30):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        return self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
                raise


# ---- speakers ----------------------------------------------------------------------------------------------------------

class RtpSource:
    """FFmpeg plays a recording as RTP Opus to a port, in real time. RTCP goes to the same port, as RFC 5761 has it."""

    def __init__(self, wav, port, host="127.0.0.1", start_s=0, seconds=None, bitrate="64k", channels=1, frame_ms=20, vbr="on", application="audio",
                 payload_type=111, ssrc=None, loop=False, options=()):
        words = ["ffmpeg", "-nostdin", "-v", "error", "-re", *(["-stream_loop", "-1"] if loop else []), "-ss", start_s]
        words += [*(["-t", seconds] if seconds is not None else []), "-i", wav, "-c:a", "libopus", "-b:a", bitrate, "-ar", RATE_HZ, "-ac", channels]
        words += ["-frame_duration", frame_ms, "-vbr", vbr, "-application", application, *options, "-payload_type", payload_type]
        words += [*(["-ssrc", ssrc] if ssrc is not None else []), "-f", "rtp", f"rtp://{host}:{port}?rtcpport={port}&pkt_size=1400"]
        self.errors = tempfile.TemporaryFile()
        self.process = children.start(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors)

    def wait(self, timeout=600):
        """Until the recording has been played."""
        status = self.process.wait(timeout)
        if status != 0:
            self.errors.seek(0)
            raise RuntimeError(f"ffmpeg ended with status {status}: {self.errors.read().decode(errors='replace')[-2000:]}")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.errors.close()


# ---- listeners ---------------------------------------------------------------------------------------------------------

class Packet:
    """An RTP packet and when it came, by time.monotonic()."""
    __slots__ = ("arrival_s", "sequence", "timestamp", "payload_type", "marker", "ssrc", "payload", "size")

    def __init__(self, data, arrival_s):
        first, second, self.sequence, self.timestamp, self.ssrc = struct.unpack_from("!BBHII", data)
        start = 12 + 4 * (first & 15)
        if first & 0x10:
            start += 4 + 4 * struct.unpack_from("!H", data, start + 2)[0]
        end = len(data) - (data[-1] if first & 0x20 else 0)
        if first >> 6 != 2 or start > end:
            raise ValueError("not RTP")
        self.arrival_s, self.payload_type, self.marker, self.size = arrival_s, second & 0x7F, bool(second & 0x80), len(data)
        self.payload = data[start:end]


class Listener:
    """One socket and what has come to it. Lists only grow, so that they can be read while packets come."""

    def __init__(self, host):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.host, self.port = self.socket.getsockname()
        self.by_ssrc, self.rtcp, self.num_rejected = {}, [], 0

    def take(self, data, arrival_s):
        if len(data) >= 2 and 192 <= data[1] <= 223:  # RFC 5761
            self.rtcp.append((arrival_s, data))
            return
        try:
            packet = Packet(data, arrival_s)
        except (ValueError, struct.error, IndexError):
            self.num_rejected += 1
            return
        self.by_ssrc.setdefault(packet.ssrc, []).append(packet)

    def ssrcs(self):
        return list(self.by_ssrc)

    def packets(self, ssrc=None):
        """Of one SSRC, or all, as they came."""
        if ssrc is not None:
            return list(self.by_ssrc.get(ssrc, ()))
        return sorted((p for packets in list(self.by_ssrc.values()) for p in list(packets)), key=lambda p: p.arrival_s)

    def count(self, ssrc=None):
        return len(self.by_ssrc.get(ssrc, ())) if ssrc is not None else sum(len(packets) for packets in list(self.by_ssrc.values()))


class Listeners:
    """n UDP sockets, read by one thread."""

    def __init__(self, count, host="127.0.0.1"):
        self.all = [Listener(host) for _ in range(count)]
        self.selector = selectors.DefaultSelector()
        for listener in self.all:
            self.selector.register(listener.socket, selectors.EVENT_READ, listener)
        self.wake, waker = socket.socketpair()
        self.selector.register(waker, selectors.EVENT_READ, None)
        self.waker = waker
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    return
                try:
                    while True:
                        data = key.fileobj.recv(65536)
                        key.data.take(data, time.monotonic())
                except BlockingIOError:
                    pass
                except ConnectionError:
                    pass

    def __getitem__(self, index):
        return self.all[index]

    def __len__(self):
        return len(self.all)

    def __iter__(self):
        return iter(self.all)

    def destination(self, index, **more):
        """For Grant."""
        return {"host": self.all[index].host, "port": self.all[index].port} | more

    def wait_for(self, event, what, limit_s=30):
        """`event` is asked again and again, such as lambda: listeners[0].count() > 50."""
        end = time.monotonic() + limit_s
        while not event():
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not happen within {limit_s} s; packets: {[listener.count() for listener in self.all]}")
            time.sleep(0.01)

    def close(self):
        self.wake.send(b"x")
        self.thread.join()
        self.selector.close()
        for closing in (self.wake, self.waker, *(listener.socket for listener in self.all)):
            closing.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- what they heard ---------------------------------------------------------------------------------------------------

def opus_samples(payload):
    """Length of an Opus packet at 48 kHz: RFC 6716, 3.1. 0 if it is none."""
    if not payload:
        return 0
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = (120, 240, 480, 960)[config & 3]
    if code == 3 and len(payload) < 2:
        return 0
    return frame * ((1, 2, 2, payload[1] & 63 if code == 3 else 0)[code])


def _unwrapped(value, near, bits):
    half = 1 << (bits - 1)
    return near + ((value - near + half) & ((1 << bits) - 1)) - half


def _crc_table():
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


_CRC = _crc_table()


def _ogg_page(packet, granule, flags, sequence):
    """A page with one packet: RFC 3533."""
    lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    page = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, 1, sequence, 0, len(lacing)) + lacing + packet
    crc = 0
    for byte in page:
        crc = ((crc << 8) & 0xFFFFFFFF) ^ _CRC[(crc >> 24) ^ byte]
    return page[:22] + struct.pack("<I", crc) + page[26:]


class Recording:
    """One SSRC's packets at one listener, in order, each once. `num_lost` counts sequence numbers that never came."""

    def __init__(self, listener, ssrc):
        self.ssrc = ssrc
        by_sequence, near_sequence, near_timestamp, self.num_duplicate = {}, None, None, 0
        for packet in listener.packets(ssrc):
            sequence = packet.sequence if near_sequence is None else _unwrapped(packet.sequence, near_sequence, 16)
            timestamp = packet.timestamp if near_timestamp is None else _unwrapped(packet.timestamp, near_timestamp, 32)
            near_sequence, near_timestamp = max(sequence, near_sequence or sequence), max(timestamp, near_timestamp or timestamp)
            self.num_duplicate += sequence in by_sequence
            by_sequence.setdefault(sequence, (timestamp, packet))
        if not by_sequence:
            raise ValueError(f"nothing came under SSRC {ssrc}; these came: {listener.ssrcs()}")
        self.slots = [by_sequence[sequence] for sequence in sorted(by_sequence)]  # (timestamp without wraps, packet)
        self.num_lost = max(by_sequence) - min(by_sequence) + 1 - len(by_sequence)
        self.num_packets = len(self.slots)
        # When timestamp 0 would have come, had no packet been delayed: what places several sources on one clock.
        self.zero_s = min(packet.arrival_s - timestamp / RATE_HZ for timestamp, packet in self.slots)
        self.start_s = self.zero_s + self.slots[0][0] / RATE_HZ

    def opus_packets(self):
        """The packets, with an empty frame where time is missing: a decoder conceals those as it would for a listener."""
        packets, at = [], self.slots[0][0]
        for timestamp, packet in self.slots:
            length = opus_samples(packet.payload)
            if length == 0 or timestamp < at:  # not Opus, or time that ran backwards
                continue
            missing = (timestamp - at) // 960
            packets += [bytes([self._empty_toc(packet.payload[0])])] * missing
            packets.append(packet.payload)
            at = timestamp + length
        return packets

    @staticmethod
    def _empty_toc(toc):
        """One frame of 20 ms in the same mode, bandwidth and channels."""
        config = toc >> 3
        if config < 12:
            config = (config & ~3) | 1
        elif config < 16:
            config |= 1
        else:
            config |= 3
        return config << 3 | (toc & 4)

    def write_ogg(self, path):
        """Ogg Opus (RFC 7845) of the very packets that came."""
        packets = self.opus_packets()
        channels = 2 if packets[0][0] & 4 else 1
        head = b"OpusHead" + struct.pack("<BBHIhB", 1, channels, 0, RATE_HZ, 0, 0)
        tags = b"OpusTags" + struct.pack("<I", 4) + b"test" + struct.pack("<I", 0)
        granule = 0
        with open(path, "wb") as file:
            file.write(_ogg_page(head, 0, 2, 0))
            file.write(_ogg_page(tags, 0, 0, 1))
            for number, packet in enumerate(packets):
                granule += opus_samples(packet)
                file.write(_ogg_page(packet, granule, 4 if number == len(packets) - 1 else 0, number + 2))
        return Path(path)

    def decode(self, wav, channels=1):
        """As a player would: gaps concealed, 48 kHz."""
        wav = Path(wav)
        ogg = self.write_ogg(wav.with_suffix(".ogg"))
        return ffmpeg("-i", ogg, "-ac", channels, "-ar", RATE_HZ, "-c:a", "pcm_s16le", wav)


def mix(recordings, wav):
    """Several sources as one listener heard them together, each where its time says."""
    folder, inputs, filters = Path(tempfile.mkdtemp(prefix="earmark-mix-")), [], []
    start_s = min(recording.start_s for recording in recordings)
    for i, recording in enumerate(recordings):
        inputs += ["-i", recording.decode(folder / f"{i}.wav")]
        filters.append(f"[{i}]adelay={round((recording.start_s - start_s) * RATE_HZ)}S:all=1[d{i}]")
    joined = "".join(f"[d{i}]" for i in range(len(recordings)))
    ffmpeg(*inputs, "-filter_complex", ";".join(filters) + f";{joined}amix=inputs={len(recordings)}:normalize=0", "-ac", 1, "-c:a", "pcm_s16le", wav)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return Path(wav)


def leak(recording, start_s, seconds, mp4, bitrate="64k"):
    """A clip as platforms keep them: cut, and AAC in MP4."""
    return ffmpeg("-ss", start_s, "-t", seconds, "-i", recording, "-c:a", "aac", "-b:a", bitrate, "-ac", 1, mp4)
