#include "tools/earmark/client/client.h"

#include <grpcpp/grpcpp.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <thread>
#include <utility>

#include "earmark/v1/admin.grpc.pb.h"
#include "earmark/v1/detection.grpc.pb.h"
#include "services/common/digest.h"
#include "services/common/server/status.h"
#include "services/common/server/timestamp.h"
#include "services/common/text_file.h"
#include "tools/earmark/client/server_address.h"

namespace earmark::cli {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::uint32_t kPageSize = 1000;
constexpr auto kUnaryTimeout = 60s;
constexpr auto kTick = 100ms;           // how often Ctrl-C is looked for
constexpr auto kLongestSilence = 120s;  // without a server, until a waiting client gives up
constexpr auto kFirstPause = 200ms;     // between attempts to connect; doubles
constexpr auto kLongestPause = 5s;

// ---- options

Result<std::string> ReadText(const std::string& path, const std::string& option) {
  constexpr std::size_t kMaxBytes = 16 << 20;  // a bundle of every authority there is has half a megabyte
  auto text = ReadTextFile(path, kMaxBytes);
  if (!text) return Fail(text.error().code, option + " " + text.error().message);
  if (text->empty()) return Fail(ErrorCode::kInvalidArgument, option + " " + path + ": is empty");
  return text;
}

std::string Trimmed(const std::string& text) {
  constexpr char kSpace[] = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// Empty: there is none. What does not fit into a header of HTTP would be refused far from here, with an assertion.
Result<std::string> ReadToken(const ServerOptions& options) {
  std::string token = options.token;
  const std::string where = options.token_file.empty() ? "$EARMARK_TOKEN" : "--token-file " + options.token_file;
  if (!options.token_file.empty()) {
    auto text = ReadText(options.token_file, "--token-file");
    if (!text) return text;
    token = *text;
  }
  token = Trimmed(token);
  const bool printable = std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (!printable || (token.empty() && !options.token_file.empty()))
    return Fail(ErrorCode::kInvalidArgument, where + ": wanted one token");
  return token;
}

Result<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const ServerOptions& options, const ServerAddress& address) {
  if (options.ca_file.empty()) {
    if (address.loopback) return grpc::InsecureChannelCredentials();
    return Fail(
        ErrorCode::kInvalidArgument,
        "--server " + address.text + ": wanted --ca FILE with it, since only servers on this machine are spoken to without TLS");
  }
  auto ca = ReadText(options.ca_file, "--ca");
  if (!ca) return Pass(ca);
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = *ca;
  if (!options.cert_file.empty()) {
    auto cert = ReadText(options.cert_file, "--client-cert");
    if (!cert) return Pass(cert);
    auto key = ReadText(options.key_file, "--client-key");
    if (!key) return Pass(key);
    ssl.pem_cert_chain = *cert;
    ssl.pem_private_key = *key;
  }
  return grpc::SslCredentials(ssl);
}

grpc::ChannelArguments ChannelOptions() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // a proxy would be shown the token
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  return arguments;
}

// ---- messages

// Of a server that may be of another version: times that make no sense are 1970.
std::int64_t Micros(const google::protobuf::Timestamp& time) { return server::MicrosecondsOf("time", time).value_or(0); }

RemoteState ToState(v1::ScanState state) {
  switch (state) {
    case v1::RUNNING:
      return RemoteState::kRunning;
    case v1::DONE:
      return RemoteState::kDone;
    case v1::CANCELLED:
      return RemoteState::kCancelled;
    case v1::FAILED:
      return RemoteState::kFailed;
    default:
      return RemoteState::kQueued;
  }
}

v1::Role ToMessage(Role role) {
  return role == Role::kAdmin ? v1::ADMIN : role == Role::kInvestigator ? v1::INVESTIGATOR : v1::RELAY;
}

TokenRecord ToRecord(const v1::Token& token) {
  TokenRecord record;
  record.id = token.token_id();
  record.name = token.name();
  record.role = token.role() == v1::ADMIN ? Role::kAdmin : token.role() == v1::INVESTIGATOR ? Role::kInvestigator : Role::kRelay;
  record.created_unix_us = Micros(token.created_at());
  if (token.has_expires_at()) record.expires_unix_us = Micros(token.expires_at());
  if (token.has_revoked_at()) record.revoked_unix_us = Micros(token.revoked_at());
  if (token.has_last_used_at()) record.last_used_unix_us = Micros(token.last_used_at());
  return record;
}

bool HasEnded(v1::ScanState state) { return state == v1::DONE || state == v1::CANCELLED || state == v1::FAILED; }

