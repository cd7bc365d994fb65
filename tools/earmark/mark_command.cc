#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>
#include <thread>

#include <opus/opus.h>
#include <nlohmann/json.hpp>

#include "dsp/core/stream_keys.h"
#include "dsp/media/atomic_file.h"
#include "dsp/marking/in_packet_marker.h"
#include "dsp/media/ogg_opus.h"
#include "dsp/tracing/trace_code.h"
#include "services/common/digest.h"
#include "services/common/marking.h"
#include "services/common/packet_marking.h"
#include "services/common/text_file.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/json_output.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

constexpr int kUsualBitrateBps = 32000;

constexpr std::size_t kMostListBytes = 64 << 20;   // two million accounts of thirty bytes
constexpr std::size_t kMostAccountBytes = 4096;  // a line; what a store takes is far less

tl::unexpected<Error> NoList(Error error) {
  if (error.code == ErrorCode::kCancelled) return Fail(error.code, error.message);
  return Fail(error.code, error.message + "; give a text file with one account a line to --listeners");
}

// Each once, in the order of the file.
Result<std::vector<std::string>> ReadAccounts(const std::string& path, const Progress& progress) {
  auto text = ReadTextFile(path, kMostListBytes, [&] { return progress("reading the listeners", -1); });
  if (!text) return NoList(text.error());
  auto lines = LinesOf(*text, kMostAccountBytes);
  if (!lines) return NoList({lines.error().code, path + ": " + lines.error().message});
  std::vector<std::string> accounts;
  std::set<std::string> seen;
  for (const std::string& line : *lines) {
    if (seen.insert(line).second) accounts.push_back(line);
  }
  if (accounts.empty()) return Fail(ErrorCode::kInvalidArgument, path + ": holds no accounts; one a line is wanted");
  return accounts;
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// A WAV of exactly the recording's length: drops what the marker and encoder delay by at the start, and holds back the end until the length is known.
class TrimmedWav {
 public:
  static Result<TrimmedWav> Create(const std::string& path, int num_channels, int delay_samples) {
    auto wav = WavWriter::Create(path, kSampleRateHz, num_channels);
    if (!wav) return Pass(wav);
    return TrimmedWav(std::move(*wav), num_channels, delay_samples);
  }

  Result<void> Write(std::span<const float> pcm) {
    const auto dropped = std::min(skip_, pcm.size());
    skip_ -= dropped;
    held_.insert(held_.end(), pcm.begin() + static_cast<std::ptrdiff_t>(dropped), pcm.end());
    return held_.size() > 8 * kHeldBack ? WriteFirst(held_.size() - kHeldBack) : Result<void>();
  }

  // `num_samples` per channel; -1 keeps everything.
  Result<void> Finish(std::int64_t num_samples) {
    if (num_samples >= 0) {
      const auto wanted = num_samples * num_channels_ - written_;
      held_.resize(static_cast<std::size_t>(std::max<std::int64_t>(0, wanted)), 0.0F);
    }
    if (auto done = WriteFirst(held_.size()); !done) return done;
    return wav_->Finish();
  }

 private:
  static constexpr std::size_t kHeldBack = 100 * kPacketSamples;  // more than padding, delays and a file's end trim can add, in two channels

  TrimmedWav(std::unique_ptr<WavWriter> wav, int num_channels, int delay_samples)
      : wav_(std::move(wav)), num_channels_(num_channels), skip_(static_cast<std::size_t>(delay_samples * num_channels)) {}

  Result<void> WriteFirst(std::size_t count) {
    auto done = wav_->Write(std::span(held_).first(count));
    held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(count));
    written_ += static_cast<std::int64_t>(count);
    return done;
  }

  std::unique_ptr<WavWriter> wav_;
  int num_channels_;
  std::size_t skip_;
  std::int64_t written_ = 0;
  std::vector<float> held_;
};

