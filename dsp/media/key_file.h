// The master key on disk.
//
// One line of text: "earmark-key-1 " and 64 hex digits, not all of them 0. The file must be readable by its owner alone (mode 0600 or stricter).
#pragma once

#include <string>

#include "dsp/core/locked_key.h"
#include "dsp/core/result.h"
#include "dsp/core/secret.h"

namespace earmark {

// A master key and its public name.
struct MasterKey {
  LockedKey key;
  std::string id;  // 16 hex digits, a one-way hash of the key: safe to show, store and compare
};

// The public id of a key.
std::string KeyId(const Key& key);

// Reads an existing key. kNotFound; kPermissionDenied: others can read the file, with the chmod that mends it; kInvalidArgument:
// not a key file, or a key of zeros. No message ever holds key material.
Result<MasterKey> ReadKeyFile(const std::string& path);

// Makes a new random key file with mode 0600, and missing folders with 0700. Never overwrites: kAlreadyExists. Safe against two
// processes at once and against a kill in the middle (written elsewhere, synced, then linked to its name).
Result<MasterKey> CreateKeyFile(const std::string& path);

// ReadKeyFile, or CreateKeyFile where there is none.
Result<MasterKey> ReadOrCreateKeyFile(const std::string& path);

}  // namespace earmark
