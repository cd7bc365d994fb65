// Functions in several versions, of which the loader takes the best that the processor can do: EARMARK_CLONES("avx2", "default").
#pragma once

// Sanitizers are not ready yet when the loader asks which version to take; clang 14 has no clones.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__clang__)
#define EARMARK_CLONES(...) __attribute__((target_clones(__VA_ARGS__)))
#else
#define EARMARK_CLONES(...)
#endif
