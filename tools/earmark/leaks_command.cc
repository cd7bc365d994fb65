// `earmark leaks`: who leaked what, over all findings, from the local store or from a detection daemon.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <tuple>

#include "db/text.h"
#include "services/common/account_evidence.h"
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

// A script whose variable is empty would be told of everybody.
CLI::Validator NotEmpty() {
  return {[](const std::string& text) { return text.empty() ? std::string("wanted something, got nothing") : std::string(); },
          ""};
}

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

void Add(LeakTable& table, const std::vector<Leak>& leaks, const std::vector<AccountEvidence>& accounts) {
  for (const Leak& leak : leaks) {
    table.leaks.push_back({.account = leak.account,
                           .stream = leak.stream,
                           .finding_id = std::to_string(leak.finding_id),
                           .log10_bound = leak.log10_bound,
                           .first_seen_unix_us = leak.first_seen_unix_us,
                           .last_seen_unix_us = leak.last_seen_unix_us});
  }
  for (const AccountEvidence& of : accounts) {
    // One whose streams run over the end of a page is told with both.
    if (!table.accounts.empty() && table.accounts.back().account == of.account) table.accounts.pop_back();
    table.accounts.push_back({.account = of.account,
                              .num_streams = of.num_streams,
                              .finding_id = std::to_string(of.finding_id),
                              .log10_bound = of.log10_bound,
                              .log10_combined_bound = of.log10_combined_bound,
                              .first_seen_unix_us = of.first_seen_unix_us,
                              .last_seen_unix_us = of.last_seen_unix_us});
  }
}

Result<LeakTable> QueryStore(const CommonOptions& common, LeakFilter filter) {
  auto store = OpenStore(common, OpenMode::kReadWrite);
  if (!store) return Pass(store);
  LeakTable table;
  for (;;) {
    const auto page = (*store)->QueryLeaks(filter);
    if (!page) return Pass(page);
    const auto accounts = EvidenceOf(**store, filter, *page);
    if (!accounts) return Pass(accounts);
    Add(table, *page, *accounts);
    if (static_cast<int>(page->size()) < filter.limit) return table;
    filter.after_account = page->back().account;
    filter.after_stream = page->back().stream;
  }
}

Result<LeakTable> QueryServer(const ServerOptions& server, const LeakFilter& filter) {
  auto client = Client::Create(server);
  if (!client) return Pass(client);
  return (*client)->QueryLeaks(filter);
}

// The newest knowledge first, and the same order whoever was asked.
void Sort(LeakTable& table) {
  std::sort(table.leaks.begin(), table.leaks.end(), [](const LeakRow& a, const LeakRow& b) {
    return std::tie(b.last_seen_unix_us, a.account, a.stream, a.finding_id) <
           std::tie(a.last_seen_unix_us, b.account, b.stream, b.finding_id);
  });
  std::sort(table.accounts.begin(), table.accounts.end(), [](const AccountRow& a, const AccountRow& b) {
    return std::tie(b.last_seen_unix_us, a.account) < std::tie(a.last_seen_unix_us, b.account);
  });
}

double Rounded(double log10_bound) { return std::round(log10_bound * 1e3) / 1e3; }

void PrintAsJson(const LeakTable& table) {
  ordered_json leaks = ordered_json::array();
  for (const LeakRow& row : table.leaks) {
    leaks.push_back({{"account", row.account},
                     {"stream_id", row.stream},
                     {"finding_id", row.finding_id},
                     {"log10_bound", Rounded(row.log10_bound)},
                     {"first_seen", Utc(row.first_seen_unix_us)},
                     {"last_seen", Utc(row.last_seen_unix_us)}});
  }
  ordered_json accounts = ordered_json::array();
  for (const AccountRow& row : table.accounts) {
    accounts.push_back({{"account", row.account},
                        {"streams", row.num_streams},
                        {"finding_id", row.finding_id},
                        {"log10_bound", Rounded(row.log10_bound)},
                        {"log10_combined_bound", Rounded(row.log10_combined_bound)},
                        {"first_seen", Utc(row.first_seen_unix_us)},
                        {"last_seen", Utc(row.last_seen_unix_us)}});
  }
  PrintJson(ordered_json{{"leaks", leaks}, {"next_page_token", ""}, {"accounts", accounts}});
}

