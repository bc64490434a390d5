// Calls are counted; chosen ones fail; the program is forked at calls, so that all of them can be tried in one run.
//
// CUDA_EMULATOR_SEED             of everything that is random [0]
// CUDA_EMULATOR_REPORT           file to which is written, when the program ends: memory, waits, bytes copied, calls by name
// CUDA_EMULATOR_CALLS            file to which every call is written by its number and name
// CUDA_EMULATOR_FAIL             NUMBER:CODE: this call, counted from 1 over all three libraries, fails with this code of the
//                                driver. After a code that ends a context, all of the driver's and cuBLAS' calls fail.
// CUDA_EMULATOR_FORK             folder: at each call the program is forked. In the child, the call fails as above. The program
//                                itself waits for the child and goes on as if nothing had been. The folder gets a file
//                                `results` with a line for each call: number, name, code, the child's exit status (-1 where it
//                                did not end; 128 and more are signals), the state of its files; `output-NUMBER`, what it printed;
//                                `state-…`, a copy of the files for each state
// CUDA_EMULATOR_FORK_CODES       codes that calls fail with in turns, separated by commas [700]
// CUDA_EMULATOR_FORK_FILES       folder of the files that the program keeps; what a child changes there is undone
// CUDA_EMULATOR_FORK_FROM, _STEP the first call, and every how many-th [1, 1]
// CUDA_EMULATOR_FORK_SECONDS     that a child has [20]

#include "driver.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <new>
#include <signal.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace files = std::filesystem;

std::recursive_mutex everything;
Counters counters;

void stop(const std::string &reason) {
    std::fprintf(stderr, "CUDA emulator: %s%s\n", reason.c_str(), whereabouts().c_str());
    std::abort();
}

