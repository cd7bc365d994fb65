#include "services/common/server/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

namespace earmark::server {
namespace {

constexpr const char* kTime = "%Y-%m-%dT%H:%M:%S.%eZ";
constexpr const char* kTextLine = "%Y-%m-%dT%H:%M:%S.%eZ %l %v";

// A pattern cannot escape quotes in a message, so JSON has a formatter of its own.
class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    spdlog::memory_buf_t time;
    time_.format(message, time);
    const auto level = spdlog::level::to_string_view(message.level);
    const nlohmann::ordered_json object = {{"time", std::string(time.data(), time.size())},
                                           {"level", std::string(level.data(), level.size())},
                                           {"message", std::string(message.payload.data(), message.payload.size())}};
    const std::string line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }

 private:
  spdlog::pattern_formatter time_{kTime, spdlog::pattern_time_type::utc, ""};
};

Result<spdlog::level::level_enum> LevelOf(const std::string& level) {
  if (level != "debug" && level != "info" && level != "warning" && level != "error") {
    return Fail(ErrorCode::kInvalidArgument, "log.level: wanted debug, info, warning or error, got '" + level + "'");
  }
  return spdlog::level::from_str(level);
}

}  // namespace

Result<void> SetLogLevel(const std::string& level) {
  const auto known = LevelOf(level);
  if (!known) return Pass(known);
  spdlog::default_logger_raw()->set_level(*known);
  return {};
}

Result<void> SetUpLog(const std::string& level, LogFormat format) {
  const auto known = LevelOf(level);
  if (!known) return Pass(known);
  auto logger = std::make_shared<spdlog::logger>("earmark", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  if (format == LogFormat::kJson) {
    logger->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger->set_formatter(std::make_unique<spdlog::pattern_formatter>(kTextLine, spdlog::pattern_time_type::utc));
  }
  logger->set_level(*known);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  return {};
}

}  // namespace earmark::server
