"""Just enough Ogg (RFC 3533) to take the packets of an Opus file out and put them back."""
import struct

from .common import LabError

_CRC_TABLE = []
for _byte in range(256):
    _value = _byte << 24
    for _ in range(8):
        _value = (_value << 1) ^ (0x04C11DB7 if _value & 0x80000000 else 0)
    _CRC_TABLE.append(_value & 0xFFFFFFFF)

HEADER = struct.Struct("<4sBBqIIIB")            # magic, version, flags, granule, serial, sequence, crc, segments
FIRST, LAST = 2, 4
SAMPLES_PER_PACKET = 960                        # 20 ms, opusenc's default


def _crc(data):
    crc = 0
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFFFF) ^ _CRC_TABLE[(crc >> 24) ^ byte]
    return crc


def read_packets(path):
    """Packets of the one stream in the file, and the granule position at its end."""
    with open(path, "rb") as f:
        data = f.read()
    packets, partial, position, end_granule = [], b"", 0, 0
    while position < len(data):
        magic, _, _, granule, _, _, _, segments = HEADER.unpack_from(data, position)
        if magic != b"OggS":
            raise LabError(f"{path}: not an Ogg page at byte {position}")
        lacing = data[position + HEADER.size:position + HEADER.size + segments]
        position += HEADER.size + segments
        for length in lacing:
            partial += data[position:position + length]
            position += length
            if length < 255:
                packets.append(partial)
                partial = b""
        if granule >= 0:
            end_granule = granule
    return packets, end_granule


def write_packets(path, packets, end_granule, serial=1):
    """One page a packet: simple, and a decoder does not care."""
    with open(path, "wb") as f:
        for sequence, packet in enumerate(packets):
            last = sequence == len(packets) - 1
            granule = 0 if sequence < 2 else end_granule if last else (sequence - 1) * SAMPLES_PER_PACKET
            flags = (FIRST if sequence == 0 else 0) | (LAST if last else 0)
            lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
            page = HEADER.pack(b"OggS", 0, flags, granule, serial, sequence, 0, len(lacing)) + lacing + packet
            f.write(page[:22] + struct.pack("<I", _crc(page)) + page[26:])
