// libcuda.so.1 for machines without a GPU: the driver functions that the trainer calls, with kernels compiled for the
// processor. What it checks beyond a driver: every access by a copy lies within one allocation, nothing is written just
// behind one (which ends the program), and new memory holds NaN.
//
// CUDA_EMULATOR_MEMORY    bytes of the GPU's memory [16 GiB]
// CUDA_EMULATOR_TAKEN     bytes of it that another program took, unseen until they are needed [0]
// CUDA_EMULATOR_DEVICES   number of GPUs [1]
// CUDA_EMULATOR_REPORT    file to which is written, when the program ends: the peak of memory in use, in bytes; how often the
//                         host waited for the GPU, or would have; bytes copied from one place of the GPU's memory to another;
//                         and kernels launched

#include "include/emulator.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <ucontext.h>
#include <vector>

dim3 emulated_thread, emulated_block, emulated_block_size, emulated_grid_size;

namespace {

enum Result : unsigned {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    NOT_FOUND = 500,
};

[[noreturn]] void stop(const std::string &reason) {
    std::fprintf(stderr, "CUDA emulator: %s\n", reason.c_str());
    std::abort();
}

std::size_t number(const char *variable, std::size_t otherwise) {
    const char *text = std::getenv(variable);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct Kernel {
    std::string name;
    void *function;
    Launcher launcher;
};
using Kernels = std::map<std::string, Kernel>;

struct Module {
    void *library = nullptr;
    std::string ptx;
    Kernels kernels;
};

// The kernels of the files that were compiled into this library; of a file compiled at run time, while it is loaded.
Kernels &built_in() {
    static Kernels kernels;
    return kernels;
}
Kernels *registering = nullptr;

std::recursive_mutex everything;

// Memory

const std::size_t GUARD = 64;
const unsigned char GUARD_BYTE = 0xA5;
std::map<std::uint64_t, std::size_t> allocations;
std::size_t in_use = 0, peak = 0, waits = 0, moved = 0, launches = 0;
// Memory of the host that is locked, by its address.
std::map<std::uint64_t, std::size_t> pinned;
// Copies to the GPU of more bytes, from memory that is not locked, wait for the GPU to take them.
const std::size_t UNAWAITED = 64 << 10;

unsigned allocate(std::uint64_t *pointer, std::size_t bytes) {
    std::lock_guard lock(everything);
    if (in_use + bytes + number("CUDA_EMULATOR_TAKEN", 0) > number("CUDA_EMULATOR_MEMORY", std::size_t(16) << 30))
        return OUT_OF_MEMORY;
    auto *memory = static_cast<unsigned char *>(std::aligned_alloc(256, (bytes + GUARD + 255) / 256 * 256));
    if (!memory)
        return OUT_OF_MEMORY;
    std::memset(memory, 0xFF, bytes);
    std::memset(memory + bytes, GUARD_BYTE, GUARD);
    *pointer = reinterpret_cast<std::uint64_t>(memory);
    allocations[*pointer] = bytes;
    in_use += bytes;
    if (in_use > peak)
        peak = in_use;
    return SUCCESS;
}

void check_guard(std::uint64_t pointer, std::size_t bytes) {
    auto *memory = reinterpret_cast<unsigned char *>(pointer);
    for (std::size_t i = 0; i < GUARD; i++)
        if (memory[bytes + i] != GUARD_BYTE)
            stop("something was written behind an allocation of " + std::to_string(bytes) + " bytes");
}

unsigned release(std::uint64_t pointer) {
    std::lock_guard lock(everything);
    auto found = allocations.find(pointer);
    if (found == allocations.end())
        return INVALID_VALUE;
    check_guard(pointer, found->second);
    in_use -= found->second;
    allocations.erase(found);
    std::free(reinterpret_cast<void *>(pointer));
    return SUCCESS;
}

bool is_pinned(const void *memory, std::size_t bytes) {
    const auto address = reinterpret_cast<std::uint64_t>(memory);
    auto after = pinned.upper_bound(address);
    return after != pinned.begin() && address - std::prev(after)->first + bytes <= std::prev(after)->second;
}

bool inside(std::uint64_t pointer, std::size_t bytes) {
    auto after = allocations.upper_bound(pointer);
    if (after == allocations.begin())
        return bytes == 0;
    auto found = std::prev(after);
    return pointer - found->first + bytes <= found->second;
}

struct Event {
    std::chrono::steady_clock::time_point recorded;
};

struct Report {
    ~Report() {
        for (auto [pointer, bytes] : allocations)
            check_guard(pointer, bytes);
        if (const char *path = std::getenv("CUDA_EMULATOR_REPORT"))
            std::ofstream(path) << peak << "\n" << waits << "\n" << moved << "\n" << launches << "\n";
    }
} report;

// Launching. Threads of a block are coroutines, so that a barrier can hand over to the next one. A kernel that meets no
// barrier in its first block is taken to have none, and its other threads are plain calls.

const std::size_t STACK = 64 << 10;

struct Thread {
    ucontext_t context;
    std::vector<char> stack;
    bool running = false;
};

std::vector<Thread> threads;
ucontext_t scheduler;
std::size_t current = 0;
bool in_coroutine = false;
bool barrier_met = false;
const Kernel *launched = nullptr;
void **launched_parameters = nullptr;

void coroutine() {
    launched->launcher(launched->function, launched_parameters);
    threads[current].running = false;
    swapcontext(&threads[current].context, &scheduler);
}

void set_thread(std::size_t index) {
    emulated_thread.x = index % emulated_block_size.x;
    emulated_thread.y = index / emulated_block_size.x % emulated_block_size.y;
    emulated_thread.z = index / emulated_block_size.x / emulated_block_size.y;
}

void run_block_with_barriers(std::size_t count) {
    if (threads.size() < count)
        threads.resize(count);
    for (std::size_t i = 0; i < count; i++) {
        Thread &thread = threads[i];
        thread.stack.resize(STACK);
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = &scheduler;
        makecontext(&thread.context, coroutine, 0);
        thread.running = true;
    }
    in_coroutine = true;
    for (bool any = true; any;) {
        any = false;
        for (current = 0; current < count; current++) {
            if (!threads[current].running)
                continue;
            set_thread(current);
            swapcontext(&scheduler, &threads[current].context);
            any |= threads[current].running;
        }
    }
    in_coroutine = false;
}

void run(const Kernel &kernel, dim3 grid, dim3 block, void **parameters) {
    launched = &kernel;
    launched_parameters = parameters;
    emulated_grid_size = grid;
    emulated_block_size = block;
    barrier_met = false;
    const std::size_t count = std::size_t(block.x) * block.y * block.z;
    bool first = true;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                emulated_block = dim3{x, y, z};
                if (first || barrier_met) {
                    run_block_with_barriers(count);
                } else {
                    for (std::size_t i = 0; i < count; i++) {
                        set_thread(i);
                        kernel.launcher(kernel.function, parameters);
                    }
                }
                first = false;
            }
}

} // namespace

