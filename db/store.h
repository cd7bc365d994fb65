// The store: what Earmark remembers between marking a stream and scanning a clip.
//
// Interfaces by subject, two engines behind them (SQLite for one machine, PostgreSQL for many), one set of contract tests
// (tests/integration/store_contract.h) that both pass. All SQL lives behind these headers. Engine exceptions stop inside db/.
//
// Thread safety: a Store is one connection; use it from one thread at a time (StorePool in store_pool.h lends them). Several Store objects, also
// in several processes, may be open on one database. Every mutating call is one transaction: it happens whole or not at all, also when the
// process is killed in the middle. Calls block for I/O; none is real-time safe.
//
// Accounts, stream ids and source names are opaque non-empty UTF-8 strings of at most 255 bytes without control characters; anything else is
// kInvalidArgument.
#pragma once

#include <memory>
#include <string>

#include "db/access_store.h"
#include "db/answer_store.h"
#include "db/finding_store.h"
#include "db/job_queue.h"
#include "db/stream_store.h"
#include "dsp/core/result.h"

namespace earmark {

class Store : public StreamStore, public FindingStore, public JobQueue, public AnswerStore, public AccessStore {};

enum class OpenMode {
  kReadWriteCreate,  // make what is missing (the file and its folder; the tables), bring the schema up to date
  // kNotFound if there is no store; where an SQLite file or its folder may not be written, changes alone fail: kPermissionDenied
  kReadWrite,
};

// Opens `sqlite:PATH` or `postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE`. kInvalidArgument: not a store URL; kFailedPrecondition: the
// schema is newer than this build, or the database is another program's; kPermissionDenied, kUnavailable, kResourceExhausted as they happen. No
// message holds a password.
Result<std::unique_ptr<Store>> OpenStore(const std::string& url, OpenMode mode);

// The number of the schema that a store has, 0 if there is no store, without changing anything. Errors as OpenStore; a number that this build does
// not know is none.
Result<int> StoreSchemaVersion(const std::string& url);

// The URL without its password, for people and logs.
std::string PrintableStoreUrl(const std::string& url);

}  // namespace earmark
