#include "dsp/reference/source_decoder.h"

#include <algorithm>
#include <utility>

#include "dsp/core/resample.h"
#include "dsp/marking/in_packet_marker.h"
#include "dsp/reference/mono_player.h"

namespace earmark {
namespace {

constexpr std::int64_t kRateRatio = kSampleRateHz / kDetectRateHz;

// All ways to play the source that are wanted: as it is, and phase by phase with each variant.
class Players {
 public:
  Players(const StreamFormat& format, const Key& carrier_key, std::int64_t first_packet, std::int64_t num_packets,
          int num_variants)
      : format_(format),
        marker_(format, carrier_key),
        position_(first_packet * kPacketSamples),
        num_phases_(num_variants > 1 ? NumPhases(format) : 0) {
    for (int i = 0; i < 1 + num_phases_ * format.num_variants; ++i)
      players_.emplace_back(format.num_channels, static_cast<std::size_t>(num_packets * kDetectPacketSamples));
  }

  // False: libopus rejects the packet.
  bool Play(std::int64_t start_samples, std::span<const std::uint8_t> opus) {
    const auto patched = num_phases_ > 0 ? marker_.Mark(start_samples / kPacketSamples, opus) : PatchedPacket{};
    if (start_samples < position_) return true;  // sources' clocks were set right here: what overlaps is left out
    const std::int64_t missing = start_samples / kRateRatio - position_ / kRateRatio;
    const std::size_t before = players_[0].sound.size();
    for (Player& each : players_) {
      if (missing > 0) each.decoder.Miss(missing, each.sound);
    }
    const std::int64_t symbol = start_samples / kPacketSamples / format_.packets_per_symbol;
    const auto q = static_cast<std::size_t>(format_.num_variants);
    const std::size_t first_marked = num_phases_ > 0 ? 1 + static_cast<std::size_t>(symbol % num_phases_) * q : players_.size();
    for (std::size_t i = 0; i < players_.size(); ++i) {
      const bool marked = i >= first_marked && i < first_marked + q && !patched.erased;
      if (marked) {
        bytes_.assign(opus.begin(), opus.end());
        patched.patches[i - first_marked].Apply(bytes_);
      }
      if (!players_[i].decoder.Play(marked ? std::span<const std::uint8_t>(bytes_) : opus, players_[i].sound)) return false;
    }
    position_ += kRateRatio * static_cast<std::int64_t>(players_[0].sound.size() - before);
    return true;
  }

  // The sound from `first_packet` on, `num_packets` long.
  VariantAudio Take(std::int64_t start_packet, std::int64_t first_packet, std::int64_t num_packets) {
    VariantAudio audio{.first_packet = first_packet,
                       .num_packets = num_packets,
                       .num_phases = std::max(1, num_phases_),
                       .variants = {},
                       .host = {}};
    for (std::size_t i = 0; i < players_.size(); ++i) {
      std::vector<float>& sound = players_[i].sound;
      const auto preroll = static_cast<std::size_t>((first_packet - start_packet) * kDetectPacketSamples);
      sound.erase(sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(std::min(preroll, sound.size())));
      sound.resize(static_cast<std::size_t>(num_packets * kDetectPacketSamples), 0.0F);
      if (i == 0 && num_phases_ > 0)
        audio.host = std::move(sound);
      else
        audio.variants.push_back(std::move(sound));
    }
    return audio;
  }

 private:
  struct Player {
    Player(int num_channels, std::size_t num_samples) : decoder(kDetectRateHz, num_channels) { sound.reserve(num_samples); }
    MonoPlayer decoder;
    std::vector<float> sound;
  };
  StreamFormat format_;
  InPacketMarker marker_;
  std::int64_t position_;  // samples at 48 kHz, up to which there is sound
  int num_phases_;         // 0: the source alone
  std::vector<Player> players_;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace

int NumPhases(const StreamFormat& format) { return format.packets_per_symbol <= 2 ? 3 : 2; }

Result<VariantAudio> DecodeSourceVariants(const StreamFormat& format, const Key& carrier_key, const ChunkLoader& load,
                                          std::int64_t first_packet, std::int64_t end_packet, int num_variants_wanted) {
  first_packet = std::max<std::int64_t>(0, first_packet);
  const std::int64_t start = std::max<std::int64_t>(0, first_packet - PrerollPackets(num_variants_wanted));
  auto chunks = load(start, end_packet);
  if (!chunks) return Pass(chunks);
  Players players(format, carrier_key, start, std::max<std::int64_t>(0, end_packet - start), num_variants_wanted);
  std::int64_t end = first_packet;
  for (const auto& chunk : *chunks) {
    if (!chunk->data.is_source_packets()) return Fail(ErrorCode::kDataLoss, "the reference has a chunk of another format");
    for (int i = 0; i < chunk->data.num_source_packets(); ++i) {
      const SourcePacketRecord record = chunk->data.SourcePacketAt(i);
      const std::int64_t packet = chunk->first_packet + record.packet;
      if (packet < start || packet >= end_packet) continue;
      if (!players.Play(packet * kPacketSamples + record.offset_samples, record.opus))
        return Fail(ErrorCode::kDataLoss, "libopus rejects a packet of the reference");
    }
    end = std::max(end, std::min(end_packet, chunk->end_packet()));
  }
  return players.Take(start, first_packet, end - first_packet);
}

}  // namespace earmark
