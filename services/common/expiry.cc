#include "services/common/expiry.h"

namespace earmark {

Result<void> Expire(Store& store, Expired& expired, const std::function<bool()>& go_on) {
  while (go_on()) {
    const auto stream = store.RemoveExpiredStream();
    if (!stream) return Pass(stream);
    if (!*stream) break;
    ++expired.num_streams;
  }
  while (go_on()) {
    const auto dropped = store.DropExpiredClip();
    if (!dropped) return Pass(dropped);
    if (!*dropped) break;
    ++expired.num_clips;
  }
  return {};
}

}  // namespace earmark
