// Precompiled for those who serve or call the API: gRPC's headers take several seconds a file.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