Verdict ToVerdict(const std::string& name) {
  if (name == VerdictName(Verdict::kAccused)) return Verdict::kAccused;
  return name == VerdictName(Verdict::kNoAccusation) ? Verdict::kNoAccusation : Verdict::kUnknownAudio;
}

ScanReport ToReport(const v1::Finding& finding) {
  ScanReport report;
  report.verdict = ToVerdict(finding.verdict());
  for (const v1::Accusation& a : finding.accusations()) {
    report.accusations.push_back({.account = a.account(),
                                  .stream = a.stream_id(),
                                  .log10_p = a.log10_p(),
                                  .log10_bound = a.log10_bound(),
                                  .score = a.score(),
                                  .clip_start_s = a.clip_start_s(),
                                  .clip_end_s = a.clip_end_s()});
  }
  for (const v1::Alignment& a : finding.alignments()) {
    StreamAlignment& alignment = report.alignments.emplace_back();
    alignment.stream = a.stream_id();
    alignment.alignment.clip_start_s = a.clip_start_s();
    alignment.alignment.clip_end_s = a.clip_end_s();
    alignment.alignment.stream_start_s = a.stream_start_s();
    alignment.alignment.speed = a.speed();
  }
  report.candidates = finding.candidates();
  report.trials = finding.trials();
  report.symbols_used = finding.symbols_used();
  if (finding.has_seconds_needed()) report.seconds_needed = finding.seconds_needed();
  report.notes.assign(finding.notes().begin(), finding.notes().end());
  return report;
}

RemoteScan ToScan(const v1::Scan& scan) {
  RemoteScan remote{.id = scan.scan_id(), .state = ToState(scan.state()), .reason = scan.reason(), .finding = {}};
  if (!scan.has_finding()) return remote;
  const v1::Finding& finding = scan.finding();
  remote.finding = RemoteFinding{.id = finding.finding_id(),
                                 .clip_name = finding.name(),
                                 .verdict = finding.verdict(),
                                 .reason = finding.reason(),
                                 .report_json = finding.report_json(),
                                 .report = ToReport(finding)};
  return remote;
}

std::string RandomKey() {
  std::array<unsigned char, 16> bytes{};
  randombytes_buf(bytes.data(), bytes.size());
  std::array<char, 2 * bytes.size() + 1> hex{};
  sodium_bin2hex(hex.data(), hex.size(), bytes.data(), bytes.size());
  return hex.data();
}

// What a broken connection or a server that goes down looks like, rather than an answer.
bool IsBroken(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return true;
    default:
      return false;
  }
}

// ---- calls

// How one call of WatchScan went.
struct Watched {
  grpc::Status status;
  bool heard = false;             // anything at all
  std::optional<v1::Scan> ended;  // the scan has
};

// A call of WatchScan, waited for in ticks, so that `progress` can end it.
class Watch {
 public:
  Watch(v1::Detection::Stub& stub, const std::string& scan_id, const std::string& authorization, const Progress& progress)
      : progress_(progress) {
    if (!authorization.empty()) context_.AddMetadata("authorization", authorization);
    v1::WatchScanRequest request;
    request.set_scan_id(scan_id);
    call_ = stub.AsyncWatchScan(&context_, request, &queue_, nullptr);
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch() {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  Watched Run() {
    Watched watched;
    v1::Progress message;
    for (bool more = Wait(); more;) {
      call_->Read(&message, nullptr);
      more = Wait();
      if (!more) break;
      watched.heard = true;
      stage_ = message.state() == v1::QUEUED ? "waiting" : message.stage();
      fraction_ = message.state() == v1::QUEUED ? -1 : message.fraction();
      if (message.has_scan() && HasEnded(message.scan().state())) watched.ended = message.scan();
    }
    call_->Finish(&watched.status, nullptr);
    Wait();
    return watched;
  }

 private:
  // For the one operation that is under way; whether it succeeded.
  bool Wait() {
    for (;;) {
      void* tag = nullptr;
      bool ok = false;
      if (!progress_(stage_.c_str(), fraction_)) context_.TryCancel();
      const auto next = queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kTick);
      if (next != grpc::CompletionQueue::TIMEOUT) return next == grpc::CompletionQueue::GOT_EVENT && ok;
    }
  }

  const Progress& progress_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::Progress>> call_;
  std::string stage_ = "waiting";
  double fraction_ = -1;
};

class GrpcClient final : public Client {
 public:
  GrpcClient(std::string server, const std::string& token, std::shared_ptr<grpc::Channel> channel)
      : server_(std::move(server)),
        authorization_(token.empty() ? "" : "Bearer " + token),
        stub_(v1::Detection::NewStub(channel)),
        admin_(v1::Admin::NewStub(channel)) {}

