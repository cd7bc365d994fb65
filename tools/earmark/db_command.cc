// `earmark db`: making, updating and checking the store.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "db/text.h"
#include "dsp/core/stream_keys.h"
#include "dsp/reference/reference_chunk.h"
#include "services/common/expiry.h"
#include "tools/earmark/client/client.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/json_output.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

using nlohmann::ordered_json;

struct DbState {
  CommonOptions common = DefaultOptions();
  bool json = false;
};

// ---- migrate

int Migrate(const DbState& state) {
  if (auto place = RequireStorePlace(state.common); !place) return Complain(place.error());
  auto from = StoreSchemaVersion(state.common.store);
  if (!from) return Complain(from.error());
  auto store = OpenStore(state.common, OpenMode::kReadWriteCreate);
  if (!store) return Complain(store.error());
  auto to = StoreSchemaVersion(state.common.store);
  if (!to) return Complain(to.error());
  const std::string name = PrintableStoreUrl(state.common.store);
  if (state.json)
    PrintJson({{"store", name}, {"from", *from}, {"to", *to}});
  else if (*from == 0)
    std::printf("made the store %s with schema %d\n", name.c_str(), *to);
  else if (*from == *to)
    std::printf("the store %s has schema %d already\n", name.c_str(), *to);
  else
    std::printf("the store %s went from schema %d to %d\n", name.c_str(), *from, *to);
  return 0;
}

// ---- check

struct StoreCounts {
  std::int64_t streams = 0;
  std::int64_t chunks = 0;
  std::int64_t opened_chunks = 0;  // with the key; others were only read
  std::int64_t fingerprints = 0;
  std::int64_t grants = 0;
  std::int64_t findings = 0;
};

// Reads a store from end to end and notes what is damaged. An error is what keeps it from reading on at all.
class StoreCheck {
 public:
  StoreCheck(Store& store, std::optional<MasterKey> master, Progress progress)
      : store_(store), master_(std::move(master)), progress_(std::move(progress)) {}

  Result<void> Run() {
    auto streams = store_.ListStreams();
    if (!streams) return Pass(streams);
    for (const StreamRecord& stream : *streams) num_packets_ += stream.num_packets;
    for (const StreamRecord& stream : *streams) {
      if (auto checked = CheckStream(stream); !checked) return checked;
      num_packets_before_ += stream.num_packets;
    }
    return CheckFindings();
  }

  const StoreCounts& counts() const { return counts_; }
  const std::vector<std::string>& damages() const { return damages_; }

 private:
  static constexpr std::int64_t kPacketsAtATime = 10 * kPacketsPerChunk;
  static constexpr int kFindingsAtATime = 1000;

  // What holds for a source that was read to its end.
  struct SourceExtent {
    std::int64_t end_packet = 0;
    std::int64_t num_packets = 0;
  };

  void Damage(const StreamRecord& stream, const std::string& what) { damages_.push_back("stream " + stream.id + ": " + what); }

  Result<void> CheckStream(const StreamRecord& stream) {
    ++counts_.streams;
    auto sources = store_.ListSources(stream.id);
    if (!sources) return Damaged(stream, sources.error());
    if (sources->empty()) sources->push_back({.source = 0, .name = "", .settings = ""});  // marked from a file
    std::int64_t end_packet = 0;
    for (const SourceRecord& source : *sources) {
      auto extent = CheckSource(stream, source.source);
      if (!extent) return Damaged(stream, extent.error());
      end_packet = std::max(end_packet, extent->end_packet);
      if (!stream.live && extent->num_packets != extent->end_packet)
        Damage(stream, "the reference has gaps, and a recording has none");
    }
    if (end_packet != stream.num_packets) {
      Damage(stream,
             "the reference ends at packet " + std::to_string(end_packet) + ", wanted " + std::to_string(stream.num_packets));
    }
    if (auto counted = CountFingerprints(stream); !counted) return Damaged(stream, counted.error());
    auto grants = store_.ListGrants(stream.id, 0, Grant::kOpenEnd);
    if (!grants) return Damaged(stream, grants.error());
    counts_.grants += static_cast<std::int64_t>(grants->size());
    return {};
  }

