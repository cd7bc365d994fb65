#include "services/common/copy_request.h"

#include "dsp/media/ogg_opus.h"

namespace earmark {

bool HasPacketsToMark(const CopyRequest& request) {
  if (request.bitrate_bps || request.opus) return false;
  return OggOpusReader::Open(request.input).has_value();
}

}  // namespace earmark
