// Marking a recording into a store, and writing the copy that one account received.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/core/mean_loss.h"
#include "dsp/core/stream_format.h"
#include "dsp/marking/stream_marker.h"
#include "dsp/media/audio_file.h"
#include "dsp/media/key_file.h"
#include "dsp/tracing/code_key.h"
#include "services/common/progress.h"

namespace earmark {

// The lease under which a recording is marked into a store: short, since every stored chunk extends it. Its owner is this call's alone.
Lease MarkingLease();

struct RegisterOptions {
  std::string stream_id;
  StreamFormat format;                // num_channels is taken from the recording
  std::vector<std::string> accounts;  // each gets a grant for the whole stream
  std::string input_digest;
};

struct RegisterSummary {
  std::int64_t num_packets = 0;
  std::int64_t num_erased_slots = 0;
  // of the seconds with sound, 0 to 1: the two channels cancel out in their mean, and no copy can be read there
  double lost_share = 0;
};

// Makes a new stream in the store and has `mark` fill and complete it. On any failure, also when cancelled, the stream is taken out of the store again.
// options.format says all. kAlreadyExists: the id is taken; otherwise `mark`'s errors.
using MarkIntoStore = std::function<Result<RegisterSummary>(const StreamRecord& stream, const StreamKeys& keys)>;
Result<RegisterSummary> RegisterMarked(Store& store, const MasterKey& master, const RegisterOptions& options,
                                       const MarkIntoStore& mark);

// Marks the whole of `host` as a new stream and keeps its reference and grants: of kind kSourcePackets in the packets of one encode, of kind kHostPackets in
// the sound. On any failure, also when cancelled, the stream is taken out of the store again. kAlreadyExists: the id is taken; kDataLoss: the recording breaks off;
// kFailedPrecondition: it has no room for a mark, or its two channels cancel out in their mean, which is what copies are searched and read by.
Result<RegisterSummary> RegisterStream(Store& store, const MasterKey& master, AudioReader& host, const RegisterOptions& options,
                                       const Progress& progress);

// kFailedPrecondition: what `loss` watched cannot be read for nearly all of its energy; the message says how to mark it nevertheless.
Result<void> RefuseIfLost(const MeanLoss& loss);

// The encode whose packets are marked, in streams of kind kSourcePackets that were not packets before.
VariantEncoder::Options OneEncode(const StreamFormat& format);

// The keys of a stored stream. kFailedPrecondition: it was marked under another master key.
Result<StreamKeys> KeysOf(const StreamRecord& stream, const MasterKey& master);

// Packets [first, end) of a stream.
struct PacketRange {
  std::int64_t first = 0;
  std::int64_t end = 0;

  bool Holds(std::int64_t packet) const { return packet >= first && packet < end; }
  bool operator==(const PacketRange&) const = default;
};

// Those that lie within stream time [from_us, to_us) as a whole; of no packets, it may end before it begins.
PacketRange PacketsWithin(const StreamRecord& stream, std::int64_t from_stream_us, std::int64_t to_stream_us);

// What the account may have a copy of: one stretch, since scans take nobody for a listener outside of his grants, and a copy of more could not be traced there.
// kNotFound: the account has no grant for the stream; kFailedPrecondition: it is revoked, or there are grants for separate stretches.
Result<PacketRange> GrantedPackets(Store& store, const StreamRecord& stream, const std::string& account);

// What to do with one account's packets, in order.
using PacketSink = std::function<Result<void>(std::span<const std::uint8_t> packet)>;

// What was given out of a stream.
struct ChosenPackets {
  PacketRange range;              // that was granted
  std::int64_t first_sample = 0;  // stream time at which the first one starts, at 48 kHz
  std::int64_t num_samples = 0;   // that all of them last, per channel at 48 kHz
};

// The account's packets out of the stored reference, in order, as far as they lie within its grant: chosen, or patched. For streams from one recording, of any
// kind but kHostPackets. Errors as GrantedPackets; kDataLoss: the reference is damaged.
Result<ChosenPackets> ChoosePackets(Store& store, const StreamRecord& stream, const StreamKeys& keys, const std::string& account,
                                    const PacketSink& sink, const Progress& progress);

// Feeds `host` to `visit` in blocks of 20 ms (the last one padded with silence), then one more block of silence for every 20 ms of
// `tail_samples`, so that what is still inside the marker and encoder comes out. Returns the number of samples (per channel) of the recording.
Result<std::int64_t> ForEachBlock(AudioReader& host, int tail_samples,
                                  const std::function<Result<void>(std::span<const float>)>& visit, const Progress& progress);

}  // namespace earmark