  // What is damaged about one stream need not stop the others; what is wrong with the connection would.
  Result<void> Damaged(const StreamRecord& stream, const Error& error) {
    if (error.code != ErrorCode::kDataLoss && error.code != ErrorCode::kInternal) return tl::unexpected<Error>(error);
    Damage(stream, error.message);
    return {};
  }

  Result<SourceExtent> CheckSource(const StreamRecord& stream, int source) {
    std::optional<Key> seal;
    if (master_ && stream.key_id == master_->id) seal = DeriveStreamKeys(master_->key, stream.id, stream.salt).seal;
    SourceExtent extent;
    for (std::int64_t at = 0; at < std::max<std::int64_t>(1, stream.num_packets); at += kPacketsAtATime) {
      const double done =
          static_cast<double>(num_packets_before_ + at) / static_cast<double>(std::max<std::int64_t>(1, num_packets_));
      if (!progress_("checking", done)) return Fail(ErrorCode::kCancelled, "cancelled; the store was not checked to its end");
      auto chunks = store_.ReadReference(stream.id, source, at, at + kPacketsAtATime);
      if (!chunks) return Pass(chunks);
      for (const ReferenceChunk& chunk : *chunks) {
        if (chunk.first_packet < at) continue;  // reaches over from the chunks before
        CheckChunk(stream, source, chunk, seal, extent);
      }
    }
    return extent;
  }

  void CheckChunk(const StreamRecord& stream, int source, const ReferenceChunk& chunk, const std::optional<Key>& seal,
                  SourceExtent& extent) {
    ++counts_.chunks;
    const std::string where =
        "the chunk of source " + std::to_string(source) + " at packet " + std::to_string(chunk.first_packet);
    if (chunk.first_packet < extent.end_packet) Damage(stream, where + " overlaps the one before");
    extent.end_packet = std::max(extent.end_packet, chunk.first_packet + chunk.num_packets);
    extent.num_packets += chunk.num_packets;
    if (!seal) return;
    const auto opened = ReferenceChunkData::Open(chunk.sealed, *seal,
                                                 {.stream_id = stream.id, .source = source, .first_packet = chunk.first_packet});
    if (!opened) return Damage(stream, where + " cannot be opened: " + opened.error().message);
    if (opened->num_packets() != chunk.num_packets)
      Damage(stream, where + " holds another number of packets than the store says");
    ++counts_.opened_chunks;
  }

  Result<void> CountFingerprints(const StreamRecord& stream) {
    return store_.VisitFingerprints(
        stream.id, [&](std::string_view, int, std::int64_t, std::span<const std::uint8_t>) { ++counts_.fingerprints; });
  }

  Result<void> CheckFindings() {
    FindingFilter filter;
    filter.limit = kFindingsAtATime;
    for (;;) {
      auto findings = store_.ListFindings(filter);
      if (!findings) return Pass(findings);
      for (const FindingRecord& finding : *findings) {
        ++counts_.findings;
        if (!ordered_json::accept(finding.report_json))
          damages_.push_back("finding " + std::to_string(finding.id) + ": its report is not JSON");
      }
      if (static_cast<int>(findings->size()) < filter.limit) return {};
      filter.after_id = findings->back().id;
    }
  }

  Store& store_;
  std::optional<MasterKey> master_;
  Progress progress_;
  StoreCounts counts_;
  std::vector<std::string> damages_;
  std::int64_t num_packets_ = 0;  // of all streams, for progress
  std::int64_t num_packets_before_ = 0;
};

void PrintCheck(const DbState& state, const StoreCheck& check) {
  const StoreCounts& n = check.counts();
  const auto number = [](std::int64_t count) { return static_cast<long long>(count); };
  if (state.json) {
    const ordered_json counts = {{"streams", n.streams},           {"chunks", n.chunks}, {"opened_chunks", n.opened_chunks},
                                 {"fingerprints", n.fingerprints}, {"grants", n.grants}, {"findings", n.findings},
                                 {"damaged", check.damages()}};
    PrintJson(counts);
    return;
  }
  for (const std::string& damage : check.damages()) std::printf("%s %s\n", Red("damaged").c_str(), Printable(damage).c_str());
  std::printf(
      "%lld streams, %lld chunks of reference (%lld opened with the key), %lld fingerprints, %lld grants, %lld findings: %s\n",
      number(n.streams), number(n.chunks), number(n.opened_chunks), number(n.fingerprints), number(n.grants), number(n.findings),
      check.damages().empty() ? Green("sound").c_str() : Red("damaged").c_str());
}

