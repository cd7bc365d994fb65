#include <cmath>
#include <filesystem>
#include <optional>
#include <set>

#include "db/store_checks.h"
#include "dsp/media/atomic_file.h"
#include "dsp/media/audio_file.h"
#include "services/common/all_copies.h"
#include "services/common/copies.h"
#include "services/common/registration.h"
#include "services/common/text_file.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/mark_report.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

constexpr std::size_t kMaxListBytes = 64 << 20;  // two million accounts of thirty bytes

tl::unexpected<Error> NoList(Error error) {
  if (error.code == ErrorCode::kCancelled) return Fail(error.code, error.message);
  return Fail(error.code, error.message + "; give a text file with one account a line to --listeners");
}

// Each once, in the order of the file.
Result<Listeners> ReadListeners(const std::string& path, const Progress& progress) {
  auto text = ReadTextFile(path, kMaxListBytes, [&] { return progress("reading the listeners", -1); });
  if (!text) return NoList(text.error());
  Listeners listeners{.accounts = {}, .file = path};
  std::set<std::string> seen;
  for (const Line& line : LinesOf(*text)) {
    if (auto named = CheckNewName("account", line.text); !named)
      return NoList({named.error().code, path + ", line " + std::to_string(line.number) + ": " + named.error().message});
    if (seen.insert(line.text).second) listeners.accounts.push_back(line.text);
  }
  if (listeners.accounts.empty()) return Fail(ErrorCode::kInvalidArgument, path + ": holds no accounts; one a line is wanted");
  return listeners;
}

Result<void> CheckRequest(const MarkRequest& request) {
  if (request.output.empty())
    return Fail(ErrorCode::kInvalidArgument,
                "--out is needed, for the file with the copy, or --all-to, for the folder of all listeners' copies");
  const bool all = !request.all_to.empty();
  const bool wav = IsWav(request);
  if (!wav && !request.output.ends_with(".opus"))
    return Fail(ErrorCode::kInvalidArgument, request.output + ": --out wants a name that ends in .opus or .wav");
  if (!request.opus.value_or(true) && !wav)
    return Fail(ErrorCode::kInvalidArgument,
                "--codec none writes PCM: " + std::string(all ? "--format wants wav" : "--out wants a name that ends in .wav"));
  if (!request.opus.value_or(true) && request.bitrate_bps)
    return Fail(ErrorCode::kInvalidArgument, "--bitrate is for Opus, and --codec none makes none");
  if (all && (request.plain || !request.account.empty()))
    return Fail(ErrorCode::kInvalidArgument, "--all-to writes every listener's copy, and excludes --for and --plain");
  if (all && (request.stream_id.empty() || request.listeners_file.empty()))
    return Fail(ErrorCode::kInvalidArgument, "--stream and --listeners are needed with --all-to");
  if (!request.plain && !all && (request.stream_id.empty() || request.account.empty() || request.listeners_file.empty())) {
    return Fail(ErrorCode::kInvalidArgument, "--stream, --listeners and --for are needed (or --plain, for a copy without mark)");
  }
  if (request.plain && !request.account.empty()) return Fail(ErrorCode::kInvalidArgument, "--plain and --for exclude each other");
  std::error_code ignored;
  if (std::filesystem::equivalent(request.input, request.output, ignored)) {
    return Fail(ErrorCode::kInvalidArgument,
                request.output + ": --out is the recording itself, which would be lost; give another name");
  }
  return {};
}

// What can be found wrong before any work is done, and before a key or a store is made. The folder that was made for the copies, if there is one.
Result<std::optional<CopyFolder>> CheckFiles(const MarkRequest& request) {
  auto readable = AudioReader::Open(request.input);
  if (!readable) return Pass(readable);
  std::optional<CopyFolder> folder;
  if (!request.all_to.empty()) {
    auto made = CopyFolder::Make(request.all_to);
    if (!made) return Pass(made);
    folder.emplace(*std::move(made));
  }
  auto writable = AtomicFile::Create(request.output, 0600);
  if (!writable) return Pass(writable);
  return folder;
}

// For a store without a key file. A new key would open nothing that the store already has, and hide that the right one is missing.
Result<MasterKey> MakeFirstKey(const CommonOptions& common, Store& store) {
  auto streams = store.ListStreams();
  if (!streams) return Pass(streams);
  if (!streams->empty()) {
    return Fail(ErrorCode::kNotFound,
                common.key_file + ": there is no master key, but the store has streams, the last marked under key " +
                    streams->back().key_id +
                    "; give that key with --key, or restore it from a backup (a new one is made by `earmark keys create` alone)");
  }
  auto made = MakeMasterKey(common);
  // Another process was quicker.
  return !made && made.error().code == ErrorCode::kAlreadyExists ? ReadMasterKey(common) : made;
}

