// Every access of a kernel is looked at, where CUDA_EMULATOR_CHECK is set and the kernel was compiled so: g++ puts a call
// before each, meant for ThreadSanitizer's library, whose functions are defined here instead.
//
// What is found:
// - accesses outside of allocations and shared variables, on a null pointer, in memory that was freed or is not yet allocated
//   in the order of streams, and such whose address is no multiple of their size;
// - reads of bytes that nothing was written to since their allocation, or in shared memory since the block began;
// - races: two accesses to one byte, at least one of them a write, by different threads of a block without a barrier between
//   them, by different blocks of a launch, or by operations of different streams between which no event stands. Two atomic
//   operations do not race. Of those that read a byte since it was written, the last is remembered, and whether there were
//   several threads or blocks, so that each race within a launch is found, in whatever order threads run.

#include "driver.h"

#include <algorithm>
#include <cstdlib>

bool checking() {
    static const bool is_set = std::getenv("CUDA_EMULATOR_CHECK") != nullptr;
    return is_set;
}

namespace {

const std::uint16_t ATOMIC = 0x8000, SEVERAL_THREADS = 0x7FFF;
const std::uint32_t SEVERAL_BLOCKS = 0xFFFFFFFF;

enum class Kind { read, write, atomic };

const char *name(Kind kind) {
    return kind == Kind::read ? "read" : kind == Kind::write ? "written" : "changed atomically";
}

std::string place(const Region &region, Pointer address) {
    return region.name.empty() ? surroundings(address)
                               : "byte " + std::to_string(address - region.start) + " of the shared variable " + region.name;
}

// Smaller pieces, each with what is known of the whole.
void split(Region &region, std::size_t granule) {
    const std::size_t count = (region.bytes + granule - 1) / granule;
    auto *cells = static_cast<Cell *>(std::calloc(count, sizeof(Cell)));
    if (!cells)
        stop("there is no memory to check accesses with");
    for (std::size_t i = 0; i < count; i++)
        cells[i] = region.cells[i * granule / region.granule];
    std::free(region.cells);
    region.cells = cells;
    region.granule = granule;
}

std::string of_thread(std::uint32_t block, std::uint16_t thread) {
    std::string text = block == SEVERAL_BLOCKS ? "several blocks" : "block " + std::to_string(block);
    thread &= 0x7FFF;
    return text + (thread == SEVERAL_THREADS ? ", several threads" : ", thread " + std::to_string(thread));
}

// Whether an earlier access may come at the same time as this thread's.
bool unordered(std::uint32_t operation, std::uint32_t block, std::uint16_t thread, std::uint16_t phase) {
    if (operation != running)
        return operation && !before_this(operation);
    if (!running_kernel)
        return false;
    return block != running_block || (phase == running_phase && (thread & 0x7FFF) != running_thread);
}

void check_cell(const Region &region, Cell &cell, Pointer address, Kind kind) {
    auto race = [&](const char *before, std::uint32_t operation, std::uint32_t block, std::uint16_t thread) {
        stop("a race: " + place(region, address) + ", is " + name(kind) + ", and " + before + " by " +
             (operation == running ? of_thread(block, thread) + ", of the same launch"
                                   : "an operation of another stream, without an event between them"));
    };
    const bool both_atomic = kind == Kind::atomic && (cell.write_thread & ATOMIC);
    if (!both_atomic && unordered(cell.write_operation, cell.write_block, cell.write_thread, cell.write_phase))
        race(cell.write_thread & ATOMIC ? "changed atomically" : "written", cell.write_operation, cell.write_block,
             cell.write_thread);
    if (kind != Kind::read && unordered(cell.read_operation, cell.read_block, cell.read_thread, cell.read_phase))
        race("read", cell.read_operation, cell.read_block, cell.read_thread);
    const std::uint32_t block = running_block;
    const std::uint16_t thread = running_kernel ? running_thread : 0, phase = running_kernel ? running_phase : 0;
    if (kind == Kind::read) {
        if (cell.read_operation != running)
            cell.read_block = block, cell.read_thread = thread;
        else if (cell.read_block != block)
            cell.read_block = SEVERAL_BLOCKS;
        else if (cell.read_phase != phase)
            cell.read_thread = thread;
        else if (cell.read_thread != thread)
            cell.read_thread = SEVERAL_THREADS;
        cell.read_operation = running;
        cell.read_phase = phase;
    } else {
        const std::uint16_t mark = kind == Kind::atomic ? ATOMIC : 0;
        const bool again = both_atomic && cell.write_operation == running;
        cell.write_thread = mark | (again && (cell.write_thread & 0x7FFF) != thread ? SEVERAL_THREADS : thread);
        cell.write_block = again && cell.write_block != block ? SEVERAL_BLOCKS : block;
        cell.write_operation = running;
        cell.write_phase = phase;
    }
}

void check_bytes(Region &region, Pointer address, std::size_t bytes, Kind kind) {
    if (!region.cells)
        prepare(region);
    if (region.accessed_by != running) {
        if (!before_this(region.operation))
            stop(place(region, address) + " is " + name(kind) + " before it is allocated: that is an operation of another stream");
        region.accessed_by = running;
    }
    const std::size_t offset = address - region.start;
    std::uint8_t *written = region.written.data() + offset;
    if (kind == Kind::read) {
        for (std::size_t i = 0; i < bytes; i++)
            if (!written[i])
                stop(place(region, address + i) + " is read, but nothing was written there");
    } else {
        std::memset(written, 1, bytes);
    }
    while (offset % region.granule || (bytes % region.granule && offset + bytes != region.bytes))
        split(region, region.granule == 4 && offset % 2 == 0 && bytes % 2 == 0 ? 2 : 1);
    for (std::size_t i = offset; i < offset + bytes; i += region.granule)
        check_cell(region, region.cells[i / region.granule], region.start + i, kind);
}

Region *shared_region(Pointer address) {
    if (dynamic_shared_region && address - dynamic_shared_region->start < dynamic_shared_region->bytes)
        return dynamic_shared_region;
    for (auto &region : running_kernel->image->shared)
        if (address - region->start < region->bytes)
            return region.get();
    return nullptr;
}

void access(const void *pointer, std::size_t bytes, Kind kind) {
    const Pointer address = Pointer(pointer);
    if (!running_kernel || on_stack(address) || address - Pointer(&emulated_place) < sizeof emulated_place)
        return;
    const Image &image = *running_kernel->image;
    Region *region = region_of(address);
    if (!region) {
        region = shared_region(address);
        // Constants of the program.
        if (!region && kind == Kind::read && address >= image.constants && address < image.constants_end)
            return;
        if (!region && address >= image.start && address < image.end)
            stop(std::string("outside of every shared variable, ") + std::to_string(bytes) + " bytes are " + name(kind));
    }
    if (!region)
        stop(std::to_string(bytes) + " bytes are " + name(kind) + " at " + surroundings(address));
    if (bytes > region->bytes - (address - region->start))
        stop(std::to_string(bytes) + " bytes are " + name(kind) + " at " + place(*region, address) + ", beyond its end");
    if (bytes <= 8 && address % bytes)
        stop(std::to_string(bytes) + " bytes are " + name(kind) + " at " + place(*region, address) +
             ", which is no multiple of their number");
    check_bytes(*region, address, bytes, kind);
}

} // namespace

