#include "dsp/core/stream_format.h"

namespace earmark {
namespace {

tl::unexpected<Error> Wrong(const std::string& field, const std::string& wanted, int got) {
  return Fail(ErrorCode::kInvalidArgument, field + ": " + wanted + " wanted, got " + std::to_string(got));
}

}  // namespace

Result<StreamFormat> Validate(const StreamFormat& format) {
  if (format.num_variants != 2 && format.num_variants != 4 && format.num_variants != kMaxVariants) {
    return Wrong("num_variants", "2, 4 or 8", format.num_variants);
  }
  if (format.packets_per_symbol < 1 || format.packets_per_symbol > 10) {
    return Wrong("packets_per_symbol", "1 to 10", format.packets_per_symbol);
  }
  if (format.num_channels != 1 && format.num_channels != 2) return Wrong("num_channels", "1 or 2", format.num_channels);
  const bool as_source = format.bitrate_bps == 0 && format.kind != ReferenceKind::kHostPackets;
  if (!as_source && (format.bitrate_bps < 12000 || format.bitrate_bps > 256000)) {
    return Wrong("bitrate_bps", "12000 to 256000", format.bitrate_bps);
  }
  // Formats come back from the store and over the wire as numbers, so an enum can hold anything.
  const int kind = static_cast<int>(format.kind);
  if (kind < 0 || kind > static_cast<int>(ReferenceKind::kSourcePackets)) {
    return Wrong("kind", "0 (variant packets), 1 (host packets) or 2 (source packets)", kind);
  }
  // The two ways of marking have carriers of their own, so neither can be read with the other's.
  const int code_version = format.kind == ReferenceKind::kSourcePackets ? 2 : 1;
  if (format.code_version != code_version) {
    return Wrong("code_version", std::to_string(code_version) + " for kind " + std::to_string(kind), format.code_version);
  }
  if (format.strength < 1 || format.strength > 100) return Wrong("strength", "1 to 100", format.strength);
  return format;
}

}  // namespace earmark