// Where the packets of a copy go: into an Ogg file as they are, or decoded into a WAV, as OUT's name says.
class CopyWriter {
 public:
  struct Options {
    int num_channels = 1;
    int pre_skip_samples = kTotalLatencySamples;
    int output_gain_q8_db = 0;
    int input_sample_rate_hz = kSampleRateHz;
  };
  static Result<CopyWriter> Create(const std::string& path, const Options& options) {
    CopyWriter writer;
    const int num_channels = options.num_channels;
    if (EndsWith(path, ".opus")) {
      auto ogg = OggOpusWriter::Create(path, {.num_channels = num_channels,
                                              .pre_skip_samples = options.pre_skip_samples,
                                              .input_sample_rate_hz = options.input_sample_rate_hz,
                                              .output_gain_q8_db = options.output_gain_q8_db,
                                              .serial = 1});
      if (!ogg) return Pass(ogg);
      writer.ogg_ = std::move(*ogg);
      return writer;
    }
    auto wav = TrimmedWav::Create(path, num_channels, options.pre_skip_samples);
    if (!wav) return Pass(wav);
    writer.wav_.emplace(std::move(*wav));
    int error = OPUS_OK;
    writer.decoder_.reset(opus_decoder_create(kSampleRateHz, num_channels, &error));
    if (error != OPUS_OK) return Fail(ErrorCode::kInternal, "libopus gives no decoder");
    opus_decoder_ctl(writer.decoder_.get(), OPUS_SET_GAIN(options.output_gain_q8_db));
    writer.num_channels_ = num_channels;
    writer.pcm_.resize(static_cast<std::size_t>(kMaxPacketSamples * num_channels));
    return writer;
  }

  Result<void> Write(std::span<const std::uint8_t> packet) {
    if (ogg_) return ogg_->Write(packet);
    const int got = opus_decode_float(decoder_.get(), packet.data(), static_cast<opus_int32>(packet.size()), pcm_.data(), kMaxPacketSamples, 0);
    if (got < 0) return Fail(ErrorCode::kDataLoss, "libopus rejects a packet");
    return wav_->Write(std::span(pcm_).first(static_cast<std::size_t>(got * num_channels_)));
  }

  Result<void> Finish(std::int64_t num_samples) { return ogg_ ? ogg_->Finish(num_samples) : wav_->Finish(num_samples); }

 private:
  struct DecoderDeleter {
    void operator()(OpusDecoder* decoder) const { opus_decoder_destroy(decoder); }
  };
  static constexpr int kMaxPacketSamples = 5760;  // 120 ms
  std::unique_ptr<OggOpusWriter> ogg_;
  std::optional<TrimmedWav> wav_;
  std::unique_ptr<OpusDecoder, DecoderDeleter> decoder_;
  int num_channels_ = 1;
  std::vector<float> pcm_;
};

// --codec none: the account's marked PCM, or without keys the recording itself.
Result<void> WritePcmCopy(const MarkRequest& request, StreamFormat format, const StreamKeys* keys, const Progress& progress) {
  auto host = AudioReader::Open(request.input);
  if (!host) return Pass(host);
  format.num_channels = (*host)->num_channels();
  auto wav = TrimmedWav::Create(request.output, format.num_channels, Marker::kLatencySamples);
  if (!wav) return Pass(wav);
  Marker marker(format, keys != nullptr ? keys->carrier : NewRandomKey());
  if (keys != nullptr) marker.Follow([code = TraceCode(keys->code, request.account, format.num_variants)](std::int64_t symbol) mutable { return code.VariantAt(symbol); });
  auto samples = ForEachBlock(
      **host, Marker::kLatencySamples,
      [&](std::span<const float> block) {
        marker.Process(block);
        return wav->Write(keys != nullptr ? marker.Variant(0) : marker.Host());
      },
      progress);
  if (!samples) return Pass(samples);
  return wav->Finish(*samples);
}

// Whether marks go into the recording's own packets: it is Ogg Opus, and nobody wants it encoded.
bool HasPacketsToMark(const MarkRequest& request) {
  if (request.bitrate_bps || request.opus) return false;
  return OggOpusReader::Open(request.input).has_value();
}

