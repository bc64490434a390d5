// libnvrtc.so.13 for machines without a GPU: compiles kernels with g++ (through compile-kernels, beside this library) into a
// shared library, whose path stands for the PTX.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <string>
#include <unistd.h>

namespace {

enum Status : unsigned { SUCCESS = 0, COMPILATION = 6 };

struct Program {
    std::string source, ptx, log;
};

std::string folder() {
    Dl_info information;
    dladdr(reinterpret_cast<void *>(&folder), &information);
    const std::string path = information.dli_fname;
    return path.substr(0, path.rfind('/'));
}

std::string quoted(const std::string &text) {
    std::string result = "'";
    for (char c : text)
        result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
}

std::atomic<int> programs{0};

} // namespace

extern "C" {

unsigned nvrtcCreateProgram(void **program, const char *source, const char *, int, const char *const *, const char *const *) {
    return *program = new Program{source, "", ""}, SUCCESS;
}

unsigned nvrtcDestroyProgram(void **program) {
    delete static_cast<Program *>(*program);
    return *program = nullptr, SUCCESS;
}

unsigned nvrtcCompileProgram(void *handle, int count, const char *const *options) {
    auto *program = static_cast<Program *>(handle);
    const std::string base = folder() + "/run-time-" + std::to_string(getpid()) + "-" + std::to_string(programs++);
    std::ofstream(base + ".cu") << program->source;
    std::string command = quoted(folder() + "/compile-kernels") + " library " + quoted(base + ".so") + " " + quoted(base + ".cu");
    const std::string include = "--include-path=";
    for (int i = 0; i < count; i++)
        if (std::strncmp(options[i], include.c_str(), include.size()) == 0)
            command += " " + quoted("-I" + std::string(options[i] + include.size()));
    if (std::system(command.c_str()) != 0) {
        program->log = "compiling " + base + ".cu failed";
        return COMPILATION;
    }
    program->ptx = "emulated:" + base + ".so";
    return SUCCESS;
}

unsigned nvrtcGetPTXSize(void *program, std::size_t *size) {
    return *size = static_cast<Program *>(program)->ptx.size() + 1, SUCCESS;
}
unsigned nvrtcGetPTX(void *program, char *text) {
    return std::strcpy(text, static_cast<Program *>(program)->ptx.c_str()), SUCCESS;
}
unsigned nvrtcGetProgramLogSize(void *program, std::size_t *size) {
    return *size = static_cast<Program *>(program)->log.size() + 1, SUCCESS;
}
unsigned nvrtcGetProgramLog(void *program, char *text) {
    return std::strcpy(text, static_cast<Program *>(program)->log.c_str()), SUCCESS;
}

} // extern "C"
