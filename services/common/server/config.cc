#include "services/common/server/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <sstream>

namespace earmark::server {
namespace {

constexpr std::string_view kVariablePrefix = "EARMARK_";
constexpr const char* kMask = "********";

std::string FullName(std::string_view section, std::string_view key) { return std::string(section) + "." + std::string(key); }
std::string FullName(const ConfigKey& key) { return FullName(key.section, key.key); }

const char* TypeName(const ConfigValue& value) {
  static constexpr const char* kNames[] = {"text", "a whole number", "a number", "true or false"};
  return kNames[value.index()];
}

std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j + 1] + 1, row[j] + 1});
    }
  }
  return row.back();
}

std::string Upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

Error WrongType(const ConfigKey& key, const std::string& got, const std::string& where) {
  // A secret of the wrong type is still a secret.
  std::string shown = key.privacy == Privacy::kPublic ? got : kMask;
  std::replace(shown.begin(), shown.end(), '\n', ' ');
  return {ErrorCode::kInvalidArgument, where + FullName(key) + ": wanted " + TypeName(key.fallback) + ", got " + shown};
}

// The value in the key's type; whole numbers are numbers, too.
std::optional<ConfigValue> FromNode(const toml::node& node, const ConfigValue& like) {
  if (std::holds_alternative<std::string>(like)) {
    if (const auto* text = node.as_string()) return text->get();
  } else if (std::holds_alternative<std::int64_t>(like)) {
    if (const auto* integer = node.as_integer()) return integer->get();
  } else if (std::holds_alternative<double>(like)) {
    if (const auto* number = node.as_floating_point()) return number->get();
    if (const auto* integer = node.as_integer()) return static_cast<double>(integer->get());
  } else if (const auto* boolean = node.as_boolean()) {
    return boolean->get();
  }
  return std::nullopt;
}

std::string Shown(const toml::node& node) {
  std::ostringstream text;
  node.visit([&](const auto& value) { text << value; });
  return text.str();
}

std::string LineOf(const std::string& origin, const toml::source_region& source) {
  return origin + " line " + std::to_string(source.begin.line) + ": ";
}

// toml++ of the system is built with exceptions; they stop here.
Result<toml::table> ParseToml(std::string_view text, const std::string& origin) {
  try {
    return toml::parse(text, origin);
  } catch (const toml::parse_error& error) {
    return Fail(ErrorCode::kInvalidArgument, LineOf(origin, error.source()) + std::string(error.description()));
  }
}

// postgresql://user:password@host → postgresql://user:********@host, and a libpq `password=` parameter likewise.
std::string MaskPassword(std::string url) {
  const std::size_t scheme = url.find("://");
  if (scheme != std::string::npos) {
    const std::size_t begin = scheme + 3;
    const std::size_t end = url.find_first_of("/?", begin);
    const std::size_t at = url.substr(0, end).rfind('@');
    const std::size_t colon = url.find(':', begin);
    if (at != std::string::npos && at >= begin && colon < at) url.replace(colon + 1, at - colon - 1, kMask);
  }
  for (std::size_t at = url.find("password="); at != std::string::npos; at = url.find("password=", at + 1)) {
    const std::size_t begin = at + 9;
    url.replace(begin, std::min(url.find_first_of("& ", begin), url.size()) - begin, kMask);
  }
  return url;
}

std::string ToTomlText(const ConfigKey& key, const ConfigValue& value) {
  std::ostringstream text;
  if (const auto* string = std::get_if<std::string>(&value)) {
    std::string shown = *string;
    if (key.privacy == Privacy::kUrl) shown = MaskPassword(shown);
    if (key.privacy == Privacy::kSecret && !shown.empty()) shown = kMask;
    text << toml::value<std::string>(shown);
  } else {
    std::visit([&]<typename T>(const T& plain) { text << toml::value<T>(plain); }, value);
  }
  return text.str();
}

}  // namespace

Config::Config(std::vector<ConfigKey> schema) : schema_(std::move(schema)) {
  for (const ConfigKey& key : schema_) values_[FullName(key)] = key.fallback;
}

const ConfigValue& Config::At(std::string_view section, std::string_view key) const {
  const auto found = values_.find(FullName(section, key));
  if (found == values_.end()) {
    std::fprintf(stderr, "configuration key %s is not in the schema\n", FullName(section, key).c_str());
    std::abort();
  }
  return found->second;
}

const std::string& Config::Text(std::string_view section, std::string_view key) const {
  return std::get<std::string>(At(section, key));
}
std::int64_t Config::Integer(std::string_view section, std::string_view key) const {
  return std::get<std::int64_t>(At(section, key));
}
double Config::Number(std::string_view section, std::string_view key) const { return std::get<double>(At(section, key)); }
bool Config::Switch(std::string_view section, std::string_view key) const { return std::get<bool>(At(section, key)); }

std::vector<std::string> Config::KeysUnlike(const Config& other) const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : values_) {
    if (const auto found = other.values_.find(key); found == other.values_.end() || found->second != value) keys.push_back(key);
  }
  return keys;
}

std::string Config::ToToml() const {
  std::ostringstream text;
  std::string section;
  for (const ConfigKey& key : schema_) {
    if (key.section != section) text << (section.empty() ? "" : "\n") << "[" << key.section << "]\n";
    section = key.section;
    text << "# " << key.help << "\n" << key.key << " = " << ToTomlText(key, values_.at(FullName(key))) << "\n";
  }
  return text.str();
}