void PrintLeaks(const std::vector<LeakRow>& rows) {
  std::size_t account_width = 7, stream_width = 6, finding_width = 7, chance_width = 6;
  for (const LeakRow& row : rows) {
    account_width = std::max(account_width, PrintedWidth(Printable(row.account)));
    stream_width = std::max(stream_width, PrintedWidth(Printable(row.stream)));
    finding_width = std::max(finding_width, PrintedWidth(row.finding_id));
    chance_width = std::max(chance_width, Chance(row.log10_bound).size());
  }
  const auto line = [&](const std::string& account, const LeakRow& row, const std::string& chance, const std::string& first,
                        const std::string& last) {
    std::printf("%s  %s  %s  %s  %-20s  %s\n", account.c_str(), Padded(row.stream, stream_width).c_str(),
                Padded(chance, chance_width).c_str(), Padded(row.finding_id, finding_width).c_str(), last.c_str(), first.c_str());
  };
  line(Padded("ACCOUNT", account_width), {.account = "", .stream = "STREAM", .finding_id = "FINDING"}, "CHANCE", "FIRST SEEN",
       "LAST SEEN");
  for (const LeakRow& row : rows) {
    line(Bold(Padded(row.account, account_width)), row, Chance(row.log10_bound), Utc(row.first_seen_unix_us),
         Utc(row.last_seen_unix_us));
  }
}

// Those that were accused in several streams: the others' one row says it.
void PrintAccounts(const std::vector<AccountRow>& rows) {
  std::size_t width = 7;
  bool any = false;
  for (const AccountRow& row : rows) {
    any = any || row.num_streams > 1;
    width = std::max(width, PrintedWidth(Printable(row.account)));
  }
  if (!any) return;
  std::printf("\n%s  STREAMS  ALL TOGETHER\n", Padded("ACCOUNT", width).c_str());
  for (const AccountRow& row : rows) {
    if (row.num_streams > 1)
      std::printf("%s  %-7lld  %s\n", Bold(Padded(row.account, width)).c_str(), static_cast<long long>(row.num_streams),
                  Chance(row.log10_combined_bound).c_str());
  }
}

void PrintTables(const LeakTable& table) {
  if (table.leaks.empty()) {
    std::printf("no leaks are known\n");
    return;
  }
  PrintLeaks(table.leaks);
  PrintAccounts(table.accounts);
}

int RunLeaks(const LeaksState& state) {
  auto filter = ToFilter(state);
  if (!filter) return Complain(filter.error());
  auto table = state.server.server.empty() ? QueryStore(state.common, *filter) : QueryServer(state.server, *filter);
  if (!table) return Complain(table.error());
  Sort(*table);
  if (state.json)
    PrintAsJson(*table);
  else
    PrintTables(*table);
  return 0;
}

}  // namespace

void AddLeaksCommand(CLI::App& app, Action& action) {
  auto state = std::make_shared<LeaksState>();
  CLI::App* command = app.add_subcommand("leaks", "Lists which accounts leaked which streams, over all findings, newest first");
  command->add_option("--account", state->account, "This account alone")->check(NotEmpty());
  command->add_option("--stream", state->stream, "This stream alone")->check(NotEmpty());
  command->add_option("--since", state->since,
                      "Findings made at this time or later: 2026-05-31, 2026-05-31T18:00:00Z, or 7d, 12h ago");
  command->add_option("--until", state->until, "Findings made before this time");
  command->add_option("--case", state->case_label, "This investigation alone")->check(NotEmpty());
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
      "ALL TOGETHER, of accounts that were accused in several streams, is the chance that any innocent one would be accused\n"
      "as strongly in as many, over all scans that left a finding in the store.\n"
      "Without --server and $EARMARK_SERVER, or with --store, the store is asked.");
  command->callback([state, command, &action] {
    LetStoreWin(*command, state->server);
    action = [state] { return RunLeaks(*state); };
  });
}

}  // namespace earmark::cli
