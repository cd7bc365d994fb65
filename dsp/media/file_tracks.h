// The audio tracks of a file, decoded in this process.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "dsp/media/clip_tracks.h"
#include "dsp/media/input_file.h"

namespace earmark {

class FileTracks final : public ClipTracks {
 public:
  // `name` is for messages.
  FileTracks(std::string name, std::shared_ptr<InputFile> file) : name_(std::move(name)), file_(std::move(file)) {}
  std::optional<ClipTrack> Next() override;

 private:
  const std::string name_;
  const std::shared_ptr<InputFile> file_;
  std::optional<int> best_;  // once it was opened
  int num_tracks_ = 1;
  int next_ = 0;
};

}  // namespace earmark
