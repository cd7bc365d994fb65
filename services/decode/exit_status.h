// How earmark-decode ends, for its parent.
#pragma once

namespace earmark::decode {

inline constexpr int kExitUsage = 2;      // started by hand, or by another version
inline constexpr int kExitNoSandbox = 3;  // nothing was read
inline constexpr int kExitMemory = 4;     // the limit of memory was reached
inline constexpr int kExitPipe = 5;       // nobody listens

}  // namespace earmark::decode