CopyWriter::Options HeaderLike(const OggOpusReader& source) {
  return {.num_channels = source.num_channels(),
          .pre_skip_samples = source.pre_skip_samples(),
          .output_gain_q8_db = source.output_gain_q8_db(),
          .input_sample_rate_hz = source.input_sample_rate_hz()};
}

// How copies of a stream begin.
Result<CopyWriter::Options> HeaderOf(const StreamRecord& stream, const MarkRequest& request) {
  const bool patched = stream.format.kind == ReferenceKind::kSourcePackets;
  if (stream.format.bitrate_bps != 0) {
    return CopyWriter::Options{.num_channels = stream.format.num_channels, .pre_skip_samples = patched ? kOpusLookaheadSamples : kTotalLatencySamples};
  }
  auto source = OggOpusReader::Open(request.input);
  if (!source) return Pass(source);
  return HeaderLike(**source);
}

// --codec opus: the account's packets.
Result<void> WriteOpusCopy(Store& store, const StreamRecord& stream, const StreamKeys& keys, const MarkRequest& request, const Progress& progress) {
  auto header = HeaderOf(stream, request);
  if (!header) return Pass(header);
  auto writer = CopyWriter::Create(request.output, *header);
  if (!writer) return Pass(writer);
  auto chosen = ChoosePackets(store, stream, keys, request.account, [&](std::span<const std::uint8_t> packet) { return writer->Write(packet); }, progress);
  if (!chosen) return chosen;
  return writer->Finish(stream.num_samples);
}

// --plain: the recording's own packets as they are …
Result<void> WritePlainPackets(const MarkRequest& request, const Progress& progress) {
  auto source = OggOpusReader::Open(request.input);
  if (!source) return Pass(source);
  auto writer = CopyWriter::Create(request.output, HeaderLike(**source));
  if (!writer) return Pass(writer);
  for (;;) {
    auto opus = (*source)->Next();
    if (!opus) return Pass(opus);
    if (!*opus) return writer->Finish((*source)->num_samples());
    if (auto written = writer->Write(**opus); !written) return written;
    if (!progress("writing", -1)) return Fail(ErrorCode::kCancelled, "cancelled");
  }
}

// … or the encode whose packets would be marked.
Result<void> WritePlainEncode(const MarkRequest& request, const Progress& progress) {
  auto host = AudioReader::Open(request.input);
  if (!host) return Pass(host);
  StreamFormat format = SourcePacketsFormat(request.bitrate_bps.value_or(kUsualBitrateBps));
  format.num_channels = (*host)->num_channels();
  auto writer = CopyWriter::Create(request.output, {.num_channels = format.num_channels, .pre_skip_samples = kOpusLookaheadSamples});
  if (!writer) return Pass(writer);
  auto encoder = VariantEncoder::Create(OneEncode(format));
  if (!encoder) return Pass(encoder);
  auto samples = ForEachBlock(
      **host, kOpusLookaheadSamples,
      [&](std::span<const float> block) -> Result<void> {
        auto slot = encoder->Encode([&](int) { return block; });
        return slot ? writer->Write(slot->packets[0]) : Result<void>(Pass(slot));
      },
      progress);
  if (!samples) return Pass(samples);
  return writer->Finish(*samples);
}

Result<void> WritePlainCopy(const MarkRequest& request, const Progress& progress) {
  if (!request.opus.value_or(true)) return WritePcmCopy(request, StreamFormat{}, nullptr, progress);
  return HasPacketsToMark(request) ? WritePlainPackets(request, progress) : WritePlainEncode(request, progress);
}