void prepare(Region &region) {
    region.written.assign(region.bytes, 0);
    region.cells = static_cast<Cell *>(std::calloc((region.bytes + 3) / 4, sizeof(Cell)));
    region.granule = 4;
    if (!region.cells)
        stop("there is no memory to check accesses with");
}

void forget_accesses(Region &region) {
    if (!region.cells)
        return prepare(region);
    std::fill(region.written.begin(), region.written.end(), 0);
    std::memset(static_cast<void *>(region.cells), 0, (region.bytes + region.granule - 1) / region.granule * sizeof(Cell));
}

void access_range(Pointer pointer, std::size_t bytes, bool write) {
    if (!bytes)
        return;
    Region *region = region_of(pointer);
    if (!region || bytes > region->bytes - (pointer - region->start))
        stop(std::to_string(bytes) + " bytes are " + (write ? "written" : "read") + " at " + surroundings(pointer) +
             ", by a copy or a product");
    if (checking())
        check_bytes(*region, pointer, bytes, write ? Kind::write : Kind::read);
}

void copy_written(Pointer target, Pointer source, std::size_t bytes) {
    Region *from = region_of(source), *to = region_of(target);
    if (!from || !to || bytes > from->bytes - (source - from->start))
        stop(std::to_string(bytes) + " bytes are copied from " + surroundings(source) + " to " + surroundings(target));
    if (!checking())
        return;
    // What nothing was written to may be copied, and is no better then.
    std::vector<std::uint8_t> written(from->written.begin() + std::ptrdiff_t(source - from->start),
                                      from->written.begin() + std::ptrdiff_t(source - from->start + bytes));
    std::fill_n(from->written.begin() + std::ptrdiff_t(source - from->start), bytes, 1);
    check_bytes(*from, source, bytes, Kind::read);
    std::copy(written.begin(), written.end(), from->written.begin() + std::ptrdiff_t(source - from->start));
    check_bytes(*to, target, bytes, Kind::write);
    std::copy(written.begin(), written.end(), to->written.begin() + std::ptrdiff_t(target - to->start));
}

void access_before_release(Region &region) {
    const std::size_t count = (region.bytes + region.granule - 1) / region.granule;
    for (std::size_t i = 0; i < count; i++) {
        const Cell &cell = region.cells[i];
        for (std::uint32_t operation : {cell.write_operation, cell.read_operation})
            if (operation && operation != running && !before_this(operation))
                stop(surroundings(region.start + i * region.granule) +
                     " is freed while an operation of another stream may still access it");
    }
}

void emulated_atomic(const void *address, std::size_t bytes) { access(address, bytes, Kind::atomic); }

extern "C" {

void __tsan_init() {}
// Of the guard of a variable that is initialised once.
unsigned char __tsan_atomic8_load(const volatile unsigned char *address, int) { return *address; }
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
void __tsan_read_range(void *address, unsigned long bytes) { access(address, bytes, Kind::read); }
void __tsan_write_range(void *address, unsigned long bytes) { access(address, bytes, Kind::write); }
#define ACCESSES(bytes)                                                                                                \
    void __tsan_read##bytes(void *address) { access(address, bytes, Kind::read); }                                     \
    void __tsan_write##bytes(void *address) { access(address, bytes, Kind::write); }                                   \
    void __tsan_unaligned_read##bytes(void *address) { access(address, bytes, Kind::read); }                           \
    void __tsan_unaligned_write##bytes(void *address) { access(address, bytes, Kind::write); }                         \
    void __tsan_volatile_read##bytes(void *address) { access(address, bytes, Kind::read); }                            \
    void __tsan_volatile_write##bytes(void *address) { access(address, bytes, Kind::write); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

} // extern "C"
