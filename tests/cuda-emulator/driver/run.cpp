// A kernel's threads and blocks, one after the other in random order. Blocks run to their end; a block's threads are
// coroutines, each of which runs until it meets a barrier, waits for its warp, or ends. Shared memory holds NaN when a block
// begins. A coroutine whose thread ended takes the next one, so that kernels without barriers are plain calls.

#include "driver.h"

#include <algorithm>
#include <csetjmp>
#include <numeric>
#include <sys/mman.h>
#include <ucontext.h>

EmulatedPlace emulated_place;

const Kernel *running_kernel = nullptr;
std::uint32_t running_block = 0;
std::uint16_t running_thread = 0, running_phase = 0;
Region *dynamic_shared_region = nullptr;

namespace {

const std::size_t STACK = 256 << 10, PAGE = 4096;

enum class State { idle, runnable, at_barrier, at_warp };

struct Fiber {
    char *stack = nullptr;
    ucontext_t start;
    std::jmp_buf at;
    bool started = false;
    State state = State::idle;
    std::size_t thread = 0;
    std::uint32_t warp_mask = 0;
};

struct Warp {
    std::uint32_t ended = 0, arrived = 0;
    std::uint64_t values[32];
};

std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber *> idle, queue, waiting;
std::vector<Warp> warps;
std::vector<std::uint16_t> order;
std::size_t next_thread = 0;
Fiber *current = nullptr;
std::jmp_buf scheduler;
void **parameters = nullptr;

void set_thread(std::size_t index) {
    running_thread = std::uint16_t(index);
    emulated_place.thread.x = unsigned(index % emulated_place.block_size.x);
    emulated_place.thread.y = unsigned(index / emulated_place.block_size.x % emulated_place.block_size.y);
    emulated_place.thread.z = unsigned(index / emulated_place.block_size.x / emulated_place.block_size.y);
}

void to_scheduler() {
    if (_setjmp(current->at) == 0)
        _longjmp(scheduler, 1);
}

void thread_ended(std::size_t index) {
    Warp &warp = warps[index / 32];
    warp.ended |= 1u << index % 32;
}

// Runs threads that have not begun, until there is none; then waits to be taken for another block.
void fiber_main() {
    for (;;) {
        while (next_thread < order.size()) {
            Fiber *self = current;
            self->thread = order[next_thread++];
            set_thread(self->thread);
            running_kernel->launcher(running_kernel->function, parameters);
            current = self;
            thread_ended(self->thread);
        }
        current->state = State::idle;
        to_scheduler();
    }
}

Fiber *new_fiber() {
    auto fiber = std::make_unique<Fiber>();
    void *memory = mmap(nullptr, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        stop("there is no memory for a thread's stack");
    mprotect(memory, PAGE, PROT_NONE);
    fiber->stack = static_cast<char *>(memory) + PAGE;
    fibers.push_back(std::move(fiber));
    return fibers.back().get();
}

void resume(Fiber *fiber) {
    current = fiber;
    if (fiber->state != State::idle)
        set_thread(fiber->thread);
    fiber->state = State::runnable;
    if (_setjmp(scheduler) == 0) {
        if (fiber->started)
            _longjmp(fiber->at, 1);
        fiber->started = true;
        getcontext(&fiber->start);
        fiber->start.uc_stack.ss_sp = fiber->stack;
        fiber->start.uc_stack.ss_size = STACK;
        fiber->start.uc_link = nullptr;
        makecontext(&fiber->start, fiber_main, 0);
        setcontext(&fiber->start);
    }
    current = nullptr;
}

template <typename T> void shuffle(std::vector<T> &values) {
    for (std::size_t i = values.size(); i > 1; i--)
        std::swap(values[i - 1], values[random_below(i)]);
}

void fill(const Region &region) { std::memset(reinterpret_cast<void *>(region.start), 0xFF, region.bytes); }

void run_block(std::size_t count) {
    for (auto &region : running_kernel->image->shared) {
        fill(*region);
        if (checking())
            forget_accesses(*region);
    }
    if (dynamic_shared_region) {
        fill(*dynamic_shared_region);
        if (checking())
            forget_accesses(*dynamic_shared_region);
    }
    order.resize(count);
    std::iota(order.begin(), order.end(), std::uint16_t(0));
    shuffle(order);
    warps.assign((count + 31) / 32, Warp{});
    if (count % 32)
        warps.back().ended = ~0u << count % 32;
    next_thread = 0;
    running_phase = 0;
    for (;;) {
        while (next_thread < count || !queue.empty()) {
            Fiber *fiber;
            const std::size_t choice = random_below(queue.size() + (next_thread < count));
            if (choice < queue.size()) {
                fiber = queue[choice];
                queue[choice] = queue.back();
                queue.pop_back();
            } else {
                if (idle.empty())
                    idle.push_back(new_fiber());
                fiber = idle.back();
                idle.pop_back();
            }
            resume(fiber);
            if (fiber->state == State::idle)
                idle.push_back(fiber);
            else
                waiting.push_back(fiber);
        }
        // Those that wait for their warp were queued when it was complete.
        for (Fiber *fiber : waiting)
            if (fiber->state == State::at_warp) {
                set_thread(fiber->thread);
                stop("a thread waits for threads of its warp that have ended or wait at a barrier");
            }
        if (waiting.empty())
            break;
        queue.swap(waiting);
        running_phase++;
    }
}

} // namespace

void run(const Kernel &kernel, dim3 grid, dim3 block, std::size_t dynamic_shared, std::vector<std::vector<char>> values) {
    std::vector<void *> addresses;
    for (auto &value : values)
        addresses.push_back(value.data());
    parameters = addresses.data();
    running_kernel = &kernel;
    emulated_place.grid_size = grid;
    emulated_place.block_size = block;
    std::vector<std::uint64_t> memory((dynamic_shared + 7) / 8);
    Region region;
    if (dynamic_shared) {
        region.start = Pointer(memory.data());
        region.bytes = dynamic_shared;
        region.name = "dynamic";
        if (checking())
            prepare(region);
        dynamic_shared_region = &region;
    }
    // i ↦ factor · i + offset goes once over all blocks, where the factor has no divisor in common with their number.
    const std::uint64_t blocks = std::uint64_t(grid.x) * grid.y * grid.z;
    std::uint64_t factor = random_below(blocks) + 1;
    while (std::gcd(factor, blocks) != 1)
        factor++;
    std::uint64_t index = random_below(blocks);
    factor %= blocks;
    for (std::uint64_t i = 0; i < blocks; i++) {
        running_block = std::uint32_t(index);
        emulated_place.block.x = unsigned(index % grid.x);
        emulated_place.block.y = unsigned(index / grid.x % grid.y);
        emulated_place.block.z = unsigned(index / grid.x / grid.y);
        run_block(std::size_t(block.x) * block.y * block.z);
        index = (index + factor) % blocks;
    }
    running_kernel = nullptr;
    dynamic_shared_region = nullptr;
}

std::string whereabouts() {
    if (!running_kernel)
        return "";
    auto place = [](dim3 place) {
        return "(" + std::to_string(place.x) + ", " + std::to_string(place.y) + ", " + std::to_string(place.z) + ")";
    };
    return " (kernel " + running_kernel->name + ", block " + place(emulated_place.block) + " of " + place(emulated_place.grid_size) +
           ", thread " + place(emulated_place.thread) + " of " + place(emulated_place.block_size) + ")";
}

bool on_stack(Pointer address) { return current && address - Pointer(current->stack) < STACK; }

void emulated_barrier() {
    current->state = State::at_barrier;
    to_scheduler();
}

void *emulated_dynamic_shared() {
    if (!dynamic_shared_region)
        stop("the kernel uses dynamic shared memory, but was launched without any");
    return reinterpret_cast<void *>(dynamic_shared_region->start);
}

void emulated_warp_barrier(unsigned mask) {
    Fiber *self = current;
    const std::size_t warp_number = self->thread / 32;
    Warp &warp = warps[warp_number];
    const std::uint32_t lane = 1u << self->thread % 32;
    if (!(mask & lane))
        stop("a thread waits for its warp with a mask in which it is not");
    mask &= ~(self->thread / 32 == warps.size() - 1 && order.size() % 32 ? ~0u << order.size() % 32 : 0);
    warp.arrived |= lane;
    if ((warp.arrived & mask) == mask) {
        warp.arrived &= ~mask;
        for (std::size_t i = 0; i < waiting.size();) {
            Fiber *fiber = waiting[i];
            if (fiber->state == State::at_warp && fiber->thread / 32 == warp_number && (mask >> fiber->thread % 32 & 1)) {
                queue.push_back(fiber);
                waiting.erase(waiting.begin() + std::ptrdiff_t(i));
            } else {
                i++;
            }
        }
        return;
    }
    self->state = State::at_warp;
    to_scheduler();
}

std::uint64_t emulated_warp_exchange(unsigned mask, std::uint64_t value, unsigned from) {
    // `current` is this thread's again after each wait.
    Fiber *self = current;
    Warp &warp = warps[self->thread / 32];
    warp.values[self->thread % 32] = value;
    emulated_warp_barrier(mask);
    const std::uint64_t result = warp.values[from % 32];
    emulated_warp_barrier(mask);
    return result;
}

std::uint32_t emulated_warp_ballot(unsigned mask, bool value) {
    Fiber *self = current;
    Warp &warp = warps[self->thread / 32];
    warp.values[self->thread % 32] = value;
    emulated_warp_barrier(mask);
    std::uint32_t result = 0;
    for (std::uint32_t lane = 0; lane < 32; lane++)
        result |= std::uint32_t((mask >> lane & 1) && warp.values[lane]) << lane;
    emulated_warp_barrier(mask);
    return result;
}

unsigned emulated_lane() { return unsigned(current->thread % 32); }
