#include "tools/earmark/mark_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "db/text.h"
#include "tools/earmark/json_output.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

double Seconds(std::int64_t packets) { return static_cast<double>(packets) / kPacketsPerSecond; }

std::vector<std::string> NotesOn(const MarkOutcome& outcome) {
  constexpr double kWorthTelling = 0.5;
  if (outcome.lost_share <= kWorthTelling) return {};
  return {
      "in " + std::to_string(std::lround(100 * outcome.lost_share)) +
      " % of the recording the two channels cancel out in their mean, and copies cannot be read there; marked as mono they can"};
}

// "the copy of alice", and of what part of the stream unless it is all.
std::string CopyOf(const CopySet::Copy& copy, const MarkOutcome& outcome) {
  const std::string whose = "the copy of " + Printable(copy.account);
  if (copy.copied == PacketRange{.first = 0, .end = outcome.num_packets}) return whose;
  char part[80];
  std::snprintf(part, sizeof part, ", who was granted %.2f to %.2f s of the stream", Seconds(copy.copied.first),
                Seconds(copy.copied.end));
  return whose + part;
}

void NoteLeftOut(const CopySet& written) {
  if (written.left_out.empty()) return;
  const std::string& first = written.left_out.front().why;
  const std::size_t number = written.left_out.size();
  PrintNote(number == 1 ? first : std::to_string(number) + " accounts have no copy; the first: " + first);
}

void PrintStream(const MarkRequest& request, const MarkOutcome& outcome) {
  if (outcome.registered) {
    std::printf("stream %s: %.1f s marked for %lld listeners, %.2f %% of the slots erased\n",
                Printable(request.stream_id).c_str(), Seconds(outcome.num_packets), static_cast<long long>(outcome.num_listeners),
                100.0 * static_cast<double>(outcome.num_erased_slots) /
                    static_cast<double>(std::max<std::int64_t>(1, outcome.num_packets)));
  }
  if (outcome.num_added > 0) {
    std::printf("stream %s: %lld more listener%s added, as the list has them\n", Printable(request.stream_id).c_str(),
                static_cast<long long>(outcome.num_added), outcome.num_added == 1 ? "" : "s");
  }
}

void AddRange(nlohmann::ordered_json& object, const PacketRange& copied) {
  object["from_s"] = Seconds(copied.first);
  object["to_s"] = Seconds(copied.end);
}

void AddCopies(nlohmann::ordered_json& object, const CopySet& written) {
  object["copies"] = nlohmann::ordered_json::array();
  for (const CopySet::Copy& copy : written.copies) {
    nlohmann::ordered_json one{{"account", copy.account}, {"out", copy.path}};
    AddRange(one, copy.copied);
    object["copies"].push_back(std::move(one));
  }
  object["left_out"] = nlohmann::ordered_json::array();
  for (const CopySet::LeftOut& out : written.left_out)
    object["left_out"].push_back(nlohmann::ordered_json{{"account", out.account}, {"why", out.why}});
}

}  // namespace

void PrintMarkText(const MarkRequest& request, const MarkOutcome& outcome) {
  for (const std::string& note : NotesOn(outcome)) PrintNote(note);
  PrintStream(request, outcome);
  const std::string out = Printable(request.all_to.empty() ? request.output : request.all_to);
  if (request.plain) {
    std::printf("%s: the recording without a mark\n", out.c_str());
  } else if (request.all_to.empty()) {
    std::printf("%s: %s\n", out.c_str(), CopyOf(outcome.written.copies.front(), outcome).c_str());
  } else {
    NoteLeftOut(outcome.written);
    const std::size_t number = outcome.written.copies.size();
    std::printf("%s: %zu %s\n", out.c_str(), number, number == 1 ? "copy" : "copies");
  }
}

void PrintMarkJson(const MarkRequest& request, const MarkOutcome& outcome) {
  const bool all = !request.all_to.empty();
  nlohmann::ordered_json object{{"out", all ? request.all_to : request.output}, {"plain", request.plain}};
  if (!request.plain) {
    object["stream"] = request.stream_id;
    if (!all) object["account"] = request.account;
    object["registered"] = outcome.registered;
    object["added"] = outcome.num_added;
    object["seconds"] = Seconds(outcome.num_packets);
    object["erased_slots"] = outcome.num_erased_slots;
    if (all)
      AddCopies(object, outcome.written);
    else
      AddRange(object, outcome.written.copies.front().copied);
  }
  if (const auto notes = NotesOn(outcome); !notes.empty()) object["notes"] = notes;
  PrintJson(object);
}

}  // namespace earmark::cli
