// `earmark leaks`: who leaked what, over all findings, from the local store or from a detection daemon.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <tuple>

#include "db/text.h"
#include "services/common/digest.h"
#include "tools/earmark/client/client.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/json_output.h"
#include "tools/earmark/report.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

using nlohmann::ordered_json;

struct LeaksState {
  CommonOptions common = DefaultOptions();
  ServerOptions server = DefaultServer();
  std::string account;
  std::string stream;
  std::string since;
  std::string until;
  std::string case_label;
  bool json = false;
};

std::optional<std::string> Given(const std::string& text) { return text.empty() ? std::nullopt : std::optional(text); }

Result<LeakFilter> ToFilter(const LeaksState& state) {
  LeakFilter filter;
  filter.account = Given(state.account);
  filter.stream = Given(state.stream);
  filter.case_label = Given(state.case_label);
  const std::int64_t now = UnixMicroseconds();
  if (!state.since.empty()) {
    auto since = ParseMoment(state.since, "--since", now);
    if (!since) return Pass(since);
    filter.since_unix_us = *since;
  }
  if (!state.until.empty()) {
    auto until = ParseMoment(state.until, "--until", now);
    if (!until) return Pass(until);
    filter.until_unix_us = *until;
  }
  return filter;
}

Result<std::vector<LeakRow>> QueryStore(const CommonOptions& common, LeakFilter filter) {
  auto store = OpenStore(common, OpenMode::kReadWrite);
  if (!store) return Pass(store);
  std::vector<LeakRow> rows;
  for (;;) {
    auto page = (*store)->QueryLeaks(filter);
    if (!page) return Pass(page);
    for (const Leak& leak : *page) {
      rows.push_back({.account = leak.account,
                      .stream = leak.stream,
                      .finding_id = std::to_string(leak.finding_id),
                      .log10_bound = leak.log10_bound,
                      .first_seen_unix_us = leak.first_seen_unix_us,
                      .last_seen_unix_us = leak.last_seen_unix_us});
    }
    if (static_cast<int>(page->size()) < filter.limit) return rows;
    filter.after_account = page->back().account;
    filter.after_stream = page->back().stream;
  }
}

Result<std::vector<LeakRow>> QueryServer(const ServerOptions& server, const LeakFilter& filter) {
  auto client = Client::Create(server);
  if (!client) return Pass(client);
  return (*client)->QueryLeaks(filter);
}

// The newest knowledge first, and the same order whoever was asked.
void Sort(std::vector<LeakRow>& rows) {
  std::sort(rows.begin(), rows.end(), [](const LeakRow& a, const LeakRow& b) {
    return std::tie(b.last_seen_unix_us, a.account, a.stream, a.finding_id) <
           std::tie(a.last_seen_unix_us, b.account, b.stream, b.finding_id);
  });
}

void PrintRows(const std::vector<LeakRow>& rows) {
  ordered_json leaks = ordered_json::array();
  for (const LeakRow& row : rows) {
    leaks.push_back({{"account", row.account},
                     {"stream_id", row.stream},
                     {"finding_id", row.finding_id},
                     {"log10_bound", std::round(row.log10_bound * 1e3) / 1e3},
                     {"first_seen", Utc(row.first_seen_unix_us)},
                     {"last_seen", Utc(row.last_seen_unix_us)}});
  }
  PrintJson(ordered_json{{"leaks", leaks}, {"next_page_token", ""}});
}

void PrintTable(const std::vector<LeakRow>& rows) {
  if (rows.empty()) {
    std::printf("no leaks are known\n");
    return;
  }
  std::size_t account_width = 7, stream_width = 6, finding_width = 7;
  for (const LeakRow& row : rows) {
    account_width = std::max(account_width, PrintedWidth(Printable(row.account)));
    stream_width = std::max(stream_width, PrintedWidth(Printable(row.stream)));
    finding_width = std::max(finding_width, PrintedWidth(row.finding_id));
  }
  const auto line = [&](const std::string& account, const LeakRow& row, const std::string& chance, const std::string& first,
                        const std::string& last) {
    std::printf("%s  %s  %-8s  %s  %-20s  %s\n", account.c_str(), Padded(row.stream, stream_width).c_str(), chance.c_str(),
                Padded(row.finding_id, finding_width).c_str(), last.c_str(), first.c_str());
  };
  line(Padded("ACCOUNT", account_width), {.account = "", .stream = "STREAM", .finding_id = "FINDING"}, "CHANCE", "FIRST SEEN",
       "LAST SEEN");
  for (const LeakRow& row : rows) {
    line(Bold(Padded(row.account, account_width)), row, Chance(row.log10_bound), Utc(row.first_seen_unix_us),
         Utc(row.last_seen_unix_us));
  }
}

int RunLeaks(const LeaksState& state) {
  auto filter = ToFilter(state);
  if (!filter) return Complain(filter.error());
  auto rows = state.server.server.empty() ? QueryStore(state.common, *filter) : QueryServer(state.server, *filter);
  if (!rows) return Complain(rows.error());
  Sort(*rows);
  if (state.json)
    PrintRows(*rows);
  else
    PrintTable(*rows);
  return 0;
}

}  // namespace

void AddLeaksCommand(CLI::App& app, Action& action) {
  auto state = std::make_shared<LeaksState>();
  CLI::App* command = app.add_subcommand("leaks", "Lists which accounts leaked which streams, over all findings, newest first");
  command->add_option("--account", state->account, "This account alone");
  command->add_option("--stream", state->stream, "This stream alone");
  command->add_option("--since", state->since,
                      "Findings made at this time or later: 2026-05-31, 2026-05-31T18:00:00Z, or 7d, 12h ago");
  command->add_option("--until", state->until, "Findings made before this time");
  command->add_option("--case", state->case_label, "This investigation alone");
  command->add_flag("--json", state->json, "Print one JSON object");
  AddStoreOption(*command, state->common);
  AddKeyOption(*command, state->common);
  AddServerOptions(*command, state->server);
  command->footer(
      "Examples:\n"
      "  earmark leaks\n"
      "  earmark leaks --account alice --since 30d\n"
      "  earmark leaks --json --server 127.0.0.1:7420 | jq '.leaks[].account'\n\n"
      "CHANCE is the chance that any innocent account would be accused by that finding, the strongest one.\n"
      "Without --server and $EARMARK_SERVER, or with --store, the store is asked.");
  command->callback([state, command, &action] {
    const bool asks_store = command->count("--store") > 0;
    if (asks_store && command->count("--server") > 0) throw CLI::ExcludesError("--server", "--store");
    if (asks_store) state->server.server.clear();
    action = [state] { return RunLeaks(*state); };
  });
}

}  // namespace earmark::cli
