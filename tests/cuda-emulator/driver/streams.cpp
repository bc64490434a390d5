// Streams and events. Work waits in its stream until the host waits for it, or chance runs it before; where several streams
// have work that may run, chance chooses. So whatever the order of streams and events leaves open comes out in another way
// with another seed.
//
// Which operation is sure to precede which follows from clocks: for each stream, the last of its operations that has ended.

#include "driver.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <set>

namespace {

using Clock = std::vector<std::uint32_t>; // by number of the stream

void join(Clock &clock, const Clock &other) {
    if (clock.size() < other.size())
        clock.resize(other.size());
    for (std::size_t i = 0; i < other.size(); i++)
        clock[i] = std::max(clock[i], other[i]);
}

} // namespace

struct Stream {
    std::uint16_t number;
    bool blocking; // waits for the default stream, and that for it
    std::uint32_t last = 0;
    Clock clock;
    std::deque<std::uint32_t> queue;
};

struct Event {
    bool timed;
    std::uint32_t operation = 0;
    Clock clock;
    std::chrono::steady_clock::time_point ended;
};

namespace {

struct Operation {
    std::vector<std::uint32_t> after;
    Clock clock;
    std::function<void()> work;
};

std::map<std::uint32_t, Operation> waiting;
std::vector<std::uint16_t> streams_of_operations{0}; // number 0 is none
std::deque<Stream> streams{Stream{0, true, 0, {}, {}}}; // the first is the default stream
std::set<void *> live_streams, live_events;
Clock of_host, of_running;

bool ready(const Stream &stream) {
    if (stream.queue.empty())
        return false;
    const auto &after = waiting.at(stream.queue.front()).after;
    return std::none_of(after.begin(), after.end(), [](std::uint32_t operation) { return waiting.count(operation); });
}

void run_any() {
    std::vector<Stream *> choices;
    for (auto &stream : streams)
        if (ready(stream))
            choices.push_back(&stream);
    if (choices.empty())
        stop("streams wait for each other");
    Stream &stream = *choices[random_below(choices.size())];
    running = stream.queue.front();
    auto &operation = waiting.at(running);
    of_running = operation.clock;
    operation.work();
    stream.queue.pop_front();
    waiting.erase(running);
    running = 0;
}

void run_until(std::uint32_t operation) {
    while (waiting.count(operation))
        run_any();
}

std::uint32_t enqueue_after(Stream &stream, std::function<void()> work, const Event *event) {
    const std::uint32_t number = std::uint32_t(streams_of_operations.size());
    streams_of_operations.push_back(stream.number);
    Operation operation;
    operation.work = std::move(work);
    operation.clock = of_host;
    auto follow = [&](std::uint32_t last, const Clock &clock) {
        operation.after.push_back(last);
        join(operation.clock, clock);
    };
    join(operation.clock, stream.clock);
    if (event)
        follow(event->operation, event->clock);
    if (stream.number == 0) {
        for (auto &other : streams)
            if (other.number && other.blocking)
                follow(other.last, other.clock);
    } else if (stream.blocking) {
        follow(streams.front().last, streams.front().clock);
    }
    if (operation.clock.size() <= stream.number)
        operation.clock.resize(stream.number + 1);
    operation.clock[stream.number] = number;
    stream.clock = operation.clock;
    stream.last = number;
    stream.queue.push_back(number);
    waiting.emplace(number, std::move(operation));
    if (random_below(4) == 0)
        for (std::size_t count = random_below(8); count > 0 && !waiting.empty(); count--)
            run_any();
    while (waiting.size() > 256)
        run_any();
    return number;
}

Event *event_of(void *handle) { return live_events.count(handle) ? static_cast<Event *>(handle) : nullptr; }

} // namespace

std::uint32_t running = 0;

bool before_this(std::uint32_t operation) {
    const std::size_t stream = streams_of_operations[operation];
    return operation == 0 || (stream < of_running.size() && of_running[stream] >= operation);
}

Stream *stream_of(void *handle) {
    // The default stream has a name of its own, too.
    if (handle == nullptr || handle == reinterpret_cast<void *>(1))
        return &streams.front();
    return live_streams.count(handle) ? static_cast<Stream *>(handle) : nullptr;
}

unsigned create_stream(void **handle, unsigned flags) {
    if (flags > 1)
        return INVALID_VALUE;
    streams.push_back(Stream{std::uint16_t(streams.size()), flags == 0, 0, {}, {}});
    live_streams.insert(*handle = &streams.back());
    return SUCCESS;
}

// What is queued is still done.
unsigned destroy_stream(void *handle) { return live_streams.erase(handle) ? SUCCESS : INVALID_HANDLE; }

unsigned create_event(void **handle, unsigned flags) {
    auto *event = new Event{!(flags & 2), 0, {}, {}};
    live_events.insert(*handle = event);
    return SUCCESS;
}

// Kept: it may be in a queue.
unsigned destroy_event(void *handle) { return live_events.erase(handle) ? SUCCESS : INVALID_HANDLE; }

unsigned record_event(void *handle, void *stream_handle) {
    Event *event = event_of(handle);
    Stream *stream = stream_of(stream_handle);
    if (!event || !stream)
        return INVALID_HANDLE;
    event->operation = enqueue(*stream, [event] { event->ended = std::chrono::steady_clock::now(); });
    event->clock = stream->clock;
    return SUCCESS;
}

unsigned wait_event(void *stream_handle, void *handle) {
    Event *event = event_of(handle);
    Stream *stream = stream_of(stream_handle);
    if (!event || !stream)
        return INVALID_HANDLE;
    if (event->operation)
        enqueue_after(*stream, [] {}, event);
    return SUCCESS;
}

unsigned synchronize_event(void *handle) {
    Event *event = event_of(handle);
    if (!event)
        return INVALID_HANDLE;
    run_until(event->operation);
    join(of_host, event->clock);
    return SUCCESS;
}

unsigned query_event(void *handle) {
    Event *event = event_of(handle);
    if (!event)
        return INVALID_HANDLE;
    for (std::size_t count = random_below(8); count > 0 && waiting.count(event->operation); count--)
        run_any();
    if (waiting.count(event->operation))
        return NOT_READY;
    join(of_host, event->clock);
    return SUCCESS;
}

unsigned elapsed_time(float *milliseconds, void *start, void *end) {
    Event *first = event_of(start), *second = event_of(end);
    if (!first || !second || !first->timed || !second->timed || !first->operation || !second->operation)
        return INVALID_HANDLE;
    if (waiting.count(first->operation) || waiting.count(second->operation))
        return NOT_READY;
    // Half a microsecond is the resolution.
    const std::chrono::duration<float, std::milli> time = second->ended - first->ended;
    *milliseconds = std::floor(time.count() * 2000.0f) / 2000.0f;
    return SUCCESS;
}

std::uint32_t enqueue(Stream &stream, std::function<void()> work) { return enqueue_after(stream, std::move(work), nullptr); }

void synchronize(Stream &stream) {
    // The default stream stands for all that it waits for.
    if (stream.number == 0)
        enqueue(stream, [] {});
    run_until(stream.last);
    join(of_host, stream.clock);
}

void synchronize_all() {
    while (!waiting.empty())
        run_any();
    for (auto &stream : streams)
        join(of_host, stream.clock);
}

unsigned query_stream(Stream &stream) {
    for (std::size_t count = random_below(8); count > 0 && waiting.count(stream.last); count--)
        run_any();
    if (waiting.count(stream.last))
        return NOT_READY;
    join(of_host, stream.clock);
    return SUCCESS;
}