// Whether what was asked for is what the stream already is. Settings that nobody gave are the stream's.
Result<void> CheckAgainst(const StreamRecord& stream, const MarkRequest& request, const std::string& digest) {
  const std::string which = "stream '" + stream.id + "' ";
  if (stream.input_digest != digest) {
    return Fail(ErrorCode::kAlreadyExists, which + "was registered from another recording than " + request.input +
                                               "; choose another --stream, or remove it with `earmark streams remove`");
  }
  const auto other = [&](const char* option, const std::string& is, const std::string& wanted) {
    return Fail(ErrorCode::kAlreadyExists, which + "was registered with " + option + " " + is + ", not " + wanted + "; leave " + option +
                                               " away for another copy of it, or choose another --stream");
  };
  const StreamFormat& format = stream.format;
  if (format.kind == ReferenceKind::kSourcePackets) {
    if (format.bitrate_bps == 0 && (request.bitrate_bps || request.opus)) {
      return Fail(ErrorCode::kAlreadyExists, which + "was registered with the recording's own packets; leave --bitrate and --codec away for another copy of it, or choose another --stream");
    }
    if (request.strength.value_or(format.strength) != format.strength) return other("--strength", std::to_string(format.strength), std::to_string(*request.strength));
  } else if (request.strength) {
    return Fail(ErrorCode::kInvalidArgument, which + "was marked before it was encoded, and --strength is for marks in Opus packets");
  }
  const bool opus = format.kind != ReferenceKind::kHostPackets;
  if (request.opus.value_or(opus) != opus) return other("--codec", opus ? "opus" : "none", opus ? "none" : "opus");
  if (!opus && !EndsWith(request.output, ".wav")) {
    return Fail(ErrorCode::kInvalidArgument, which + "was registered with --codec none, which is PCM: --out wants a name that ends in .wav");
  }
  if (request.bitrate_bps.value_or(format.bitrate_bps) != format.bitrate_bps) {
    return other("--bitrate", std::to_string(format.bitrate_bps), std::to_string(*request.bitrate_bps));
  }
  if (request.num_variants.value_or(format.num_variants) != format.num_variants) {
    return other("--variants", std::to_string(format.num_variants), std::to_string(*request.num_variants));
  }
  if (request.packets_per_symbol.value_or(format.packets_per_symbol) != format.packets_per_symbol) {
    return other("--packets-per-symbol", std::to_string(format.packets_per_symbol), std::to_string(*request.packets_per_symbol));
  }
  return {};
}

bool Holds(const std::vector<std::string>& accounts, const std::string& account) {
  return std::find(accounts.begin(), accounts.end(), account) != accounts.end();
}

tl::unexpected<Error> NotAListener(const MarkRequest& request) {
  return Fail(ErrorCode::kInvalidArgument, "account '" + request.account + "' is not in " + request.listeners_file + "; only listeners get a copy");
}

Result<RegisterSummary> RegisterOwnPackets(Store& store, const MasterKey& master, const MarkRequest& request, const RegisterOptions& options, const Progress& progress) {
  auto source = OggOpusReader::Open(request.input);
  if (!source) return Pass(source);
  return RegisterPackets(store, master, **source, options, progress);
}

Result<RegisterSummary> RegisterSound(Store& store, const MasterKey& master, const MarkRequest& request, const RegisterOptions& options, const Progress& progress) {
  auto host = AudioReader::Open(request.input);
  if (!host) return Pass(host);
  return RegisterStream(store, master, **host, options, progress);
}

StreamFormat FormatFor(const MarkRequest& request, bool own_packets) {
  StreamFormat format;
  if (request.opus.value_or(true)) format = SourcePacketsFormat(own_packets ? 0 : request.bitrate_bps.value_or(kUsualBitrateBps));
  else format.kind = ReferenceKind::kHostPackets;
  format.num_variants = request.num_variants.value_or(format.num_variants);
  format.packets_per_symbol = request.packets_per_symbol.value_or(format.packets_per_symbol);
  format.strength = request.strength.value_or(format.strength);
  return format;
}