void emulated_barrier() {
    if (!in_coroutine)
        stop("kernel " + launched->name + " met a barrier in a later block, but none in the first");
    barrier_met = true;
    swapcontext(&threads[current].context, &scheduler);
}

void emulated_register(const char *name, void *kernel, Launcher launcher) {
    (registering ? *registering : built_in())[name] = Kernel{name, kernel, launcher};
}

extern "C" {

unsigned cuInit(unsigned) { return number("CUDA_EMULATOR_DEVICES", 1) ? SUCCESS : NO_DEVICE; }
unsigned cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
unsigned cuDeviceGetCount(int *count) { return *count = int(number("CUDA_EMULATOR_DEVICES", 1)), SUCCESS; }

unsigned cuDeviceGet(int *device, int ordinal) {
    if (ordinal < 0 || std::size_t(ordinal) >= number("CUDA_EMULATOR_DEVICES", 1))
        return INVALID_DEVICE;
    return *device = ordinal, SUCCESS;
}

unsigned cuDeviceGetName(char *name, int length, int) {
    return std::snprintf(name, std::size_t(length), "Emulated GPU"), SUCCESS;
}

unsigned cuDeviceGetAttribute(int *value, unsigned attribute, int) {
    // Compute capability 9.0, and memory pools.
    *value = attribute == 75 ? 9 : attribute == 115 ? 1 : attribute == 16 ? 4 : 0;
    return SUCCESS;
}

unsigned cuGetErrorName(unsigned code, const char **text) {
    switch (code) {
    case SUCCESS: *text = "CUDA_SUCCESS"; break;
    case INVALID_VALUE: *text = "CUDA_ERROR_INVALID_VALUE"; break;
    case OUT_OF_MEMORY: *text = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case NO_DEVICE: *text = "CUDA_ERROR_NO_DEVICE"; break;
    case INVALID_DEVICE: *text = "CUDA_ERROR_INVALID_DEVICE"; break;
    case INVALID_IMAGE: *text = "CUDA_ERROR_INVALID_IMAGE"; break;
    case NOT_FOUND: *text = "CUDA_ERROR_NOT_FOUND"; break;
    default: return INVALID_VALUE;
    }
    return SUCCESS;
}

// The real NVRTC asks for the driver's tables, and does without where there are none.
unsigned cuGetExportTable(const void **table, const void *) { return *table = nullptr, NOT_FOUND; }

unsigned cuDevicePrimaryCtxRetain(void **context, int) { return *context = &report, SUCCESS; }
unsigned cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
unsigned cuDeviceGetDefaultMemPool(void **pool, int) { return *pool = &report, SUCCESS; }
unsigned cuMemPoolSetAttribute(void *, unsigned, void *) { return SUCCESS; }
unsigned cuCtxSetCurrent(void *) { return SUCCESS; }

// Everything is done when it is asked for: streams and events have nothing to wait for.
unsigned cuEventCreate(void **event, unsigned) { return *event = new Event{}, SUCCESS; }
unsigned cuEventRecord(void *event, void *) {
    return static_cast<Event *>(event)->recorded = std::chrono::steady_clock::now(), SUCCESS;
}
unsigned cuEventDestroy_v2(void *event) { return delete static_cast<Event *>(event), SUCCESS; }
unsigned cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    const auto passed = static_cast<Event *>(end)->recorded - static_cast<Event *>(start)->recorded;
    return *milliseconds = std::chrono::duration<float, std::milli>(passed).count(), SUCCESS;
}
unsigned cuEventQuery(void *) { return SUCCESS; }
unsigned cuEventSynchronize(void *) { return SUCCESS; }
unsigned cuStreamCreate(void **stream, unsigned) { return *stream = &report, SUCCESS; }
unsigned cuStreamSynchronize(void *) {
    std::lock_guard lock(everything);
    return waits++, SUCCESS;
}
unsigned cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
unsigned cuStreamDestroy_v2(void *) { return SUCCESS; }

