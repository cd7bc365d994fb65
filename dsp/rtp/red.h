// RED, redundant audio data (RFC 2198): reading its primary block.
#pragma once

#include <cstdint>
#include <span>

#include "dsp/core/result.h"

namespace earmark {

// The newest block of a RED payload: what a plain packet would carry. Redundant copies of earlier packets are skipped: those packets were marked when
// they came, or are gaps. Lies in `payload`. Real-time safe, also when it fails: kInvalidArgument, bytes are missing.
Result<std::span<const std::uint8_t>> RedPrimary(std::span<const std::uint8_t> payload) noexcept;

}  // namespace earmark
