// The GPU's memory: a range of addresses, of which each allocation takes pages of its own, with a page that nobody may touch
// before and behind it. Freed memory is not given out again before the whole range has been, and nobody may touch it either:
// what a kernel reads or writes there ends the program, whether accesses are checked or not. Just behind an allocation, up to
// the next page, lie bytes that may not change. New memory holds NaN.
//
// CUDA_EMULATOR_MEMORY           bytes of the GPU's memory [16 GiB]
// CUDA_EMULATOR_TAKEN            bytes of it that another program took, unseen until they are needed [0]
// CUDA_EMULATOR_FILL             byte that new memory is filled with [255, of which floats are NaN]
// CUDA_EMULATOR_FAIL_ALLOCATION  number, from 1, of an allocation for which there is no memory

#include "driver.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

namespace {

const std::size_t PAGE = 4096, ARENA = std::size_t(256) << 30;
const unsigned char GUARD = 0xA5;

Pointer arena() {
    static const Pointer start = [] {
        void *memory = mmap(nullptr, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            stop("there is no range of addresses for the GPU's memory");
        return Pointer(memory);
    }();
    return start;
}

std::map<Pointer, std::unique_ptr<Region>> allocations; // those that may be accessed
std::map<Pointer, std::size_t> owned;                   // those that were not freed, and their sizes
std::map<Pointer, std::size_t> freed;                   // where allocations were, for messages
std::map<Pointer, std::size_t> locked;                  // memory of the host
std::size_t next = PAGE;

std::size_t pages(std::size_t bytes) { return (std::max<std::size_t>(bytes, 1) + PAGE - 1) / PAGE * PAGE; }

// The allocation that has each page.
Region **by_page() {
    static auto **const table = static_cast<Region **>(mmap(nullptr, ARENA / PAGE * sizeof(Region *), PROT_READ | PROT_WRITE,
                                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    return table;
}

void enter(const Region &region, Region *entry) {
    Region **first = by_page() + (region.start - arena()) / PAGE;
    std::fill(first, first + pages(region.bytes) / PAGE, entry);
}

// The next place that is free, behind all that were given out lately.
Pointer place(std::size_t bytes) {
    for (int turn = 0; turn < 2; turn++) {
        while (next + bytes + PAGE <= ARENA) {
            const Pointer start = arena() + next;
            auto after = allocations.lower_bound(start - PAGE);
            if (after == allocations.end() || after->first >= start + bytes + PAGE) {
                next += bytes + PAGE;
                return start;
            }
            next = after->first - arena() + pages(after->second->bytes) + PAGE;
        }
        next = PAGE;
        freed.clear();
    }
    return 0;
}

void check_guard(const Region &region) {
    const auto *memory = reinterpret_cast<const unsigned char *>(region.start);
    for (std::size_t i = region.bytes; i < pages(region.bytes); i++)
        if (memory[i] != GUARD)
            stop("something was written " + std::to_string(i - region.bytes) + " bytes behind an allocation of " +
                 std::to_string(region.bytes) + " bytes");
}

// Where a kernel touches a page that is not its own, the processor says so. A checked kernel with an index beyond the end of an
// array whose size the compiler knows comes to an instruction that there is not.
struct sigaction former;
void no_access(int number, siginfo_t *information, void *context) {
    const Pointer address = Pointer(information->si_addr);
    if (number == SIGILL && running_kernel) {
        std::fprintf(stderr, "CUDA emulator: an index is beyond the end of an array%s\n", whereabouts().c_str());
        std::signal(SIGABRT, SIG_DFL);
        std::abort();
    }
    if (in_arena(address) || running_kernel) {
        std::fprintf(stderr, "CUDA emulator: memory is accessed at %s%s\n", surroundings(address).c_str(), whereabouts().c_str());
        std::signal(SIGABRT, SIG_DFL);
        std::abort();
    }
    // A stack that overflowed, or the like: as the program would have it.
    if (number == SIGSEGV && (former.sa_flags & SA_SIGINFO))
        former.sa_sigaction(number, information, context);
    else
        std::signal(number, SIG_DFL);
}

void watch_faults() {
    static bool watched = false;
    if (watched)
        return;
    watched = true;
    struct sigaction action = {};
    action.sa_sigaction = no_access;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &former);
    sigaction(SIGILL, &action, nullptr);
}

} // namespace

Region::~Region() { std::free(cells); }

unsigned allocate(Pointer *pointer, std::size_t bytes, std::uint32_t operation) {
    watch_faults();
    static const std::size_t memory = setting("CUDA_EMULATOR_MEMORY", std::size_t(16) << 30);
    static const std::size_t taken = setting("CUDA_EMULATOR_TAKEN", 0);
    static const std::size_t failing = setting("CUDA_EMULATOR_FAIL_ALLOCATION", 0);
    if (++counters.allocations == failing || counters.memory_in_use + bytes + taken > memory)
        return OUT_OF_MEMORY;
    const Pointer start = place(pages(bytes));
    auto *values = reinterpret_cast<unsigned char *>(start);
    if (!start || mprotect(values, pages(bytes), PROT_READ | PROT_WRITE) != 0)
        return OUT_OF_MEMORY;
    static const int fill = int(setting("CUDA_EMULATOR_FILL", 0xFF));
    std::memset(values, fill, bytes);
    std::memset(values + bytes, GUARD, pages(bytes) - bytes);
    auto region = std::make_unique<Region>();
    region->start = start;
    region->bytes = bytes;
    region->operation = operation;
    if (checking())
        prepare(*region);
    enter(*region, region.get());
    allocations[start] = std::move(region);
    owned[start] = bytes;
    counters.memory_in_use += bytes;
    counters.memory_peak = std::max(counters.memory_peak, counters.memory_in_use);
    *pointer = start;
    return SUCCESS;
}

unsigned release(Pointer pointer) {
    auto found = owned.find(pointer);
    if (found == owned.end())
        return INVALID_VALUE;
    counters.memory_in_use -= found->second;
    owned.erase(found);
    return SUCCESS;
}

void forget(Pointer pointer) {
    auto found = allocations.find(pointer);
    check_guard(*found->second);
    if (checking())
        access_before_release(*found->second);
    void *values = reinterpret_cast<void *>(pointer);
    const std::size_t bytes = pages(found->second->bytes);
    enter(*found->second, nullptr);
    madvise(values, bytes, MADV_DONTNEED);
    mprotect(values, bytes, PROT_NONE);
    freed[pointer] = found->second->bytes;
    if (freed.size() > 100000)
        freed.erase(freed.begin());
    allocations.erase(found);
}

bool in_arena(Pointer address) { return address - arena() < ARENA; }

Region *region_of(Pointer address) {
    if (!in_arena(address))
        return nullptr;
    Region *region = by_page()[(address - arena()) / PAGE];
    return region && address - region->start < region->bytes ? region : nullptr;
}

bool inside(Pointer pointer, std::size_t bytes) {
    auto after = owned.upper_bound(pointer);
    if (after == owned.begin())
        return bytes == 0;
    auto found = std::prev(after);
    return pointer - found->first <= found->second && bytes <= found->second - (pointer - found->first);
}

std::string surroundings(Pointer address) {
    char number[32];
    std::snprintf(number, sizeof number, "%#llx", (unsigned long long)address);
    if (address < PAGE)
        return std::string(number) + ", a null pointer";
    if (!in_arena(address))
        return std::string(number) + ", which is no memory of the GPU";
    std::string text = number;
    auto describe = [&](const char *kind, Pointer start, std::size_t bytes) {
        if (address - start < bytes)
            text += ", " + std::to_string(address - start) + " bytes into " + kind + " of " + std::to_string(bytes) + " bytes";
        else if (address >= start)
            text += ", " + std::to_string(address - start - bytes) + " bytes behind " + kind + " of " + std::to_string(bytes) +
                    " bytes";
        else
            text += ", " + std::to_string(start - address) + " bytes before " + kind + " of " + std::to_string(bytes) + " bytes";
    };
    if (auto after = allocations.upper_bound(address); after != allocations.begin())
        describe("an allocation", std::prev(after)->first, std::prev(after)->second->bytes);
    if (auto after = allocations.upper_bound(address); after != allocations.end())
        describe("an allocation", after->first, after->second->bytes);
    if (auto after = freed.upper_bound(address); after != freed.begin() && address - std::prev(after)->first < std::prev(after)->second)
        describe("a freed allocation", std::prev(after)->first, std::prev(after)->second);
    return text;
}

void check_guards() {
    for (auto &[pointer, region] : allocations)
        check_guard(*region);
}

unsigned lock_host(void **memory, std::size_t bytes) {
    *memory = std::aligned_alloc(PAGE, pages(bytes));
    if (!*memory)
        return OUT_OF_MEMORY;
    std::memset(*memory, 0xFF, bytes);
    locked[Pointer(*memory)] = bytes;
    return SUCCESS;
}

unsigned unlock_host(void *memory) {
    if (!locked.erase(Pointer(memory)))
        return INVALID_VALUE;
    std::free(memory);
    return SUCCESS;
}

bool is_locked(const void *memory, std::size_t bytes) {
    const Pointer address = Pointer(memory);
    auto after = locked.upper_bound(address);
    if (after == locked.begin())
        return false;
    auto found = std::prev(after);
    return address - found->first + bytes <= found->second;
}