  Result<RemoteScan> Submit(const Submission& submission, const Progress& progress) override {
    auto digest = FileDigest(submission.path);
    if (!digest) return Pass(digest);
    if (*digest == BytesDigest("")) return Fail(ErrorCode::kInvalidArgument, submission.name + ": is empty");
    v1::SubmitScanRequest header;
    header.mutable_header()->set_name(submission.name);
    header.mutable_header()->set_stream_id(submission.stream);
    header.mutable_header()->set_case_label(submission.case_label);
    header.mutable_header()->set_max_false_accusation(submission.max_false_accusation);
    header.mutable_header()->set_idempotency_key(RandomKey());
    header.mutable_header()->set_sha256(*digest);
    Uploaded uploaded = Upload(submission.path, header, progress);
    if (!uploaded.cancelled && uploaded.status.error_code() == grpc::StatusCode::UNAVAILABLE)
      uploaded = Upload(submission.path, header, progress);
    if (uploaded.cancelled) return Fail(ErrorCode::kCancelled, "cancelled; the clip was not submitted");
    if (!uploaded.status.ok()) return Refused(uploaded.status);
    return ToScan(uploaded.scan);
  }

  Result<RemoteScan> Await(const std::string& scan_id, const Progress& progress) override {
    auto last_heard = Clock::now();
    std::chrono::milliseconds pause = kFirstPause;
    for (;;) {
      const Watched watched = Watch(*stub_, scan_id, authorization_, progress).Run();
      if (watched.ended) return ToScan(*watched.ended);
      if (!progress("waiting", -1)) return Fail(ErrorCode::kCancelled, "cancelled");
      if (!watched.status.ok() && !IsBroken(watched.status)) return Refused(watched.status);
      if (watched.heard) {
        last_heard = Clock::now();
        pause = kFirstPause;
      }
      if (Clock::now() - last_heard > kLongestSilence) return Refused(watched.status);
      Pause(pause, progress);
      pause = std::min<std::chrono::milliseconds>(2 * pause, kLongestPause);
    }
  }