std::size_t setting(const char *variable, std::size_t otherwise) {
    const char *text = std::getenv(variable);
    return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::size_t random_below(std::size_t bound) {
    static std::uint64_t state = setting("CUDA_EMULATOR_SEED", 0) * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return std::size_t((unsigned __int128)(state * 0x2545F4914F6CDD1Du) * bound >> 64);
}

namespace {

std::map<std::string, std::size_t> calls;
std::size_t call_number = 0;
unsigned sticky = 0;
bool forked = false;

// After these, a context does nothing any more: "CUDA Driver API", CUresult.
bool ends_context(unsigned code) {
    return code == 214 || code == 700 || code == 702 || (code >= 709 && code <= 719 && code != 712 && code != 713);
}

std::vector<std::string> parts(const char *text, char separator) {
    std::vector<std::string> result;
    std::stringstream stream(text ? text : "");
    for (std::string part; std::getline(stream, part, separator);)
        result.push_back(part);
    return result;
}

// The files of the program under test.

using Identity = std::tuple<ino_t, std::int64_t, std::int64_t, off_t>;
std::map<std::string, Identity> identities;
std::map<std::string, std::string> contents;

std::string whole(const files::path &path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

std::map<std::string, Identity> look(const files::path &folder) {
    std::map<std::string, Identity> found;
    std::error_code error;
    for (auto &entry : files::recursive_directory_iterator(folder, error)) {
        struct stat status;
        if (entry.is_regular_file(error) && stat(entry.path().c_str(), &status) == 0)
            found[files::relative(entry.path(), folder).string()] = {status.st_ino, status.st_mtim.tv_sec,
                                                                     status.st_mtim.tv_nsec, status.st_size};
    }
    return found;
}

// Reads what changed, and says whether anything did.
bool read_files(const files::path &folder, std::map<std::string, Identity> &known, std::map<std::string, std::string> &held) {
    auto found = look(folder);
    if (found == known)
        return false;
    for (auto &[name, identity] : found)
        if (!known.count(name) || known[name] != identity)
            held[name] = whole(folder / name);
    for (auto entry = held.begin(); entry != held.end();)
        entry = found.count(entry->first) ? std::next(entry) : held.erase(entry);
    known = std::move(found);
    return true;
}

// A name for what files hold; a copy of them lies in the folder of that name.
std::string state(const files::path &results, const std::map<std::string, std::string> &held) {
    std::uint64_t hash = 0xCBF29CE484222325u;
    for (auto &[name, text] : held)
        for (const std::string *part : {&name, &text})
            for (unsigned char byte : *part + '\0')
                hash = (hash ^ byte) * 0x100000001B3u;
    char name[32];
    std::snprintf(name, sizeof name, "state-%016llx", (unsigned long long)hash);
    if (!files::exists(results / name)) {
        files::create_directories(results / name);
        for (auto &[path, text] : held) {
            files::create_directories((results / name / path).parent_path());
            std::ofstream(results / name / path, std::ios::binary) << text;
        }
    }
    return name;
}

// In place, as the program may have a file open.
void restore(const files::path &folder, const std::map<std::string, std::string> &held) {
    for (auto &[name, identity] : look(folder))
        if (!held.count(name))
            files::remove(folder / name);
    for (auto &[name, text] : held) {
        if (whole(folder / name) == text)
            continue;
        files::create_directories((folder / name).parent_path());
        std::ofstream(folder / name, std::ios::binary | std::ios::trunc) << text;
    }
}

// Waits until no other thread of the program writes files: it writes under temporary names and renames, one file right after
// the other, and begins only when this thread lets it.
void wait_for_writers(const files::path &folder) {
    const auto partial = [](const auto &file) { return file.first.find(".partial-") != std::string::npos; };
    auto before = look(folder);
    for (int quiet = 0; quiet < 3;) {
        usleep(1000);
        auto now = look(folder);
        quiet = now == before && std::none_of(now.begin(), now.end(), partial) ? quiet + 1 : 0;
        before = std::move(now);
    }
}

// Returns the code that the call fails with, in a child; nothing in the program itself.
unsigned fork_here(const char *name) {
    static const char *const text = std::getenv("CUDA_EMULATOR_FORK");
    static const std::size_t from = setting("CUDA_EMULATOR_FORK_FROM", 1), step = setting("CUDA_EMULATOR_FORK_STEP", 1);
    if (!text || forked || call_number < from || (call_number - from) % step)
        return SUCCESS;
    static const files::path results = text, kept = std::getenv("CUDA_EMULATOR_FORK_FILES");
    static const auto codes = [] {
        auto codes = parts(std::getenv("CUDA_EMULATOR_FORK_CODES"), ',');
        return codes.empty() ? std::vector<std::string>{"700"} : codes;
    }();
    const std::string code = codes[(call_number - from) / step % codes.size()];
    const files::path output = results / ("output-" + std::to_string(call_number));
    wait_for_writers(kept);
    read_files(kept, identities, contents);
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        forked = true;
        // The lock belongs to the thread of the program that forked, which this thread is not.
        new (&everything) std::recursive_mutex;
        everything.lock();
        const int file = open(output.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
        dup2(file, 1);
        dup2(file, 2);
        return unsigned(std::strtoul(code.c_str(), nullptr, 10));
    }
    int status = 0, ended = -1;
    const std::size_t steps = setting("CUDA_EMULATOR_FORK_SECONDS", 20) * 1000;
    for (std::size_t i = 0; i < steps && child > 0; i++) {
        if (waitpid(child, &status, WNOHANG) == child) {
            ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            break;
        }
        usleep(1000);
    }
    if (ended < 0 && child > 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    auto found = identities;
    auto held = contents;
    const bool changed = read_files(kept, found, held);
    std::ofstream(results / "results", std::ios::app)
        << call_number << ' ' << name << ' ' << code << ' ' << ended << ' ' << state(results, held) << '\n';
    if (changed) {
        restore(kept, contents);
        identities = look(kept);
    }
    return SUCCESS;
}

unsigned chosen_to_fail() {
    static const auto chosen = parts(std::getenv("CUDA_EMULATOR_FAIL"), ':');
    if (chosen.size() != 2 || std::to_string(call_number) != chosen[0])
        return SUCCESS;
    return unsigned(std::strtoul(chosen[1].c_str(), nullptr, 10));
}

// A code of the driver as one of another library.
unsigned translated(int library, unsigned code) {
    switch (library) {
    case EMULATED_CUBLAS: return code == OUT_OF_MEMORY ? 3 : 13; // ALLOC_FAILED, EXECUTION_FAILED
    case EMULATED_NVRTC: return code == OUT_OF_MEMORY ? 1 : 11;  // OUT_OF_MEMORY, INTERNAL_ERROR
    default: return code;
    }
}

// Registered at the first call, and so run before anything of this library is destroyed. Other threads that end now, and give
// their memory back, find the driver locked for ever.
void at_exit() {
    everything.lock();
    if (forked)
        return;
    check_guards();
    const char *path = std::getenv("CUDA_EMULATOR_REPORT");
    if (!path)
        return;
    std::ofstream report(path);
    report << "memory_peak " << counters.memory_peak << "\nwaits " << counters.waits << "\nallocations " << counters.allocations
           << "\nhost_to_device " << counters.host_to_device << "\ndevice_to_device " << counters.device_to_device
           << "\ndevice_to_host " << counters.device_to_host << '\n';
    for (auto &[name, count] : calls)
        report << "call " << name << ' ' << count << '\n';
}

} // namespace

unsigned emulated_call(const char *name, int library) {
    std::lock_guard lock(everything);
    if (call_number++ == 0)
        std::atexit(at_exit);
    calls[name]++;
    if (static const char *const path = std::getenv("CUDA_EMULATOR_CALLS"); path)
        std::ofstream(path, std::ios::app) << call_number << ' ' << name << '\n';
    if (sticky && library != EMULATED_NVRTC)
        return translated(library, sticky);
    unsigned code = chosen_to_fail();
    if (!code)
        code = fork_here(name);
    if (ends_context(code) && library != EMULATED_NVRTC)
        sticky = code;
    return code ? translated(library, code) : SUCCESS;
}
