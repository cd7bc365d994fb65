#include "services/decode/sandbox.h"

#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <system_error>

namespace earmark::decode {
namespace {

// Their runtimes ask the kernel for more than any decoder: tests under them go without the filter and two of the limits.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kHasSanitizer = true;
#else
constexpr bool kHasSanitizer = false;
#endif

tl::unexpected<Error> CannotEnter(const std::string& what, int error) {
  return Fail(ErrorCode::kInternal,
              "the decoder's sandbox cannot be entered: " + what + ": " + std::generic_category().message(error));
}

Result<void> Limit(int resource, const char* name, std::int64_t value) {
  // Of processor time, SIGXCPU comes at the soft limit; at the hard one it would be SIGKILL, which says nothing.
  struct rlimit limit {};
  limit.rlim_cur = static_cast<rlim_t>(value);
  limit.rlim_max = limit.rlim_cur + (resource == RLIMIT_CPU ? 1 : 0);
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return CannotEnter(name, errno);
  return {};
}

Result<void> SetLimits(const SandboxLimits& limits) {
  struct {
    int resource;
    const char* name;
    std::int64_t value;
  } const wanted[] = {{RLIMIT_CPU, "limit of processor time", limits.cpu_s},
                      {RLIMIT_AS, "limit of memory", limits.memory_bytes},
                      {RLIMIT_FSIZE, "limit of files' size", 0},
                      {RLIMIT_CORE, "no core files", 0},
                      {RLIMIT_NOFILE, "limit of descriptors", 3},
                      {RLIMIT_NPROC, "limit of processes", 0}};
  for (const auto& [resource, name, value] : wanted) {
    if (kHasSanitizer && (resource == RLIMIT_AS || resource == RLIMIT_NOFILE)) continue;
    if (auto set = Limit(resource, name, value); !set) return set;
  }
  return {};
}

struct FilterCloser {
  void operator()(void* filter) const { seccomp_release(filter); }
};

// The list of what is allowed; everything else ends the process.
class Filter {
 public:
  Filter() : filter_(seccomp_init(SCMP_ACT_KILL_PROCESS)) {}

  void Allow(std::initializer_list<int> calls) {
    for (const int call : calls) Add(SCMP_ACT_ALLOW, call);
  }
  void Refuse(std::initializer_list<int> calls) {
    for (const int call : calls) Add(SCMP_ACT_ERRNO(EPERM), call);
  }
  void AllowOnDescriptor(int call, unsigned descriptor) { Add(SCMP_ACT_ALLOW, call, SCMP_A0(SCMP_CMP_EQ, descriptor)); }
  void RefuseOffDescriptor(int call, unsigned descriptor) { Add(SCMP_ACT_ERRNO(EPERM), call, SCMP_A0(SCMP_CMP_NE, descriptor)); }
  // mmap and mprotect, but for memory that code could be run from.
  void AllowWithoutExecution(int call) { Add(SCMP_ACT_ALLOW, call, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)); }

  Result<void> Load() {
    if (filter_ == nullptr) return CannotEnter("seccomp", ENOMEM);
    if (error_ == 0) error_ = seccomp_load(filter_.get());
    if (error_ != 0) return CannotEnter("seccomp", -error_);
    return {};
  }

 private:
  template <typename... Conditions>
  void Add(std::uint32_t action, int call, Conditions... conditions) {
    if (filter_ != nullptr && error_ == 0)
      error_ = seccomp_rule_add(filter_.get(), action, call, sizeof...(conditions), conditions...);
  }

  std::unique_ptr<void, FilterCloser> filter_;
  int error_ = 0;
};

Result<void> LoadFilter() {
  Filter filter;
  for (const int call : {SCMP_SYS(read), SCMP_SYS(pread64), SCMP_SYS(readv), SCMP_SYS(lseek)}) filter.AllowOnDescriptor(call, 0);
  for (const int call : {SCMP_SYS(write), SCMP_SYS(writev)}) filter.AllowOnDescriptor(call, 1);
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) filter.AllowWithoutExecution(call);
  filter.Allow({SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(exit_group),
                SCMP_SYS(exit), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
                SCMP_SYS(getrandom), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(getpid), SCMP_SYS(gettid),
                SCMP_SYS(close), SCMP_SYS(fstat)});
  // abort() sends itself a signal; whom else it could send one to shares its process.
  filter.AllowOnDescriptor(SCMP_SYS(tgkill), static_cast<unsigned>(::getpid()));
  filter.Refuse({SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx),
                 SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(readlink), SCMP_SYS(getcwd), SCMP_SYS(uname), SCMP_SYS(sysinfo),
                 SCMP_SYS(ioctl), SCMP_SYS(fcntl), SCMP_SYS(prlimit64), SCMP_SYS(getrusage), SCMP_SYS(rt_sigaction),
                 SCMP_SYS(sigaltstack)});
  filter.RefuseOffDescriptor(SCMP_SYS(write), 1);
  return filter.Load();
}

}  // namespace

Result<void> EnterSandbox(const SandboxLimits& limits) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return CannotEnter("end with its parent", errno);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return CannotEnter("no new privileges", errno);
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) return CannotEnter("no dumps", errno);
  if (auto set = SetLimits(limits); !set) return set;
  return kHasSanitizer ? Result<void>() : LoadFilter();
}

}  // namespace earmark::decode
