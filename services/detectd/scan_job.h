// Carrying out one scan that was claimed: from the clip in the store to the finding in the store.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "db/store.h"
#include "dsp/media/decoded_clip.h"
#include "dsp/media/key_file.h"
#include "services/common/scan/scan.h"
#include "services/detectd/clip_file.h"
#include "services/detectd/scan_lease.h"
#include "services/detectd/worker_options.h"

namespace earmark::detectd {

// A scan that was begun so often is not begun again: whatever its clip does to the process, it has done it each time.
inline constexpr int kMaxAttempts = 3;

// For one thread. Everything it is given must outlive it.
class ScanJob {
 public:
  // `catalog`: of all streams under this key; a scan of one stream makes its own.
  ScanJob(Store& store, const MasterKey& master, FingerprintCatalog& catalog, decode::DecoderHost& decoders,
          const WorkerOptions& options, const ScanRecord& scan, ScanLease& lease)
      : store_(store), master_(master), catalog_(catalog), decoders_(decoders), options_(options), scan_(scan), lease_(lease) {}

  // How it ended: a verdict, or cancelled, failed, released (put back into the queue), lost (another worker has it, or will have it when the
  // lease is over). Error: the store could not be told, and the scan will be done again.
  Result<std::string> Run();
  // How often the clip's decoder crashed, was stopped or killed, or reached a limit.
  int num_decoder_failures() const { return num_decoder_failures_; }
  // How long each stage took, by its name in the API; and what the finding that was kept spent of the bound.
  const std::map<std::string, double>& stage_seconds() const { return stage_seconds_; }
  double alpha_spent() const { return alpha_spent_; }

 private:
  Result<FindingRecord> Examine();
  Result<DecodedClip> Decode(const ClipFile& file);
  Result<DecodedClip> DecodeOnce(const ClipFile& file);
  bool Advance(const std::string& stage, double fraction);
  void EnterStage(const std::string& stage);
  Result<ScanReport> Scan(const ClipSignals& clip);
  Result<bool> SoundMayCome();
  FindingRecord FindingFrom(const ScanReport& report) const;
  FindingRecord Unreadable(const std::string& reason) const;
  Result<std::string> Keep(const FindingRecord& finding);
  Result<std::string> GiveUp(const Error& error);

  Store& store_;
  const MasterKey& master_;
  FingerprintCatalog& catalog_;
  decode::DecoderHost& decoders_;
  const WorkerOptions& options_;
  const ScanRecord& scan_;
  ScanLease& lease_;
  int num_decoder_failures_ = 0;
  std::string stage_ = "decoding";
  std::chrono::steady_clock::time_point stage_began_ = std::chrono::steady_clock::now();
  std::map<std::string, double> stage_seconds_;
  double alpha_spent_ = 0;
};

}  // namespace earmark::detectd
