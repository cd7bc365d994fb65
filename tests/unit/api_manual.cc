// The .proto files are the API's manual: everything in them is named alike and says what it means.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <string>

#include "tests/unit/temp_folder.h"

namespace earmark {
namespace {

namespace pb = google::protobuf;

// The API as protoc read it, comments included, which the descriptors compiled into programs lack.
class Api {
 public:
  Api() {
    pb::FileDescriptorSet set;
    if (!set.ParseFromString(ReadBytes(EARMARK_API_DESCRIPTORS)))
      throw std::runtime_error("no descriptors at " EARMARK_API_DESCRIPTORS);
    for (const pb::FileDescriptorProto& file : set.file()) {
      const pb::FileDescriptor* built = pool_.BuildFile(file);
      if (file.package() == "earmark.v1") files_.push_back(built);
    }
  }

  const std::vector<const pb::FileDescriptor*>& files() const { return files_; }

  void ForEachMessage(const std::function<void(const pb::Descriptor&)>& visit) const {
    for (const pb::FileDescriptor* file : files_) {
      for (int i = 0; i < file->message_type_count(); ++i) visit(*file->message_type(i));
    }
  }
  void ForEachMethod(const std::function<void(const pb::MethodDescriptor&)>& visit) const {
    for (const pb::FileDescriptor* file : files_) {
      for (int i = 0; i < file->service_count(); ++i) {
        for (int j = 0; j < file->service(i)->method_count(); ++j) visit(*file->service(i)->method(j));
      }
    }
  }

 private:
  pb::DescriptorPool pool_;
  std::vector<const pb::FileDescriptor*> files_;
};

template <typename Descriptor>
void CheckComment(const Descriptor& descriptor) {
  pb::SourceLocation location;
  INFO(descriptor.full_name());
  REQUIRE(descriptor.GetSourceLocation(&location));
  CHECK(location.leading_comments.size() > 5);
}

bool OnlyOf(const std::string& text, const std::function<bool(char)>& allowed) {
  return std::all_of(text.begin(), text.end(), allowed);
}
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsSnakeCase(const std::string& name) {
  return IsLower(name[0]) && OnlyOf(name, [](char c) { return IsLower(c) || IsDigit(c) || c == '_'; });
}
bool IsCamelCase(const std::string& name) {
  return IsUpper(name[0]) && OnlyOf(name, [](char c) { return IsLower(c) || IsUpper(c) || IsDigit(c); });
}

TEST_CASE("API: every service, call, message, field and value says what it means", "[api_manual]") {
  const Api api;
  CHECK(api.files().size() == 4);
  api.ForEachMessage([](const pb::Descriptor& message) {
    CheckComment(message);
    for (int i = 0; i < message.field_count(); ++i) CheckComment(*message.field(i));
  });
  api.ForEachMethod([](const pb::MethodDescriptor& method) {
    CheckComment(method);
    CheckComment(*method.service());
  });
  for (const pb::FileDescriptor* file : api.files()) {
    for (int i = 0; i < file->enum_type_count(); ++i) {
      CheckComment(*file->enum_type(i));
      for (int j = 0; j < file->enum_type(i)->value_count(); ++j) CheckComment(*file->enum_type(i)->value(j));
    }
  }
}

TEST_CASE("API: names are of one kind", "[api_manual]") {
  const Api api;
  api.ForEachMessage([](const pb::Descriptor& message) {
    INFO(message.full_name());
    CHECK(IsCamelCase(message.name()));
    for (int i = 0; i < message.field_count(); ++i) {
      const pb::FieldDescriptor& field = *message.field(i);
      INFO(field.full_name());
      CHECK(IsSnakeCase(field.name()));
      const bool is_time =
          field.name().ends_with("_at") || field.name().ends_with("_seen") || field.name() == "since" || field.name() == "until";
      if (is_time) CHECK(field.message_type()->full_name() == "google.protobuf.Timestamp");
    }
  });
  api.ForEachMethod([](const pb::MethodDescriptor& method) {
    INFO(method.full_name());
    CHECK(IsCamelCase(method.name()));
    // What comes one by one for as long as a call lasts is no request.
    const bool items = method.client_streaming() && method.server_streaming();
    if (!items) CHECK(method.input_type()->name() == method.name() + "Request");
  });
}

TEST_CASE("API: what changes something once takes an idempotency key, what only reads takes none", "[api_manual]") {
  const Api api;
  api.ForEachMethod([](const pb::MethodDescriptor& method) {
    const std::string& name = method.name();
    // Calls that answer for as long as they last change nothing that outlives them.
    const bool reads = name.starts_with("Get") || name.starts_with("List") || name.starts_with("Query") || name == "AlphaSpent" ||
                       method.server_streaming();
    // An upload's parameters are its first message.
    const pb::FieldDescriptor* header = method.client_streaming() ? method.input_type()->FindFieldByName("header") : nullptr;
    const pb::Descriptor& parameters = header == nullptr ? *method.input_type() : *header->message_type();
    INFO(method.full_name());
    CHECK((parameters.FindFieldByName("idempotency_key") == nullptr) == reads);
  });
}

TEST_CASE("API: pages are asked for in one way", "[api_manual]") {
  const Api api;
  api.ForEachMethod([](const pb::MethodDescriptor& method) {
    if (method.input_type()->FindFieldByName("page_token") == nullptr) return;
    INFO(method.full_name());
    CHECK(method.input_type()->FindFieldByName("page_size") != nullptr);
    CHECK(method.output_type()->FindFieldByName("next_page_token") != nullptr);
  });
}

}  // namespace
}  // namespace earmark
