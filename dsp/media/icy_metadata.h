// SHOUTcast ("ICY") metadata that was saved with the audio of a radio stream.
//
// A server that is asked for metadata puts a block after every `icy-metaint` bytes of audio: a byte L, then 16 · L bytes of text
// such as StreamTitle='…'; padded with zeros. Most blocks are the byte 0 alone. A program that saves all that it receives makes
// damaged MP3 and AAC files: players lose a frame at each block.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "dsp/media/input_view.h"

namespace earmark {

struct IcyLayout {
  std::int64_t interval_bytes;  // of audio from one block to the next
  std::int64_t first_block;     // its place in the file
};

// How the blocks lie in a file; nothing for a file that holds no title in its first MiB, or one around which something else than
// blocks lies where they should. Files of other formats may hold such text for reasons of their own.
std::optional<IcyLayout> FindIcyMetadata(const FileHandle& file);

// The file without the blocks. From a place on where there should be one and is none (the program was connected again), all of
// the file is shown.
std::unique_ptr<InputView> MakeIcyView(std::shared_ptr<const InputFile> file, const IcyLayout& layout);

}  // namespace earmark
