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
  if (format.bitrate_bps < 12000 || format.bitrate_bps > 256000) {
    return Wrong("bitrate_bps", "12000 to 256000", format.bitrate_bps);
  }
  // Formats come back from the store and over the wire as numbers, so an enum can hold anything.
  if (format.kind != ReferenceKind::kVariantPackets && format.kind != ReferenceKind::kHostPackets) {
    return Wrong("kind", "0 (variant packets) or 1 (host packets)", static_cast<int>(format.kind));
  }
  if (format.code_version != 1) return Wrong("code_version", "1", format.code_version);
  return format;
}

}  // namespace earmark