// The store, and the key that goes with it. A new key is made only once there is a store, without streams, and neither if the other is no good.
struct StoreAndKey {
  std::unique_ptr<Store> store;
  MasterKey master;
};
Result<StoreAndKey> OpenStoreAndKey(const CommonOptions& common, OpenMode mode) {
  if (auto place = RequireStorePlace(common); !place) return Pass(place);
  auto master = ReadMasterKey(common);
  if (!master && master.error().code != ErrorCode::kNotFound) return Pass(master);
  auto store = OpenStore(common, mode);
  if (!store) return Pass(store);
  if (!master) master = MakeFirstKey(common, **store);
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
  if (used > 0 && (unit == "k" || unit == "K"))
    value *= 1000;
  else if (used == 0 || !unit.empty())
    value = 0;
  if (!(value >= 12000 && value <= 256000))
    return Fail(ErrorCode::kInvalidArgument, "--bitrate: wanted 12k to 256k, got '" + text + "'");
  return static_cast<int>(std::lround(value));
}

// The copy, or all copies, that are wanted.
Result<CopySet> WriteWanted(const StoreAndKey& place, const StreamRecord& stream, const MarkRequest& request,
                            const Progress& progress) {
  if (!request.all_to.empty()) {
    ProgressBar bar;  // of its own, so that the time left is that of the copies
    return WriteAllCopies(*place.store, place.master, stream, request, bar.Callback());
  }
  auto copied = WriteCopy(*place.store, place.master, stream, request, progress);
  if (!copied) return Pass(copied);
  return CopySet{.copies = {{request.account, request.output, *copied}}, .left_out = {}};
}

Result<MarkOutcome> MarkInStore(const StoreAndKey& place, const MarkRequest& request, const Listeners& listeners,
                                const Progress& progress) {
  auto registration = FindOrRegister(*place.store, place.master, request, listeners, progress);
  if (!registration) return Pass(registration);
  auto written = WriteWanted(place, registration->stream, request, progress);
  if (!written) return Pass(written);
  return MarkOutcome{.registered = registration->is_new,
                     .num_packets = registration->stream.num_packets,
                     .num_erased_slots = registration->stream.num_erased_slots,
                     .num_listeners = static_cast<std::int64_t>(listeners.accounts.size()),
                     .num_added = registration->num_added,
                     .lost_share = registration->lost_share,
                     .written = *std::move(written)};
}

}  // namespace

Result<MarkOutcome> RunMark(const MarkRequest& request) {
  if (auto checked = CheckRequest(request); !checked) return Pass(checked);
  ProgressBar bar;
  const Progress progress = bar.Callback();
  auto folder = CheckFiles(request);
  if (!folder) return Pass(folder);
  if (request.plain) {
    if (auto written = WritePlainCopy(request, progress); !written) return Pass(written);
    return MarkOutcome{};
  }
  auto listeners = ReadListeners(request.listeners_file, progress);
  if (!listeners) return Pass(listeners);
  const bool all = !request.all_to.empty();
  if (all) {
    if (auto are_new = CheckAreNew(request, listeners->accounts); !are_new) return Pass(are_new);
  }
  // Somebody who is not in the file may still have a grant for a known stream; for a new one no store is made.
  const bool listed = all || listeners->Holds(request.account);
  auto opened = OpenStoreAndKey(request.common, listed ? OpenMode::kReadWriteCreate : OpenMode::kReadWrite);
  if (!opened && !listed && opened.error().code == ErrorCode::kNotFound)
    return tl::unexpected<Error>(NotAListener(request, *listeners));
  if (!opened) return Pass(opened);
  return MarkInStore(*opened, request, *listeners, progress);
}

