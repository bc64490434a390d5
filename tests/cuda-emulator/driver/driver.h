// What the parts of the emulated driver know of each other.
//
// api.cpp      the functions of libcuda.so.1
// control.cpp  counts calls, lets chosen ones fail, forks at calls, writes the report
// memory.cpp   the GPU's memory: allocations between pages that nobody may touch, and locked memory of the host
// streams.cpp  streams and events: work is queued, and run late, in any order that they allow
// modules.cpp  images of kernels
// run.cpp      a kernel's threads and blocks, in random order
// checks.cpp   every access of a checked kernel: bounds, memory that nothing was written to, races
//
// One lock guards everything, and work of the GPU is done while it is held.
#pragma once

#define EMULATED_CHECKS // declared with its definition in checks.cpp
#include "../include/emulator.h"
#include "../library.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

enum Result : unsigned {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    UNSUPPORTED_PTX_VERSION = 222,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
};

using Pointer = std::uint64_t;

extern std::recursive_mutex everything;

// control.cpp

[[noreturn]] void stop(const std::string &reason);
std::size_t setting(const char *variable, std::size_t otherwise);
// A random number below the bound, by CUDA_EMULATOR_SEED.
std::size_t random_below(std::size_t bound);

struct Counters {
    std::size_t memory_in_use = 0, memory_peak = 0, allocations = 0;
    std::size_t waits = 0;
    std::size_t host_to_device = 0, device_to_device = 0, device_to_host = 0;
};
extern Counters counters;

// memory.cpp

// What was last done to a piece of memory, in a kernel or by a copy. Operations are numbered from 1.
struct Cell {
    std::uint32_t write_operation, write_block;
    std::uint16_t write_thread, write_phase;
    std::uint32_t read_operation, read_block;
    std::uint16_t read_thread, read_phase;
};

// Bytes that belong together, with what is known of each while kernels are checked.
struct Region {
    Pointer start = 0;
    std::size_t bytes = 0;
    std::string name;             // of a shared variable
    std::uint32_t operation = 0;  // that allocated it
    std::uint32_t accessed_by = 0; // the last one that was seen to follow the allocation
    std::size_t granule = 4;      // bytes of each cell
    std::vector<std::uint8_t> written; // by byte
    Cell *cells = nullptr;
    ~Region();
};

unsigned allocate(Pointer *pointer, std::size_t bytes, std::uint32_t operation);
// Takes the memory out of the budget; the address is gone when `forget` is called.
unsigned release(Pointer pointer);
void forget(Pointer pointer);
// The region of an address in an allocation, or nothing.
Region *region_of(Pointer address);
bool in_arena(Pointer address);
// Whether all these bytes lie within one allocation.
bool inside(Pointer pointer, std::size_t bytes);
// What lies around an address, for messages.
std::string surroundings(Pointer address);
void check_guards();
unsigned lock_host(void **memory, std::size_t bytes);
unsigned unlock_host(void *memory);
bool is_locked(const void *memory, std::size_t bytes);

// streams.cpp

struct Stream;
struct Event;
Stream *stream_of(void *handle); // nothing where there is none such
unsigned create_stream(void **handle, unsigned flags);
unsigned destroy_stream(void *handle);
unsigned create_event(void **handle, unsigned flags);
unsigned destroy_event(void *handle);
unsigned record_event(void *event, void *stream);
unsigned wait_event(void *stream, void *event);
unsigned synchronize_event(void *event);
unsigned query_event(void *event);
unsigned elapsed_time(float *milliseconds, void *start, void *end);
// Queues work on a stream, and returns the number of the operation.
std::uint32_t enqueue(Stream &stream, std::function<void()> work);
void synchronize(Stream &stream);
void synchronize_all();
unsigned query_stream(Stream &stream);
// Whether one operation is sure to have ended before the one that is running began.
bool before_this(std::uint32_t operation);
extern std::uint32_t running;

// modules.cpp

struct Kernel {
    std::string name;
    void *function = nullptr;
    Launcher launcher = nullptr;
    std::vector<std::size_t> sizes; // of the parameters
    struct Image *image = nullptr;
};

struct Image {
    void *library = nullptr;
    int file = -1;
    Pointer start = 0, end = 0; // of all that the library keeps in memory
    Pointer constants = 0, constants_end = 0;
    std::vector<std::unique_ptr<Region>> shared; // its variables in shared memory
    std::map<std::string, Kernel> kernels;
    ~Image();
};

unsigned load_module(void **module, const void *bytes);
unsigned unload_module(void *module);
unsigned find_function(void **function, void *module, const char *name);
Kernel *kernel_of(void *function);

// run.cpp

void run(const Kernel &kernel, dim3 grid, dim3 block, std::size_t dynamic_shared, std::vector<std::vector<char>> parameters);
// The kernel and the thread that are running, for messages; nothing outside of kernels.
std::string whereabouts();
extern const Kernel *running_kernel;
extern Region *dynamic_shared_region;
extern std::uint32_t running_block;
extern std::uint16_t running_thread, running_phase;
bool on_stack(Pointer address);

// checks.cpp

bool checking(); // by CUDA_EMULATOR_CHECK
void prepare(Region &region);
// A copy, a memset or a product of matrices reads or writes these bytes.
void access_range(Pointer pointer, std::size_t bytes, bool write);
// A copy within the GPU hands on what is known of its source.
void copy_written(Pointer target, Pointer source, std::size_t bytes);
// Every access has ended when this operation begins.
void access_before_release(Region &region);
void forget_accesses(Region &region);
