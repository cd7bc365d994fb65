// `earmark token`: who may call the daemons, on the local store or through one of them.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "db/text.h"
#include "services/access/access_control.h"
#include "services/common/digest.h"
#include "tools/earmark/client/client.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/json_output.h"
#include "tools/earmark/report.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

using nlohmann::ordered_json;

struct TokenState {
  CommonOptions common = DefaultOptions();
  ServerOptions server = DefaultServer();
  std::string role;
  std::string name;
  std::string expires;
  std::string id;
  bool json = false;
};

// ---- where tokens are kept

Result<IssuedToken> CreateOnStore(const CommonOptions& common, const std::string& name, Role role,
                                  std::optional<std::int64_t> expires_unix_us) {
  auto store = OpenStore(common, OpenMode::kReadWriteCreate);
  if (!store) return Pass(store);
  NewToken token = MakeToken(name, role, expires_unix_us);
  auto kept = (*store)->CreateToken(token.record);
  if (!kept) return Pass(kept);
  return IssuedToken{.text = std::move(token.text), .record = *std::move(kept)};
}

Result<std::vector<TokenRecord>> ListOnStore(const CommonOptions& common) {
  auto store = OpenStore(common, OpenMode::kReadWrite);
  if (!store) return Pass(store);
  std::vector<TokenRecord> all;
  for (TokenFilter filter;;) {
    auto page = (*store)->ListTokens(filter);
    if (!page) return Pass(page);
    all.insert(all.end(), page->begin(), page->end());
    if (static_cast<int>(page->size()) < filter.limit) return all;
    filter.after_id = page->back().id;
  }
}

Result<TokenRecord> RevokeOnStore(const CommonOptions& common, const std::string& id) {
  auto store = OpenStore(common, OpenMode::kReadWrite);
  if (!store) return Pass(store);
  return (*store)->RevokeToken(id);
}

// Asks the daemon if one is named, else the store.
template <typename AskServer, typename AskStore>
auto Ask(const TokenState& state, const AskServer& ask_server, const AskStore& ask_store) -> decltype(ask_store()) {
  if (state.server.server.empty()) return ask_store();
  auto client = Client::Create(state.server);
  if (!client) return Pass(client);
  return ask_server(**client);
}

// ---- what is printed

std::string TimeOrNever(const std::optional<std::int64_t>& unix_us) { return unix_us ? Utc(*unix_us) : "never"; }

ordered_json JsonOf(const TokenRecord& token) {
  const auto time = [](const std::optional<std::int64_t>& unix_us) {
    return unix_us ? ordered_json(Utc(*unix_us)) : ordered_json(nullptr);
  };
  return {{"id", token.id},
          {"name", token.name},
          {"role", RoleName(token.role)},
          {"created", Utc(token.created_unix_us)},
          {"expires", time(token.expires_unix_us)},
          {"revoked", time(token.revoked_unix_us)},
          {"last_used", time(token.last_used_unix_us)}};
}

std::string StateOf(const TokenRecord& token) {
  if (token.revoked_unix_us) return "revoked";
  return token.expires_unix_us && *token.expires_unix_us <= UnixMicroseconds() ? "expired" : "good";
}

void PrintTable(const std::vector<TokenRecord>& tokens) {
  if (tokens.empty()) {
    std::printf("there are no tokens; `earmark token create --role admin` makes one\n");
    return;
  }
  std::size_t name_width = 4;
  for (const TokenRecord& token : tokens) name_width = std::max(name_width, PrintedWidth(Printable(token.name)));
  const auto line = [&](const std::string& id, const std::string& name, const std::string& role, const std::string& is,
                        const std::string& expires, const std::string& used) {
    std::printf("%-16s  %s  %-12s  %-7s  %-20s  %s\n", id.c_str(), Padded(name, name_width).c_str(), role.c_str(), is.c_str(),
                expires.c_str(), used.c_str());
  };
  line("ID", "NAME", "ROLE", "STATE", "EXPIRES", "LAST USED");
  for (const TokenRecord& token : tokens) {
    line(token.id, token.name, std::string(RoleName(token.role)), StateOf(token), TimeOrNever(token.expires_unix_us),
         TimeOrNever(token.last_used_unix_us));
  }
}