unsigned cuMemGetInfo_v2(std::size_t *free, std::size_t *total) {
    std::lock_guard lock(everything);
    *total = number("CUDA_EMULATOR_MEMORY", std::size_t(16) << 30);
    *free = *total > in_use ? *total - in_use : 0;
    return SUCCESS;
}
unsigned cuMemAlloc_v2(std::uint64_t *pointer, std::size_t bytes) { return allocate(pointer, bytes); }
unsigned cuMemAllocAsync(std::uint64_t *pointer, std::size_t bytes, void *) { return allocate(pointer, bytes); }
unsigned cuMemFree_v2(std::uint64_t pointer) { return release(pointer); }
unsigned cuMemFreeAsync(std::uint64_t pointer, void *) { return release(pointer); }

unsigned cuMemsetD8_v2(std::uint64_t pointer, unsigned char value, std::size_t bytes) {
    std::lock_guard lock(everything);
    if (!inside(pointer, bytes))
        return INVALID_VALUE;
    std::memset(reinterpret_cast<void *>(pointer), value, bytes);
    return SUCCESS;
}
unsigned cuMemsetD8Async(std::uint64_t pointer, unsigned char value, std::size_t bytes, void *) {
    return cuMemsetD8_v2(pointer, value, bytes);
}
unsigned cuMemHostAlloc(void **memory, std::size_t bytes, unsigned) {
    std::lock_guard lock(everything);
    *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*memory)
        return OUT_OF_MEMORY;
    pinned[reinterpret_cast<std::uint64_t>(*memory)] = bytes;
    return SUCCESS;
}
unsigned cuMemcpyHtoDAsync_v2(std::uint64_t target, const void *source, std::size_t bytes, void *) {
    std::lock_guard lock(everything);
    if (!inside(target, bytes))
        return INVALID_VALUE;
    waits += bytes > UNAWAITED && !is_pinned(source, bytes);
    std::memcpy(reinterpret_cast<void *>(target), source, bytes);
    return SUCCESS;
}
unsigned cuMemcpyHtoD_v2(std::uint64_t target, const void *source, std::size_t bytes) {
    std::lock_guard lock(everything);
    return waits++, cuMemcpyHtoDAsync_v2(target, source, bytes, nullptr);
}
unsigned cuMemcpyDtoH_v2(void *target, std::uint64_t source, std::size_t bytes) {
    std::lock_guard lock(everything);
    if (!inside(source, bytes))
        return INVALID_VALUE;
    waits++;
    std::memcpy(target, reinterpret_cast<void *>(source), bytes);
    return SUCCESS;
}
unsigned cuMemcpyDtoHAsync_v2(void *target, std::uint64_t source, std::size_t bytes, void *) {
    return cuMemcpyDtoH_v2(target, source, bytes);
}
unsigned cuMemcpyDtoD_v2(std::uint64_t target, std::uint64_t source, std::size_t bytes) {
    std::lock_guard lock(everything);
    if (!inside(target, bytes) || !inside(source, bytes))
        return INVALID_VALUE;
    moved += bytes;
    std::memmove(reinterpret_cast<void *>(target), reinterpret_cast<void *>(source), bytes);
    return SUCCESS;
}
unsigned cuMemcpyDtoDAsync_v2(std::uint64_t target, std::uint64_t source, std::size_t bytes, void *) {
    return cuMemcpyDtoD_v2(target, source, bytes);
}