  Result<LeakTable> QueryLeaks(const LeakFilter& filter) override {
    v1::QueryLeaksRequest request;
    request.set_account(filter.account.value_or(""));
    request.set_stream_id(filter.stream.value_or(""));
    request.set_case_label(filter.case_label.value_or(""));
    if (filter.since_unix_us > 0) *request.mutable_since() = server::TimestampOf(filter.since_unix_us);
    if (filter.until_unix_us) *request.mutable_until() = server::TimestampOf(*filter.until_unix_us);
    request.set_page_size(kPageSize);
    LeakTable table;
    do {
      grpc::ClientContext context;
      Prepare(context);
      v1::QueryLeaksResponse response;
      if (const grpc::Status status = stub_->QueryLeaks(&context, request, &response); !status.ok()) return Refused(status);
      for (const v1::Leak& leak : response.leaks()) {
        table.leaks.push_back({.account = leak.account(),
                               .stream = leak.stream_id(),
                               .finding_id = leak.finding_id(),
                               .log10_bound = leak.log10_bound(),
                               .first_seen_unix_us = Micros(leak.first_seen()),
                               .last_seen_unix_us = Micros(leak.last_seen())});
      }
      for (const v1::AccountEvidence& of : response.accounts()) {
        if (!table.accounts.empty() && table.accounts.back().account == of.account()) table.accounts.pop_back();
        table.accounts.push_back({.account = of.account(),
                                  .num_streams = of.streams(),
                                  .finding_id = of.finding_id(),
                                  .log10_bound = of.log10_bound(),
                                  .log10_combined_bound = of.log10_combined_bound(),
                                  .first_seen_unix_us = Micros(of.first_seen()),
                                  .last_seen_unix_us = Micros(of.last_seen())});
      }
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return table;
  }

  Result<Expired> ExpireNow() override {
    v1::ExpireNowRequest request;
    grpc::ClientContext context;
    Authorize(context);  // without a deadline: there may be much to drop
    v1::ExpireNowResponse response;
    if (const grpc::Status status = admin_->ExpireNow(&context, request, &response); !status.ok()) return Refused(status);
    return Expired{.num_streams = response.streams(), .num_clips = response.clips()};
  }

  Result<IssuedToken> CreateToken(const std::string& name, Role role, std::optional<std::int64_t> expires_unix_us) override {
    v1::CreateTokenRequest request;
    request.set_name(name);
    request.set_role(ToMessage(role));
    if (expires_unix_us) *request.mutable_expires_at() = server::TimestampOf(*expires_unix_us);
    grpc::ClientContext context;
    Prepare(context);
    v1::CreateTokenResponse response;
    if (const grpc::Status status = admin_->CreateToken(&context, request, &response); !status.ok()) return Refused(status);
    return IssuedToken{.text = response.token(), .record = ToRecord(response.record())};
  }

  Result<std::vector<TokenRecord>> ListTokens() override {
    v1::ListTokensRequest request;
    request.set_page_size(kPageSize);
    std::vector<TokenRecord> tokens;
    do {
      grpc::ClientContext context;
      Prepare(context);
      v1::ListTokensResponse response;
      if (const grpc::Status status = admin_->ListTokens(&context, request, &response); !status.ok()) return Refused(status);
      for (const v1::Token& token : response.tokens()) tokens.push_back(ToRecord(token));
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return tokens;
  }

  Result<TokenRecord> RevokeToken(const std::string& id) override {
    v1::RevokeTokenRequest request;
    request.set_token_id(id);
    grpc::ClientContext context;
    Prepare(context);
    v1::Token response;
    if (const grpc::Status status = admin_->RevokeToken(&context, request, &response); !status.ok()) return Refused(status);
    return ToRecord(response);
  }

 private:
  struct Uploaded {
    grpc::Status status;
    v1::Scan scan;
    bool cancelled = false;
  };

  void Authorize(grpc::ClientContext& context) const {
    if (!authorization_.empty()) context.AddMetadata("authorization", authorization_);
  }

  void Prepare(grpc::ClientContext& context) const {
    Authorize(context);
    context.set_deadline(std::chrono::system_clock::now() + kUnaryTimeout);
  }

  // A Write that fails says no more than that the server has answered already; Finish tells what.
  Uploaded Upload(const std::string& path, const v1::SubmitScanRequest& header, const Progress& progress) {
    Uploaded uploaded;
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const double num_bytes = std::max(1.0, static_cast<double>(file.tellg()));
    file.seekg(0);
    grpc::ClientContext context;
    Authorize(context);
    const auto call = stub_->SubmitScan(&context, &uploaded.scan);
    bool going = call->Write(header);
    double num_sent = 0;
    std::string piece(kPieceBytes, '\0');
    v1::SubmitScanRequest message;
    while (going && !uploaded.cancelled && file.read(piece.data(), kPieceBytes).gcount() > 0) {
      message.set_data(piece.data(), static_cast<std::size_t>(file.gcount()));
      going = call->Write(message);
      num_sent += static_cast<double>(file.gcount());
      uploaded.cancelled = !progress("uploading", num_sent / num_bytes);
    }
    if (uploaded.cancelled)
      context.TryCancel();
    else
      call->WritesDone();
    uploaded.status = call->Finish();
    return uploaded;
  }

  void Pause(std::chrono::milliseconds length, const Progress& progress) const {
    const auto end = Clock::now() + length;
    while (Clock::now() < end && progress("connecting", -1)) std::this_thread::sleep_for(kTick);
  }

  tl::unexpected<Error> Refused(const grpc::Status& status) const {
    Error error = server::ToError(status);
    switch (status.error_code()) {
      case grpc::StatusCode::UNAVAILABLE:
        error.message = "cannot reach the server " + server_ + ": " + error.message;
        break;
      case grpc::StatusCode::UNIMPLEMENTED:
        error.message = server_ + ": it does not serve this call; --server wants the gRPC address of earmark-detectd";
        break;
      default:
        error.message = server_ + ": " + error.message;
    }
    return tl::unexpected<Error>(std::move(error));
  }

  std::string server_;
  std::string authorization_;
  std::unique_ptr<v1::Detection::Stub> stub_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

}  // namespace

const char* RemoteStateName(RemoteState state) {
  switch (state) {
    case RemoteState::kQueued:
      return "queued";
    case RemoteState::kRunning:
      return "running";
    case RemoteState::kDone:
      return "done";
    case RemoteState::kCancelled:
      return "cancelled";
    case RemoteState::kFailed:
      return "failed";
  }
  return "";
}

Result<std::unique_ptr<Client>> Client::Create(const ServerOptions& options) {
  auto address = ParseServerAddress(options.server);
  if (!address) return Pass(address);
  auto token = ReadToken(options);
  if (!token) return Pass(token);
  auto credentials = Credentials(options, *address);
  if (!credentials) return Pass(credentials);
  return std::unique_ptr<Client>(std::make_unique<GrpcClient>(
      address->text, *token, grpc::CreateCustomChannel(address->text, *credentials, ChannelOptions())));
}

}  // namespace earmark::cli