Result<StreamRecord> Register(Store& store, const MasterKey& master, const MarkRequest& request, const std::string& digest,
                              const std::vector<std::string>& accounts, MarkOutcome& outcome, const Progress& progress) {
  if (!Holds(accounts, request.account)) return NotAListener(request);
  RegisterOptions options;
  options.stream_id = request.stream_id;
  options.accounts = accounts;
  options.input_digest = digest;
  outcome.num_listeners = static_cast<std::int64_t>(accounts.size());
  if (request.strength && !request.opus.value_or(true)) return Fail(ErrorCode::kInvalidArgument, "--strength is for marks in Opus packets, and --codec none makes none");
  const bool own_packets = HasPacketsToMark(request);
  options.format = FormatFor(request, own_packets);
  auto summary = own_packets ? RegisterOwnPackets(store, master, request, options, progress) : RegisterSound(store, master, request, options, progress);
  if (!summary) return Pass(summary);
  outcome.registered = true;
  outcome.lost_share = summary->lost_share;
  return store.GetStream(request.stream_id);
}

// Takes a registration that nobody is working on any more out of the store, so that it can be done over. One that was killed a moment ago is
// still under lease; one that goes on extends its lease while we look.
Result<void> RemoveAbandoned(Store& store, const StreamRecord& stream, const Progress& progress) {
  if (stream.live) return Fail(ErrorCode::kFailedPrecondition, "stream '" + stream.id + "' is a live room; choose another --stream");
  for (;;) {
    auto epoch = store.TakeStream(stream.id, MarkingLease());
    if (epoch) return store.RemoveStream(stream.id);
    auto now = store.GetStream(stream.id);
    if (!now) return Pass(now);
    if (now->state == StreamState::kComplete || now->leased_until_unix_us != stream.leased_until_unix_us) {
      return Fail(ErrorCode::kFailedPrecondition,
                  "stream '" + stream.id + "' is being marked by another process just now; wait until it is done, or choose another --stream");
    }
    if (!progress("waiting for the lease of another mark to run out", -1)) return Fail(ErrorCode::kCancelled, "cancelled");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

// The stream as it is in the store, registered now if it is new.
Result<StreamRecord> FindOrRegister(Store& store, const MasterKey& master, const MarkRequest& request, const std::vector<std::string>& accounts,
                                    MarkOutcome& outcome, const Progress& progress) {
  auto digest = FileDigest(request.input);
  if (!digest) return Pass(digest);
  auto known = store.GetStream(request.stream_id);
  if (known && known->state == StreamState::kRecording) {
    if (auto removed = RemoveAbandoned(store, *known, progress); !removed) return Pass(removed);
    known = Fail(ErrorCode::kNotFound, "");
  }
  if (known) {
    if (auto same = CheckAgainst(*known, request, *digest); !same) return Pass(same);
    return known;
  }
  if (known.error().code != ErrorCode::kNotFound) return known;
  return Register(store, master, request, *digest, accounts, outcome, progress);
}

Result<void> CheckRequest(const MarkRequest& request) {
  const bool wav = EndsWith(request.output, ".wav");
  if (!wav && !EndsWith(request.output, ".opus")) return Fail(ErrorCode::kInvalidArgument, request.output + ": --out wants a name that ends in .opus or .wav");
  if (!request.opus.value_or(true) && !wav) return Fail(ErrorCode::kInvalidArgument, "--codec none writes PCM: --out wants a name that ends in .wav");
  if (!request.opus.value_or(true) && request.bitrate_bps) return Fail(ErrorCode::kInvalidArgument, "--bitrate is for Opus, and --codec none makes none");
  if (!request.plain && (request.stream_id.empty() || request.account.empty() || request.listeners_file.empty())) {
    return Fail(ErrorCode::kInvalidArgument, "--stream, --listeners and --for are needed (or --plain, for a copy without mark)");
  }
  if (request.plain && !request.account.empty()) return Fail(ErrorCode::kInvalidArgument, "--plain and --for exclude each other");
  std::error_code ignored;
  if (std::filesystem::equivalent(request.input, request.output, ignored)) {
    return Fail(ErrorCode::kInvalidArgument, request.output + ": --out is the recording itself, which would be lost; give another name");
  }
  return {};
}

// What can be found wrong before any work is done, and before a key or a store is made.
Result<void> CheckFiles(const MarkRequest& request) {
  auto readable = AudioReader::Open(request.input);
  if (!readable) return Pass(readable);
  auto writable = AtomicFile::Create(request.output, 0600);
  if (!writable) return Pass(writable);
  return {};
}

// The store, and the key that goes with it. A new key is made only once there is a store, and neither if the other is no good.
struct StoreAndKey {
  std::unique_ptr<Store> store;
  MasterKey master;
};
Result<StoreAndKey> OpenStoreAndKey(const CommonOptions& common, OpenMode mode) {
  auto master = ReadKeyFile(common.key_file);
  if (!master && master.error().code != ErrorCode::kNotFound) return Pass(master);
  auto store = OpenStore(common.store, mode);
  if (!store) return Pass(store);
  if (!master) master = ReadOrCreateKeyFile(common.key_file);
  if (!master) return Pass(master);
  return StoreAndKey{std::move(*store), *master};
}

Result<int> ParseBitrate(const std::string& text) {
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string unit = text.substr(used);
  if (used > 0 && (unit == "k" || unit == "K")) value *= 1000;
  else if (used == 0 || !unit.empty()) value = 0;
  if (!(value >= 12000 && value <= 256000)) return Fail(ErrorCode::kInvalidArgument, "--bitrate: wanted 12k to 256k, got '" + text + "'");
  return static_cast<int>(std::lround(value));
}

std::vector<std::string> NotesOn(const MarkOutcome& outcome) {
  constexpr double kWorthTelling = 0.5;
  if (outcome.lost_share <= kWorthTelling) return {};
  return {"in " + std::to_string(std::lround(100 * outcome.lost_share)) + " % of the recording the two channels cancel out in their mean, and copies cannot be read there; marked as mono they can"};
}

int PrintOutcome(const MarkRequest& request, const MarkOutcome& outcome, bool json) {
  const std::vector<std::string> notes = NotesOn(outcome);
  if (json) {
    nlohmann::ordered_json object{{"out", request.output}, {"plain", request.plain}};
    if (!request.plain) {
      object["stream"] = request.stream_id;
      object["account"] = request.account;
      object["registered"] = outcome.registered;
      object["seconds"] = static_cast<double>(outcome.num_packets) / kPacketsPerSecond;
      object["erased_slots"] = outcome.num_erased_slots;
    }
    if (!notes.empty()) object["notes"] = notes;
    PrintJson(object);
    return 0;
  }
  for (const std::string& note : notes) PrintNote(note);
  if (outcome.registered) {
    std::printf("stream %s: %.1f s marked for %lld listeners, %.2f %% of the slots erased\n", request.stream_id.c_str(),
                static_cast<double>(outcome.num_packets) / kPacketsPerSecond, static_cast<long long>(outcome.num_listeners),
                100.0 * static_cast<double>(outcome.num_erased_slots) / static_cast<double>(std::max<std::int64_t>(1, outcome.num_packets)));
  }
  std::printf("%s: %s\n", request.output.c_str(), request.plain ? "the recording without a mark" : ("the copy of " + request.account).c_str());
  return 0;
}

}  // namespace

Result<MarkOutcome> RunMark(const MarkRequest& request) {
  if (auto checked = CheckRequest(request); !checked) return Pass(checked);
  ProgressBar bar;
  const Progress progress = bar.Callback();
  MarkOutcome outcome;
  if (auto checked = CheckFiles(request); !checked) return Pass(checked);
  if (request.plain) {
    if (auto written = WritePlainCopy(request, progress); !written) return Pass(written);
    return outcome;
  }
  auto accounts = ReadAccounts(request.listeners_file, progress);
  if (!accounts) return Pass(accounts);
  // Somebody who is not in the file may still have a grant for a known stream; for a new one no store is made.
  const bool listed = Holds(*accounts, request.account);
  auto opened = OpenStoreAndKey(request.common, listed ? OpenMode::kReadWriteCreate : OpenMode::kReadWrite);
  if (!opened && !listed && opened.error().code == ErrorCode::kNotFound) return NotAListener(request);
  if (!opened) return Pass(opened);
  auto& [store, master] = *opened;
  auto stream = FindOrRegister(*store, master, request, *accounts, outcome, progress);
  if (!stream) return Pass(stream);
  outcome.num_packets = stream->num_packets;
  outcome.num_erased_slots = stream->num_erased_slots;
  auto keys = KeysOf(*stream, master);
  if (!keys) return Pass(keys);
  if (stream->format.kind == ReferenceKind::kHostPackets) {
    // Marked PCM needs nothing of the reference, so nothing else would notice that the account was never there.
    if (auto granted = RequireGrant(*store, *stream, request.account); !granted) return Pass(granted);
    auto written = WritePcmCopy(request, stream->format, &*keys, progress);
    if (!written) return Pass(written);
    return outcome;
  }
  if (auto written = WriteOpusCopy(*store, *stream, *keys, request, progress); !written) return Pass(written);
  return outcome;
}

void AddMarkCommand(CLI::App& app, Action& action) {
  struct State {
    MarkRequest request;
    std::string bitrate;
    std::string codec;
    bool json = false;
  };
  auto state = std::make_shared<State>();
  state->request.common = DefaultOptions();
  MarkRequest& request = state->request;
  CLI::App* command = app.add_subcommand("mark", "Marks a recording as a stream and writes one listener's copy");
  command->add_option("IN", request.input, "Recording: any audio or video file, 8 to 192 kHz")->required();
  command->add_option("--stream", request.stream_id, "Name of the stream; registered with all its listeners if it is new");
  command->add_option("--listeners", request.listeners_file, "Text file with the listeners' accounts, one a line");
  command->add_option("--for", request.account, "The listener whose copy to write");
  command->add_option("--out", request.output, "OUT.opus: the very packets that account gets; OUT.wav: the same, decoded")->required();
  command->add_option("--bitrate", state->bitrate, "Encode to Opus at this rate, 12k to 256k. Without it an Ogg Opus IN keeps its own packets, and all else is encoded at 32k. The mark is a few bits in these");
  command->add_option("--codec", state->codec, "opus, or none for marked PCM without Opus; opus unless given")->check(CLI::IsMember({"opus", "none"}));
  command->add_option("--strength", request.strength, "Of the mark: 1, not to be heard by any measure, to 100, shortest clips; 50 unless given")->check(CLI::Range(1, 100));
  command->add_option("--variants", request.num_variants, "Variants of every symbol; 4 unless given")->check(CLI::IsMember({2, 4, 8}));
  command->add_option("--packets-per-symbol", request.packets_per_symbol, "Length of a symbol in packets of 20 ms; 1 unless given, 2 with --codec none")->check(CLI::Range(1, 10));
  command->add_flag("--plain", request.plain, "The same encode without any mark; registers nothing (to compare quality)");
  command->add_flag("--json", state->json, "Print one JSON object");
  AddStoreOption(*command, request.common);
  AddKeyOption(*command, request.common);
  command->footer(
      "Examples:\n"
      "  earmark mark talk.wav --stream town-hall --listeners accounts.txt --for alice --out alice.opus\n"
      "  earmark mark talk.wav --stream town-hall --listeners accounts.txt --for bob --out bob.wav    (the same stream, another copy)\n"
      "  earmark mark talk.wav --plain --out plain.opus");
  command->callback([state, &action] {
    action = [state] {
      if (!state->bitrate.empty()) {
        auto bitrate = ParseBitrate(state->bitrate);
        if (!bitrate) return Complain(bitrate.error());
        state->request.bitrate_bps = *bitrate;
      }
      if (!state->codec.empty()) state->request.opus = state->codec == "opus";
      auto outcome = RunMark(state->request);
      if (!outcome) return Complain(outcome.error());
      return PrintOutcome(state->request, *outcome, state->json);
    };
  });
}

}  // namespace earmark::cli