int Check(const DbState& state) {
  auto store = OpenStore(state.common, OpenMode::kReadWrite);
  if (!store) return Complain(store.error());
  std::optional<MasterKey> master;
  auto key = ReadKeyFile(state.common.key_file);
  if (key)
    master = std::move(*key);
  else if (key.error().code != ErrorCode::kNotFound)
    return Complain(key.error());
  ProgressBar bar;
  StoreCheck check(**store, std::move(master), bar.Callback());
  if (auto done = check.Run(); !done) {
    PrintError(done.error().message);
    return 1;
  }
  PrintCheck(state, check);
  return check.damages().empty() ? 0 : 1;
}

// ---- expire

struct ExpireState {
  CommonOptions common = DefaultOptions();
  ServerOptions server = DefaultServer();
  bool json = false;
};

Result<Expired> ExpireOnStore(const CommonOptions& common) {
  auto store = OpenStore(common, OpenMode::kReadWrite);
  if (!store) return Pass(store);
  ProgressBar bar;
  const Progress progress = bar.Callback();
  Expired expired;
  bool stopped = false;
  const auto done = Expire(**store, expired, [&] { return !(stopped = !progress("dropping", -1)); });
  if (!done) return Pass(done);
  if (stopped) return Fail(ErrorCode::kCancelled, "cancelled; what was dropped is gone, the rest is kept");
  return expired;
}

Result<Expired> ExpireOnServer(const ServerOptions& server) {
  auto client = Client::Create(server);
  if (!client) return Pass(client);
  return (*client)->ExpireNow();
}

int RunExpire(const ExpireState& state) {
  const auto expired = state.server.server.empty() ? ExpireOnStore(state.common) : ExpireOnServer(state.server);
  if (!expired) return Complain(expired.error());
  if (state.json)
    PrintJson({{"streams", expired->num_streams}, {"clips", expired->num_clips}});
  else
    std::printf("dropped %lld streams and %lld clips whose time is over\n", static_cast<long long>(expired->num_streams),
                static_cast<long long>(expired->num_clips));
  return 0;
}

void AddExpire(CLI::App& db, Action& action) {
  auto state = std::make_shared<ExpireState>();
  CLI::App* command = db.add_subcommand("expire", "Drops streams and clips that have been kept for long enough; findings stay");
  command->add_flag("--json", state->json, "Print one JSON object");
  AddStoreOption(*command, state->common);
  AddKeyOption(*command, state->common);
  AddServerOptions(*command, state->server);
  command->footer(
      "Examples:\n"
      "  earmark db expire\n"
      "  earmark db expire --server 127.0.0.1:7420 --token-file admin.token\n\n"
      "Live streams are kept for the days that OpenStream or `retention.days` of the sidecar said, clips for `retention.clip_days` of\n"
      "earmark-detectd, which drops both by itself every few minutes. What `earmark mark` stored stays until `earmark streams remove`.");
  command->callback([state, command, &action] {
    LetStoreWin(*command, state->server);
    action = [state] { return RunExpire(*state); };
  });
}

void AddPart(CLI::App& command, Action& action, int (*run)(const DbState&)) {
  auto state = std::make_shared<DbState>();
  command.add_flag("--json", state->json, "Print one JSON object");
  AddStoreOption(command, state->common);
  AddKeyOption(command, state->common);
  command.callback([state, &action, run] { action = [state, run] { return run(*state); }; });
}

}  // namespace

void AddDbCommand(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("db", "Makes, updates, checks or clears out the store");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  earmark db migrate --store postgresql://earmark@db.example/earmark\n"
      "  earmark db check && echo sound");
  CLI::App* migrate = command->add_subcommand("migrate", "Makes the store, or brings an older one up to date");
  migrate->footer("Example:\n  earmark db migrate --store sqlite:/var/lib/earmark/store.db");
  AddPart(*migrate, action, Migrate);
  CLI::App* check = command->add_subcommand(
      "check", "Reads all of the store and says what is damaged; opens the reference where the key is there");
  check->footer(
      "Example:\n  earmark db check --json | jq .damaged\n\nExit status: 0 sound, 1 something is damaged, one line each.");
  AddPart(*check, action, Check);
  AddExpire(*command, action);
}

}  // namespace earmark::cli