namespace {

struct MarkState {
  MarkRequest request;
  std::string bitrate;
  std::string codec;
  std::string file_format;
  bool json = false;
};

// --all-to: where the copies go, and what their names end in.
std::string PatternOf(const MarkState& state) {
  const std::string usual = state.codec == "none" ? "wav" : "opus";
  return (std::filesystem::path(state.request.all_to) / "ACCOUNT.").string() +
         (state.file_format.empty() ? usual : state.file_format);
}

void AddMarkOptions(CLI::App* command, MarkState* state) {
  MarkRequest& request = state->request;
  command->add_option("IN", request.input, "Recording: any audio or video file, 8 to 192 kHz")->required();
  command->add_option("--stream", request.stream_id, "Name of the stream; registered with all its listeners if it is new");
  command->add_option(
      "--listeners", request.listeners_file,
      "Text file with the listeners' accounts, one a line; lines that begin with # are comments. Accounts that a known stream does not have yet are added");
  command->add_option("--for", request.account, "The listener whose copy to write");
  command->add_option("--out", request.output, "OUT.opus: the very packets that account gets; OUT.wav: the same, decoded");
  CLI::Option* all_to = command->add_option(
      "--all-to", request.all_to,
      "Instead of --for and --out: the folder for the copies of all whom the stream has, each in a file of its own; made if it is not there");
  command
      ->add_option("--format", state->file_format,
                   "Of the files in --all-to: opus or wav, as --out has them; opus unless given, wav with --codec none")
      ->check(CLI::IsMember({"opus", "wav"}))
      ->needs(all_to);
  all_to->excludes("--out");
  command->add_option(
      "--bitrate", state->bitrate,
      "Encode to Opus at this rate, 12k to 256k. Without it an Ogg Opus IN keeps its own packets, and all else is encoded at 32k. The mark is a few bits in these");
  command->add_option("--codec", state->codec, "opus, or none for marked PCM without Opus; opus unless given")
      ->check(CLI::IsMember({"opus", "none"}));
  command
      ->add_option("--strength", request.strength,
                   "Of the mark: 1, not to be heard by any measure, to 100, shortest clips; 50 unless given")
      ->check(CLI::Range(1, 100));
  command->add_option("--variants", request.num_variants, "Variants of every symbol; 4 unless given")
      ->check(CLI::IsMember({2, 4, 8}));
  command
      ->add_option("--packets-per-symbol", request.packets_per_symbol,
                   "Length of a symbol in packets of 20 ms; 1 unless given, 2 with --codec none")
      ->check(CLI::Range(1, 10));
  command->add_flag("--plain", request.plain, "The same encode without any mark; registers nothing (to compare quality)");
  command->add_flag("--json", state->json, "Print one JSON object");
  AddStoreOption(*command, request.common);
  AddKeyOption(*command, request.common);
}

}  // namespace

void AddMarkCommand(CLI::App& app, Action& action) {
  auto state = std::make_shared<MarkState>();
  state->request.common = DefaultOptions();
  CLI::App* command = app.add_subcommand("mark", "Marks a recording as a stream and writes one listener's copy, or all");
  AddMarkOptions(command, state.get());
  command->footer(
      "Examples:\n"
      "  earmark mark talk.wav --stream town-hall --listeners accounts.txt --for alice --out alice.opus\n"
      "  earmark mark talk.wav --stream town-hall --listeners accounts.txt --for bob --out bob.wav    (the same stream, another copy)\n"
      "  earmark mark talk.wav --stream town-hall --listeners accounts.txt --all-to copies    (everybody's: copies/alice.opus, …)\n"
      "  earmark mark talk.wav --plain --out plain.opus\n\n"
      "Whoever was granted a part of the stream gets a copy of that part; whoever was revoked gets none, also if the list has him.\n\n"
      "Files in --all-to are called ACCOUNT.opus or ACCOUNT.wav. Small letters, digits and - _ . + @ of the account stay, but for - and . at the beginning; every other "
      "byte is %XX in hex, as in a URL (Ann/1 is %41nn%2F1). Of what is then longer than 128 characters the end is replaced by ~ and the first 32 digits of the "
      "account's SHA-256. So no two accounts have one file, also where capital letters do not count. No file is overwritten; all copies are written, or none.");
  command->callback([state, &action] {
    action = [state] {
      if (!state->bitrate.empty()) {
        auto bitrate = ParseBitrate(state->bitrate);
        if (!bitrate) return Complain(bitrate.error());
        state->request.bitrate_bps = *bitrate;
      }
      if (!state->codec.empty()) state->request.opus = state->codec == "opus";
      if (!state->request.all_to.empty()) state->request.output = PatternOf(*state);
      auto outcome = RunMark(state->request);
      if (!outcome) return Complain(outcome.error());
      (state->json ? PrintMarkJson : PrintMarkText)(state->request, *outcome);
      return 0;
    };
  });
}

}  // namespace earmark::cli
