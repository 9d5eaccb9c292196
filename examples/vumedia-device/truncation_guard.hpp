// Survives a frontend that truncates the memory it shares.
//
// Guest memory is a file that the frontend may shorten at any time. An access to a mapping beyond the end of
// its file raises SIGBUS, and the default action would let one frontend end a daemon that others use. No
// check beforehand helps. So this handler maps a page of zeros at the address that faulted, and reports the
// address; the device whose memory that is then drops its frontend.
//
// This is sound because:
//  - Only pages of shared mappings are covered: guest memory and our own memory files, never the program's
//    code, its libraries or its heap. Any other SIGBUS takes the default action.
//  - Only the page that faulted is replaced. It is in a mapping that the faulting thread is using and
//    therefore keeps alive, so no other mapping can have taken its place. Unmapping the whole mapping later
//    also unmaps the page.
//  - Writes to it are lost and reads give zeros: for the code that faulted, these are bytes that a hostile
//    guest could have put there itself.
//  - The handler makes only system calls, keeps errno, and allocates nothing.
// A page of hugetlbfs is covered as a whole; that needs Linux 6.11, before which the default action stays.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::device {

// There is only one at a time, because a process has one handler for SIGBUS.
class TruncationGuard {
 public:
  [[nodiscard]] static Outcome<TruncationGuard> install() {
    // Neither side ever waits. A pipe is full with 8192 unread addresses: later ones are covered but not
    // reported until its reader catches up.
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0)
      return failure("cannot make a pipe: %s", std::strerror(errno));
    OwnedFd read_end(ends[0]), write_end(ends[1]);
    write_fd_.store(write_end.get());
    OwnedFd maps(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));  // if there is one
    maps_fd_.store(maps.get());

    struct sigaction action{};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigemptyset(&action.sa_mask);
    struct sigaction before{};
    if (::sigaction(SIGBUS, &action, &before) != 0) {
      return failure("cannot handle SIGBUS: %s", std::strerror(errno));
    }
    return TruncationGuard(std::move(read_end), std::move(write_end), std::move(maps), before);
  }

  TruncationGuard(TruncationGuard&&) = default;
  TruncationGuard& operator=(TruncationGuard&&) = delete;
  ~TruncationGuard() {
    if (read_end_) ::sigaction(SIGBUS, &before_, nullptr);
  }

  // Becomes readable when a page had to be covered.
  [[nodiscard]] int fd() const noexcept { return read_end_.get(); }
  // The addresses accessed in pages that had to be covered since the last call; at most as many as a pipe
  // holds.
  [[nodiscard]] std::vector<std::uintptr_t> take_addresses() const {
    std::vector<std::uintptr_t> addresses(8192);
    // Writes of so few bytes are atomic, so there are only whole addresses.
    const ssize_t got = ::read(fd(), addresses.data(), addresses.size() * sizeof addresses[0]);
    addresses.resize(got > 0 ? static_cast<std::size_t>(got) / sizeof addresses[0] : 0);
    return addresses;
  }

 private:
  TruncationGuard(OwnedFd read_end, OwnedFd write_end, OwnedFd maps, const struct sigaction& before) noexcept
      : read_end_(std::move(read_end)),
        write_end_(std::move(write_end)),
        maps_(std::move(maps)),
        before_(before) {}

  static void on_bus_error(int, siginfo_t* info, void*) noexcept {
    const int saved = errno;
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    const bool covered = info->si_code == BUS_ADRERR && cover_somehow(address);
    if (!covered) ::signal(SIGBUS, SIG_DFL);  // the instruction faults again when this returns
    errno = saved;
  }

  static bool cover_somehow(std::uintptr_t address) noexcept {
    void* const page = page_of(address, page_size);
    if (is_shared(page)) return cover(page, page_size, address);
    if (is_readable(page)) return true;
    if (const std::uint64_t size = huge_page_size(address); size != 0)
      return cover(page_of(address, size), size, address);
    return is_readable(page);  // another thread was faster with a huge page
  }

  // In a handler an address is only known as a number.
  static void* page_of(std::uintptr_t address, std::uint64_t size) noexcept {
    return reinterpret_cast<void*>(address & ~(size - 1));  // NOLINT(performance-no-int-to-ptr)
  }

  // The page size of the shared hugetlbfs mapping at `address`, of which mremap makes no second view; 0 if
  // there is none, or if the kernel does not say. Uses PROCMAP_QUERY of proc_pid_maps(5), which is not in all
  // headers.
  static std::uint64_t huge_page_size(std::uintptr_t address) noexcept {
    struct {
      std::uint64_t size, flags, address, start, end, mapping_flags, page_size, offset, inode;
      std::uint32_t device[2], name_size, id_size;
      std::uint64_t name, id;
    } query{};
    static_assert(sizeof query == 104);
    constexpr std::uint64_t shared = 8;
    query.size = sizeof query;
    query.address = address;
    if (::ioctl(maps_fd_.load(), _IOC(_IOC_READ | _IOC_WRITE, 'f', 17, sizeof query), &query) != 0) return 0;
    const bool huge = query.page_size > page_size && is_power_of_two(query.page_size);
    return huge && (query.mapping_flags & shared) != 0 ? query.page_size : 0;
  }

  // An old size of 0 asks mremap for a second view of a page, which only shared mappings allow (EINVAL for
  // others). It is one call, whereas other threads could change what was read from /proc/self/maps.
  static bool is_shared(void* page) noexcept {
    void* const view = ::mremap(page, 0, page_size, MREMAP_MAYMOVE);
    if (view == MAP_FAILED) return false;
    ::munmap(view, page_size);
    return true;
  }

  // Whether another thread has covered the page since this one faulted.
  static bool is_readable(void* page) noexcept {
    char byte = 0;
    const iovec here{.iov_base = &byte, .iov_len = 1};
    const iovec there{.iov_base = page, .iov_len = 1};
    return ::process_vm_readv(::getpid(), &here, 1, &there, 1, 0) == 1;
  }

  static bool cover(void* page, std::uint64_t size, std::uintptr_t address) noexcept {
    // The bare system call: mmap() may be wrapped by something that is not safe in a handler, such as a
    // sanitizer.
    const long mapped = ::syscall(SYS_mmap, page, size, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (mapped == -1) return false;
    [[maybe_unused]] const auto written = ::write(write_fd_.load(), &address, sizeof address);
    return true;
  }

  // For the handler, which cannot be given a pointer.
  static inline std::atomic<int> write_fd_{-1};
  static inline std::atomic<int> maps_fd_{-1};

  OwnedFd read_end_;
  OwnedFd write_end_;
  OwnedFd maps_;
  struct sigaction before_{};
};

}  // namespace vumedia::device