// A module is either one that the emulated NVRTC made, whose "PTX" names a shared library, or PTX that stands for kernel files
// compiled into this library. Of its text, it matters that it has the kernels that are asked for; a build for type checks has
// none.
unsigned cuModuleLoadData(void **module, const void *image) {
    std::lock_guard lock(everything);
    const std::string text = static_cast<const char *>(image), mark = "emulated:";
    auto *loaded = new Module;
    if (text.compare(0, mark.size(), mark) == 0) {
        registering = &loaded->kernels;
        loaded->library = dlopen(text.c_str() + mark.size(), RTLD_NOW | RTLD_LOCAL);
        registering = nullptr;
        if (!loaded->library) {
            std::fprintf(stderr, "CUDA emulator: %s\n", dlerror());
            delete loaded;
            return INVALID_IMAGE;
        }
    } else {
        loaded->kernels = built_in();
        loaded->ptx = text;
    }
    *module = loaded;
    return SUCCESS;
}
unsigned cuModuleLoad(void **, const char *) { return NOT_FOUND; }
unsigned cuModuleUnload(void *module) {
    delete static_cast<Module *>(module);
    return SUCCESS;
}
unsigned cuModuleGetFunction(void **function, void *module, const char *name) {
    std::lock_guard lock(everything);
    auto &kernels = static_cast<Module *>(module)->kernels;
    auto found = kernels.find(name);
    const auto &ptx = static_cast<Module *>(module)->ptx;
    const bool missing = !ptx.empty() && ptx.find(".entry " + std::string(name) + "(") == std::string::npos;
    if (found == kernels.end() || missing) {
        std::fprintf(stderr, "CUDA emulator: there is no kernel %s\n", name);
        return NOT_FOUND;
    }
    *function = &found->second;
    return SUCCESS;
}

unsigned cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned, void *, void **parameters, void **) {
    std::lock_guard lock(everything);
    // The limits of compute capability 3.0 and newer.
    const bool fits = grid_x && grid_y && grid_z && block_x && block_y && block_z && grid_x <= 0x7FFFFFFF &&
                      grid_y <= 65535 && grid_z <= 65535 && block_x <= 1024 && block_y <= 1024 && block_z <= 64 &&
                      std::uint64_t(block_x) * block_y * block_z <= 1024;
    launches++;
    if (!fits)
        return INVALID_VALUE;
    run(*static_cast<Kernel *>(function), dim3{grid_x, grid_y, grid_z}, dim3{block_x, block_y, block_z}, parameters);
    return SUCCESS;
}

} // extern "C"
