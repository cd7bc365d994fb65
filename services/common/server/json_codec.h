// Messages of the API between JSON and the wire, by their descriptors.
#pragma once

#include <map>
#include <string>

#include "dsp/core/result.h"

namespace google::protobuf {
class Descriptor;
class MethodDescriptor;
}  // namespace google::protobuf

namespace earmark::server {

// The method of a service that is compiled in; nullptr if there is none. `service`: earmark.v1.Relay.
const google::protobuf::MethodDescriptor* FindMethod(const std::string& service, const std::string& method);

// A message as JSON, to its bytes. Empty text is the empty message. kInvalidArgument: malformed, unknown field, wrong type.
Result<std::string> JsonToBytes(const google::protobuf::Descriptor& type, const std::string& json);

// Bytes of a message to JSON in one line: names as in the .proto files, fields with default values printed. kInternal: not such a
// message.
Result<std::string> BytesToJson(const google::protobuf::Descriptor& type, const std::string& bytes);

// The first message of an upload: its field `header` with the fields that `parameters` names. kInvalidArgument as above.
Result<std::string> UploadHeader(const google::protobuf::Descriptor& type,
                                 const std::multimap<std::string, std::string>& parameters);
// A following message: its field `data`.
std::string UploadData(const google::protobuf::Descriptor& type, const std::string& data);

}  // namespace earmark::server