// ---- the commands

int Create(const TokenState& state) {
  const auto role = ParseRole(state.role);
  if (!role) return Complain({role.error().code, "--role: " + role.error().message});
  std::optional<std::int64_t> expires_unix_us;
  if (!state.expires.empty()) {
    const auto at = ParseDeadline(state.expires, "--expires", UnixMicroseconds());
    if (!at) return Complain(at.error());
    expires_unix_us = *at;
  }
  const auto token = Ask(
      state, [&](Client& client) { return client.CreateToken(state.name, *role, expires_unix_us); },
      [&] { return CreateOnStore(state.common, state.name, *role, expires_unix_us); });
  if (!token) return Complain(token.error());
  if (state.json) {
    ordered_json object{{"token", token->text}};
    object.update(JsonOf(token->record));
    PrintJson(object);
    return 0;
  }
  std::printf("%s\n", token->text.c_str());
  std::fflush(stdout);
  PrintNote("token " + token->record.id + " of role " + std::string(RoleName(token->record.role)) +
            (expires_unix_us ? ", good until " + Utc(*expires_unix_us) : std::string()) +
            "; it is shown this once, since a hash of it is kept alone");
  return 0;
}

int List(const TokenState& state) {
  const auto tokens = Ask(
      state, [](Client& client) { return client.ListTokens(); }, [&] { return ListOnStore(state.common); });
  if (!tokens) return Complain(tokens.error());
  if (!state.json) {
    PrintTable(*tokens);
    return 0;
  }
  ordered_json rows = ordered_json::array();
  for (const TokenRecord& token : *tokens) rows.push_back(JsonOf(token));
  PrintJson({{"tokens", rows}});
  return 0;
}

int Revoke(const TokenState& state) {
  const auto token = Ask(
      state, [&](Client& client) { return client.RevokeToken(state.id); }, [&] { return RevokeOnStore(state.common, state.id); });
  if (!token) return Complain(token.error());
  if (state.json)
    PrintJson(JsonOf(*token));
  else
    std::printf("token %s is revoked; daemons refuse it a second from now\n", token->id.c_str());
  return 0;
}

}  // namespace

void AddTokenCommand(CLI::App& app, Action& action) {
  auto state = std::make_shared<TokenState>();
  CLI::App* command = app.add_subcommand("token", "Makes, lists and revokes the tokens with which the daemons are called");
  command->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, int (*run)(const TokenState&)) {
    CLI::App* sub = command->add_subcommand(name, what);
    sub->add_flag("--json", state->json, "Print one JSON object");
    AddStoreOption(*sub, state->common);
    AddServerOptions(*sub, state->server);
    sub->callback([state, sub, run, &action] {
      LetStoreWin(*sub, state->server);
      action = [state, run] { return run(*state); };
    });
    return sub;
  };
  CLI::App* create = add("create", "Makes a token and prints it, this once", &Create);
  create->add_option("--role", state->role, "What it is for: relay, investigator or admin")->required();
  create->add_option("--name", state->name, "Whose it is, for people");
  create->add_option("--expires", state->expires, "When it ends: 90d, 12h from now, or 2026-12-31; without it, it does not");
  add("list", "Lists all tokens, without their secrets", &List);
  add("revoke", "Revokes a token", &Revoke)->add_option("ID", state->id, "Its id, as `earmark token list` shows it")->required();
  command->footer(
      "Examples:\n"
      "  earmark token create --role admin --name ops >admin.token\n"
      "  earmark token create --role investigator --name kim --expires 90d --server 127.0.0.1:7420 --token-file admin.token\n"
      "  earmark token revoke 0123456789abcdef\n\n"
      "The first token is made on the store. Without --server and $EARMARK_SERVER, or with --store, the store is asked.");
}

}  // namespace earmark::cli
