// The store's SQL, written once for both engines. sql_streams.cc, sql_findings.cc, sql_jobs.cc and sql_access.cc hold it by subject.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "db/sql_connection.h"
#include "db/store.h"

namespace earmark {

class SqlStore final : public Store {
 public:
  explicit SqlStore(std::unique_ptr<SqlConnection> connection) : sql_(*connection), connection_(std::move(connection)) {}

  Result<void> CreateStream(const StreamRecord& stream, std::span<const Grant> grants, const Lease& lease) override;
  Result<std::int64_t> TakeStream(std::string_view stream_id, const Lease& lease) override;
  Result<void> RenewStream(std::string_view stream_id, std::int64_t epoch) override;
  Result<void> CompleteStream(std::string_view stream_id, std::int64_t num_samples, std::int64_t epoch) override;
  Result<void> RemoveStream(std::string_view stream_id) override;
  Result<std::optional<std::string>> RemoveExpiredStream() override;
  Result<StreamRecord> GetStream(std::string_view stream_id) override;
  Result<std::vector<StreamRecord>> ListStreams() override;
  Result<std::map<std::string, ListenerCount>> CountListeners() override;
  Result<void> AppendReference(std::string_view stream_id, const ReferenceChunk& chunk, std::int64_t epoch) override;
  Result<std::vector<ReferenceChunk>> ReadReference(std::string_view stream_id, int source, std::int64_t first_packet,
                                                    std::int64_t end_packet) override;
  Result<void> VisitFingerprints(std::optional<std::string_view> stream_id, const FingerprintVisitor& visit) override;
  Result<void> VisitFingerprintsFrom(std::string_view stream_id, const std::map<int, std::int64_t>& from_packet,
                                     const FingerprintVisitor& visit) override;
  Result<int> PutSource(std::string_view stream_id, std::int64_t epoch, std::string_view name,
                        std::string_view settings) override;
  Result<std::vector<SourceRecord>> ListSources(std::string_view stream_id) override;
  Result<void> AddGrants(std::string_view stream_id, std::span<const Grant> grants) override;
  Result<std::int64_t> RevokeGrants(std::string_view stream_id, std::span<const std::string> accounts) override;
  Result<void> CloseGrant(std::string_view grant_id, std::int64_t to_stream_us) override;
  Result<LocatedGrant> FindGrant(std::string_view grant_id) override;
  Result<std::vector<Grant>> ListGrants(std::string_view stream_id, std::int64_t from_stream_us,
                                        std::int64_t to_stream_us) override;
  Result<std::vector<AccountSummary>> ListAccounts(std::optional<std::string_view> stream_id) override;

  Result<std::int64_t> AddFinding(const FindingRecord& finding) override;
  Result<std::vector<FindingRecord>> ListFindings(const FindingFilter& filter) override;
  Result<FindingRecord> GetFinding(std::int64_t id) override;
  Result<std::vector<Leak>> QueryLeaks(const LeakFilter& filter) override;
  Result<AlphaSpent> SumAlphaSpent(std::int64_t since_unix_us, std::optional<std::int64_t> until_unix_us) override;
  Result<std::int64_t> SumScored() override;

  Result<ScanRecord> EnqueueScan(const NewScan& scan, const ClipSource& clip) override;
  Result<ScanRecord> GetScan(std::string_view scan_id) override;
  Result<std::optional<ScanRecord>> ClaimScan(std::string_view worker, std::int64_t lease_us) override;
  Result<void> ReadClip(std::string_view scan_id, const ClipSink& sink) override;
  Result<ScanRecord> RenewScan(std::string_view scan_id, int attempt, std::int64_t lease_us, std::string_view stage,
                               double fraction) override;
  Result<std::int64_t> FinishScan(std::string_view scan_id, int attempt, const FindingRecord& finding) override;
  Result<void> AbandonScan(std::string_view scan_id, int attempt, std::string_view error) override;
  Result<void> ReleaseScan(std::string_view scan_id, int attempt) override;
  Result<ScanRecord> CancelScan(std::string_view scan_id) override;
  Result<bool> DropExpiredClip() override;
  Result<QueueLength> CountScans() override;

  Result<std::optional<std::vector<std::uint8_t>>> FindAnswer(std::string_view scope, std::string_view key,
                                                              std::string_view request_digest) override;
  Result<void> KeepAnswer(std::string_view scope, std::string_view key, std::string_view request_digest,
                          std::span<const std::uint8_t> answer) override;

  Result<TokenRecord> CreateToken(const TokenRecord& token) override;
  Result<TokenRecord> FindToken(std::string_view id) override;
  Result<std::vector<TokenRecord>> ListTokens(const TokenFilter& filter) override;
  Result<TokenRecord> RevokeToken(std::string_view id) override;
  Result<void> TouchToken(std::string_view id) override;
  Result<std::int64_t> LogAccess(const AccessRecord& access) override;
  Result<std::vector<AccessRecord>> ListAccess(const AccessFilter& filter) override;

 private:
  struct StreamRow {
    std::int64_t key = 0;
    StreamState state = StreamState::kRecording;
    std::int64_t epoch = 0;
    std::string owner;
    std::int64_t leased_until_unix_us = 0;
  };
  // These run within a Read or Write.
  // The stream, locked until the end of a Write. kNotFound.
  Result<StreamRow> FindStream(std::string_view stream_id);
  // … which must be recording, in this epoch. kFailedPrecondition.
  Result<StreamRow> FindOwnStream(std::string_view stream_id, std::int64_t epoch);
  void InsertGrants(std::int64_t stream_key, std::span<const Grant> grants);
  // Those of `grants` that are there and revoked.
  void ReopenGrants(std::int64_t stream_key, std::span<const Grant> grants);
  std::int64_t InsertFinding(const FindingRecord& finding);
  Result<std::vector<FindingRecord>> SelectFindings(const std::string& sql, const SqlParameters& parameters);
  Result<ScanRecord> SelectScan(std::string_view where, const SqlParameters& parameters, std::string_view scan_id);
  // The running scan of this attempt, locked. kNotFound, kFailedPrecondition.
  Result<ScanRecord> FindOwnScan(std::string_view scan_id, int attempt);
  void EndScan(std::string_view scan_id, ScanState state, SqlValue finding_id, std::string_view error);
  // … and drops its clip.
  void EndWithoutFinding(std::string_view scan_id, ScanState state, std::string_view error);
  // kNotFound.
  Result<TokenRecord> SelectToken(std::string_view id);

  SqlConnection& sql_;
  std::unique_ptr<SqlConnection> connection_;
};

}  // namespace earmark
