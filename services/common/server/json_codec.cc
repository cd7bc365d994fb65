#include "services/common/server/json_codec.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <memory>
#include <nlohmann/json.hpp>

namespace earmark::server {
namespace {

namespace pb = google::protobuf;

std::unique_ptr<pb::Message> NewMessage(const pb::Descriptor& type) {
  return std::unique_ptr<pb::Message>(pb::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

// Protobuf's messages quote the input over several lines; the first says what is wrong.
// Of a message of protobuf's, which may begin with the name of a place that has none.
std::string FirstLine(const std::string& text) {
  const std::string line = text.substr(0, text.find('\n'));
  return line.starts_with(": ") ? line.substr(2) : line;
}

Result<void> ParseJson(const std::string& json, pb::Message* message) {
  const auto status = pb::util::JsonStringToMessage(json, message);
  if (status.ok()) return {};
  return Fail(ErrorCode::kInvalidArgument, "wanted JSON of " + message->GetDescriptor()->name() +
                                               ", got something else: " + FirstLine(std::string(status.message())));
}

}  // namespace

const pb::MethodDescriptor* FindMethod(const std::string& service, const std::string& method) {
  const pb::ServiceDescriptor* found = pb::DescriptorPool::generated_pool()->FindServiceByName(service);
  return found == nullptr ? nullptr : found->FindMethodByName(method);
}

Result<std::string> JsonToBytes(const pb::Descriptor& type, const std::string& json) {
  const auto message = NewMessage(type);
  if (json.find_first_not_of(" \t\r\n") != std::string::npos) {
    if (const auto parsed = ParseJson(json, message.get()); !parsed) return Pass(parsed);
  }
  return message->SerializeAsString();
}

Result<std::string> BytesToJson(const pb::Descriptor& type, const std::string& bytes) {
  const auto message = NewMessage(type);
  pb::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  if (!message->ParseFromString(bytes) || !pb::util::MessageToJsonString(*message, &json, options).ok()) {
    return Fail(ErrorCode::kInternal, "an answer is not a " + type.full_name());
  }
  return json;
}

Result<std::string> UploadHeader(const pb::Descriptor& type, const std::multimap<std::string, std::string>& parameters) {
  // Protobuf's mapping takes numbers and times as JSON strings, too, so that types need not be known here.
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [name, value] : parameters) {
    if (parameters.count(name) > 1)
      return Fail(ErrorCode::kInvalidArgument, name + ": wanted one query parameter of this name, got several");
    object[name] = value;
  }
  const auto message = NewMessage(type);
  pb::Message* header = message->GetReflection()->MutableMessage(message.get(), type.FindFieldByName("header"));
  try {
    if (const auto parsed = ParseJson(object.dump(), header); !parsed) return Pass(parsed);
  } catch (const nlohmann::json::exception&) {
    return Fail(ErrorCode::kInvalidArgument, "query parameters: wanted UTF-8, got other bytes");
  }
  return message->SerializeAsString();
}

std::string UploadData(const pb::Descriptor& type, const std::string& data) {
  const auto message = NewMessage(type);
  message->GetReflection()->SetString(message.get(), type.FindFieldByName("data"), data);
  return message->SerializeAsString();
}

}  // namespace earmark::server
