// A store of many hours, for benchmarks.
//
// Marking a hundred hours takes hours, so one recording is marked once and its packets are sealed again for every stream, under that stream's keys. The
// streams' fingerprints are the recording's with their bits and order shuffled, a different way for each: as many words, as like each other and as
// unlike anything else as those of real streams.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/media/key_file.h"
#include "dsp/reference/reference_chunk.h"

namespace earmark {

// Packets and fingerprint of a stream, out of the store.
struct ArchiveRecording {
  std::vector<ReferenceChunkData> chunks;
  std::vector<std::uint64_t> words;
};

// Gone with its folder when this is. Mistakes end the process with a line.
struct Archive {
  // Marks the recording for 10,000 accounts: two minutes or more.
  explicit Archive(const std::string& audio);
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;
  ~Archive();

  std::string Url() const { return "sqlite:" + (folder / "store.db").string(); }
  // Adds streams of an hour.
  void GrowTo(double hours);
  double hours() const { return hours_; }
  // At most half of the leaker's copy, from its first third on: mono at kDetectRateHz.
  std::vector<float> Clip(double seconds) const;

  MasterKey master;
  std::filesystem::path folder;
  std::unique_ptr<Store> store;
  std::string leaker;
  std::vector<float> copy;  // what the leaker's player puts out: mono at kDetectRateHz

 private:
  StreamRecord stream_;
  ArchiveRecording recording_;
  std::vector<Grant> grants_;
  double hours_ = 0;
  int num_added_ = 0;
};

}  // namespace earmark