Result<const ConfigKey*> Config::Find(const std::string& section, const std::string& key, const std::string& where) const {
  const std::string wanted = FullName(section, key);
  const ConfigKey* nearest = nullptr;
  std::size_t min = std::string::npos;
  for (const ConfigKey& candidate : schema_) {
    const std::size_t distance = EditDistance(FullName(candidate), wanted);
    if (distance == 0) return &candidate;
    if (distance < min) {
      min = distance;
      nearest = &candidate;
    }
  }
  const std::string hint = nearest == nullptr ? "" : "; the nearest is " + FullName(*nearest);
  return Fail(ErrorCode::kInvalidArgument, where + "there is no key " + wanted + hint);
}

Result<void> Config::SetFromToml(std::string_view text, const std::string& origin) {
  const auto parsed = ParseToml(text, origin);
  if (!parsed) return Pass(parsed);
  for (const auto& [section, node] : *parsed) {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      return Fail(ErrorCode::kInvalidArgument, LineOf(origin, section.source()) + std::string(section.str()) +
                                                   ": wanted a section such as [listen], got a key outside any section");
    }
    if (table->empty()) {
      const bool known =
          std::any_of(schema_.begin(), schema_.end(), [&](const ConfigKey& key) { return key.section == section.str(); });
      if (!known) return Pass(Find(std::string(section.str()), "", LineOf(origin, section.source())));
    }
    for (const auto& [name, value] : *table) {
      const std::string where = LineOf(origin, name.source());
      const auto key = Find(std::string(section.str()), std::string(name.str()), where);
      if (!key) return Pass(key);
      const auto converted = FromNode(value, (*key)->fallback);
      if (!converted) return tl::unexpected(WrongType(**key, Shown(value), where));
      values_[FullName(**key)] = *converted;
    }
  }
  return {};
}

Result<void> Config::SetFromText(const ConfigKey& key, const std::string& text, const std::string& where) {
  const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front();
  if (std::holds_alternative<std::string>(key.fallback) && !quoted) {
    values_[FullName(key)] = text;
    return {};
  }
  // More than one key would be a line break in the value.
  const auto parsed = ParseToml("value = " + text, where);
  const auto converted = parsed && parsed->size() == 1 ? FromNode(*parsed->get("value"), key.fallback) : std::nullopt;
  if (!converted) return tl::unexpected(WrongType(key, "'" + text + "'", where));
  values_[FullName(key)] = *converted;
  return {};
}

Result<void> Config::SetFromEnvironment(std::span<const std::string> variables) {
  for (const std::string& variable : variables) {
    const std::size_t equals = variable.find('=');
    const std::string name = variable.substr(0, equals);
    if (equals == std::string::npos || !name.starts_with(kVariablePrefix)) continue;
    const std::string rest = name.substr(kVariablePrefix.size());
    // EARMARK_STORE, EARMARK_KEY, EARMARK_SERVER and EARMARK_TOKEN are the command line's: no key follows the section.
    const std::size_t underscore = rest.find('_');
    if (underscore == std::string::npos) continue;
    const std::string section = rest.substr(0, underscore);
    const auto of_section = [&](const ConfigKey& key) { return Upper(key.section) == section; };
    if (std::none_of(schema_.begin(), schema_.end(), of_section)) continue;
    std::string key_name = rest.substr(underscore + 1);
    std::string section_name = section;
    for (std::string* text : {&key_name, &section_name}) {
      for (char& c : *text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    const auto key = Find(section_name, key_name, name + ": ");
    if (!key) return Pass(key);
    if (const auto set = SetFromText(**key, variable.substr(equals + 1), name + ": "); !set) return set;
  }
  return {};
}

Result<void> Config::SetFromOption(const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  const std::size_t dot = assignment.find('.');
  if (equals == std::string::npos || dot == std::string::npos || dot > equals) {
    return Fail(ErrorCode::kInvalidArgument, "--set: wanted section.key=value, got '" + assignment.substr(0, equals) + "'");
  }
  const auto key = Find(assignment.substr(0, dot), assignment.substr(dot + 1, equals - dot - 1), "--set: ");
  if (!key) return Pass(key);
  return SetFromText(**key, assignment.substr(equals + 1), "--set: ");
}

std::vector<ConfigKey> CommonConfigKeys() {
  return {
      {"store", "url", std::string(), "Where streams, references and findings are kept: sqlite:PATH or postgresql://…",
       Privacy::kUrl},
      {"key", "file", std::string(), "File with the master key, as `earmark keys create` makes it."},
      {"listen", "grpc", std::string("127.0.0.1:7420"),
       "Address of the gRPC API, HOST:PORT; off loopback with tls and auth alone; port 0: any that is free."},
      {"listen", "http", std::string("127.0.0.1:7421"),
       "Address of HTTP/JSON, /metrics, /healthz and /readyz; port 0: any that is free."},
      {"auth", "required", true, "Whether calls need a token. false is accepted on loopback alone."},
      {"auth", "calls_a_minute", std::int64_t{6000},
       "Calls that one token may make a minute, and as many at once; 0: any number."},
      {"auth", "upload_mb_an_hour", std::int64_t{20480}, "Megabytes of clips that one token may upload an hour; 0: any number."},
      {"tls", "cert", std::string(),
       "Certificate chain, PEM. With tls.key both ports speak TLS; read again when the files change."},
      {"tls", "key", std::string(), "File with the certificate's private key, PEM."},
      {"tls", "client_ca", std::string(), "Authorities of client certificates, PEM. Empty: clients need none."},
      {"retention", "days", std::int64_t{30},
       "Days after its end for which a stream can be searched, where its opener does not say."},
      {"log", "level", std::string("info"), "One of debug, info, warning, error."},
      {"log", "json", false, "Whether each line of the log is a JSON object."},
  };
}

}  // namespace earmark::server
