// libnvrtc for machines without a GPU: compiles kernels with g++ into shared libraries of this machine's processor, whose bytes
// stand for CUBINs, or, where a virtual architecture is asked for, for PTX. Libraries that were made before are taken again.
//
// CUDA_EMULATOR_NVRTC       version, as 12080; without it, that of the library's file name: 12.8 or 13.0
// CUDA_EMULATOR_CHECK       kernels are compiled so that every access to memory is checked
// CUDA_EMULATOR_SUBSTITUTE  OLD:NEW, two files: where a source or a header has the text of one, it gets that of the other; a file
//                           NEW.used tells that it was so
// CUDA_EMULATOR_REAL_NVRTC  a real libnvrtc, which must compile each program for the same architecture too, to a CUBIN that has
//                           the same kernels, with parameters of the same sizes
// CUDA_EMULATOR_NVRTC_LOG   file to which each program that is compiled is written: its name and architecture

#include "library.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <regex>
#include <set>
#include <sstream>
#include <unistd.h>

namespace files = std::filesystem;

namespace {

enum Status : unsigned {
    SUCCESS = 0,
    INVALID_INPUT = 3,
    INVALID_PROGRAM = 4,
    INVALID_OPTION = 5,
    COMPILATION = 6,
    INTERNAL_ERROR = 11,
};

struct Program {
    std::string source, name;
    std::map<std::string, std::string> headers;
    std::string cubin, ptx, log;
};

std::mutex mutex;
std::set<void *> programs;
std::atomic<int> numbers{0};

std::string file_of_this_library() {
    Dl_info information;
    dladdr(reinterpret_cast<void *>(&file_of_this_library), &information);
    return information.dli_fname;
}

files::path folder() { return files::path(file_of_this_library()).parent_path(); }

int version() {
    const char *text = std::getenv("CUDA_EMULATOR_NVRTC");
    if (text && *text)
        return std::atoi(text);
    return file_of_this_library().find(".so.12") == std::string::npos ? 13000 : 12080;
}

// What NVRTC of a version compiles for, from its documentation.
std::vector<int> architectures() {
    if (version() >= 13000)
        return {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};
    std::vector<int> known = {50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90};
    if (version() >= 12080)
        known.insert(known.end(), {100, 101, 120});
    if (version() >= 12090)
        known.insert(known.end(), {103, 121});
    std::sort(known.begin(), known.end());
    return known;
}

std::string quoted(const std::string &text) {
    std::string result = "'";
    for (char c : text)
        result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
}

std::string whole(const files::path &path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

void write_whole(const files::path &path, const std::string &text) { std::ofstream(path, std::ios::binary) << text; }

std::string hash(const std::string &text) {
    std::uint64_t value[2] = {0xCBF29CE484222325u, 0x9E3779B97F4A7C15u};
    for (unsigned char byte : text) {
        value[0] = (value[0] ^ byte) * 0x100000001B3u;
        value[1] = (value[1] ^ byte) * 0xD6E8FEB86659FD93u + 1;
    }
    char digits[40];
    std::snprintf(digits, sizeof digits, "%016llx%016llx", (unsigned long long)value[0], (unsigned long long)value[1]);
    return digits;
}

std::string base64(const std::string &bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        unsigned value = 0;
        for (std::size_t j = i; j < i + 3; j++)
            value = value << 8 | (j < bytes.size() ? static_cast<unsigned char>(bytes[j]) : 0);
        for (int shift = 18; shift >= 0; shift -= 6)
            text += digits[value >> shift & 63];
    }
    return text;
}

// The text of a file that is to be replaced by another, where it occurs.
void substitute(std::string &text) {
    const char *setting = std::getenv("CUDA_EMULATOR_SUBSTITUTE");
    if (!setting)
        return;
    const std::string pair = setting, old_file = pair.substr(0, pair.find(':')), new_file = pair.substr(pair.find(':') + 1);
    const std::string found = whole(old_file);
    const std::size_t at = found.empty() ? std::string::npos : text.find(found);
    if (at == std::string::npos)
        return;
    text.replace(at, found.size(), whole(new_file));
    write_whole(new_file + ".used", "");
}

// The emulator's own headers, and those of the system, stand for CUDA's.
bool has_own(const std::string &header) {
    return files::exists(folder() / "include" / header) || files::exists("/usr/include/" + header) ||
           header == "stdint.h" || header == "stddef.h" || header == "float.h" || header == "limits.h" ||
           header == "stdbool.h" || header == "stdarg.h";
}

bool run(const std::string &command, const files::path &log) {
    return std::system((command + " 2>" + quoted(log)).c_str()) == 0;
}

// g++ knows no shared memory of a size that the launch gives.
std::string with_dynamic_shared_memory(const std::string &source) {
    static const std::regex declaration(R"(extern\s+__shared__\s+(?:__align__\s*\(\d+\)\s*)?([\w\s]+?)\s*\b(\w+)\s*\[\s*\]\s*;)");
    return std::regex_replace(source, declaration, "$1 *const $2 = static_cast<$1 *>(emulated_dynamic_shared());");
}

// Between variables in shared memory lies what belongs to none, so that a step from one into the other is seen. Those of
// templates, which g++ keeps out of the section, come into it.
std::string with_gaps(const std::string &assembly) {
    std::stringstream lines(assembly);
    std::string result;
    bool shared = false;
    for (std::string line; std::getline(lines, line);) {
        if (line.find("\t.section\temulated_shared") == 0) {
            shared = true;
            line = "\t.section\temulated_shared,\"aw\",@nobits";
        } else if (line.find("\t.section") == 0 || line == "\t.text" || line == "\t.data" || line == "\t.bss") {
            shared = false;
        }
        static const std::regex common("\\t\\.comm\\t([^,]+),(\\d+),(\\d+)");
        std::smatch part;
        if (std::regex_match(line, part, common) && part.str(1).rfind("_ZGV", 0) != 0 &&
            part.str(1).find("emulated_kernel_") == std::string::npos) {
            result += "\t.pushsection\temulated_shared,\"aw\",@nobits\n\t.align\t" + part.str(3) + "\n\t.type\t" + part.str(1) +
                      ", @object\n\t.size\t" + part.str(1) + ", " + part.str(2) + '\n' + part.str(1) + ":\n\t.zero\t" +
                      part.str(2) + "\n\t.zero\t1024\n\t.popsection\n";
            continue;
        }
        result += line + '\n';
        if (shared && line.find("\t.zero\t") == 0)
            result += "\t.zero\t1024\n";
    }
    return result;
}

// Compiles a program in a folder of its own, to `library` in it.
Status compile(Program &program, const std::vector<std::string> &defines, unsigned architecture, const files::path &work) {
    const bool checks = std::getenv("CUDA_EMULATOR_CHECK") != nullptr;
    files::create_directories(work / "headers");
    for (auto &[name, text] : program.headers)
        if (!has_own(name)) {
            files::create_directories((work / "headers" / name).parent_path());
            write_whole(work / "headers" / name, text);
        }
    write_whole(work / "program.cu", with_dynamic_shared_memory(program.source));
    std::string begin = "#define __CUDA_ARCH__ " + std::to_string(architecture) + "0\n";
    for (auto &define : defines) {
        const std::size_t equals = define.find('=');
        begin += "#define " + define.substr(0, equals) + ' ' + (equals == std::string::npos ? "1" : define.substr(equals + 1)) + '\n';
    }
    begin += "#include \"cuda_fp16.h\"\n#include \"cuda_bf16.h\"\nnamespace {\n#line 1 \"program.cu\"\n";
    const std::string prefix = checks ? "checked/" : "";
    const std::string include = " -I" + quoted(folder() / "include") + " -I" + quoted(work / "headers");
    std::string options = " -std=c++17 -fPIC -w -ffp-contract=off -include " + quoted(folder() / "include" / (prefix + "emulator.h"));
    options += checks ? " -O1 -fsanitize=thread -fsanitize=bounds-strict -fsanitize-undefined-trap-on-error "
                        "-fno-tree-loop-distribute-patterns -DEMULATED_CHECKS" : " -O2";
    // Kernels are known by the word that is left of __global__.
    write_whole(work / "names.cpp", begin + "#include \"program.cu\"\n}\n");
    if (!run("g++ -E -DEMULATED_NAMES -std=c++17" + include + " -I" + quoted(work) + " -o " + quoted(work / "names.ii") + ' ' +
                 quoted(work / "names.cpp"), work / "log")) {
        program.log = whole(work / "log");
        return COMPILATION;
    }
    static const std::regex kernel(R"(extern\s+"C"\s+(?:static\s+)?__global__\s+(?:void\s+)?(?:__launch_bounds__\s*\([^)]*\)\s*)?(?:void\s+)?(\w+)\s*\()");
    std::string text = whole(work / "names.ii");
    std::set<std::string> names;
    for (std::sregex_iterator match(text.begin(), text.end(), kernel), end; match != end; ++match)
        names.insert((*match)[1]);
    std::string code = begin + whole(work / "program.cu") + "\n}\n";
    for (auto &name : names)
        code += "EMULATED_KERNEL(" + name + ")\n";
    code += "extern \"C\" const unsigned emulated_architecture = " + std::to_string(architecture) +
            ", emulated_compiler = " + std::to_string(version()) + ", emulated_checks = " + std::to_string(checks) + ";\n";
    write_whole(work / "program.cpp", code);
    if (!run("g++ -S" + options + include + " -o " + quoted(work / "program.s") + ' ' + quoted(work / "program.cpp"), work / "log")) {
        program.log = whole(work / "log");
        return COMPILATION;
    }
    write_whole(work / "library.s", with_gaps(whole(work / "program.s")));
    if (!run("g++ -shared -o " + quoted(work / "library") + ' ' + quoted(work / "library.s") + ' ' + quoted(folder() / "libcuda.so.1"),
             work / "log")) {
        program.log = whole(work / "log");
        return INTERNAL_ERROR;
    }
    return SUCCESS;
}

// The real NVRTC.

struct RealNvrtc {
    void *library = nullptr;
    template <typename... Arguments> unsigned call(const char *name, Arguments... arguments) const {
        auto *function = reinterpret_cast<unsigned (*)(Arguments...)>(dlsym(library, name));
        return function ? function(arguments...) : INTERNAL_ERROR;
    }
};

// The sizes of the parameters of each kernel of a CUBIN, from its sections `.nv.info.KERNEL`: entries of format, attribute and
// size, of which EIATTR_KPARAM_INFO (0x17) tells a parameter's number and size.
std::map<std::string, std::vector<std::size_t>> signatures(const std::string &cubin) {
    std::map<std::string, std::vector<std::size_t>> found;
    const auto *bytes = reinterpret_cast<const unsigned char *>(cubin.data());
    const auto *header = reinterpret_cast<const Elf64_Ehdr *>(bytes);
    const auto *sections = reinterpret_cast<const Elf64_Shdr *>(bytes + header->e_shoff);
    const char *names = reinterpret_cast<const char *>(bytes + sections[header->e_shstrndx].sh_offset);
    const std::string start = ".nv.info.", code = ".text.";
    for (unsigned i = 0; i < header->e_shnum; i++) {
        const std::string name = names + sections[i].sh_name;
        if (name.rfind(code, 0) == 0)
            found[name.substr(code.size())];
        if (name.rfind(start, 0) != 0)
            continue;
        std::map<unsigned, std::size_t> sizes;
        const unsigned char *entry = bytes + sections[i].sh_offset, *end = entry + sections[i].sh_size;
        while (entry + 4 <= end) {
            const unsigned format = entry[0], attribute = entry[1];
            std::uint16_t size;
            std::memcpy(&size, entry + 2, 2);
            if (format == 4 && attribute == 0x17) {
                std::uint16_t number;
                std::uint32_t info;
                std::memcpy(&number, entry + 8, 2);
                std::memcpy(&info, entry + 12, 4);
                sizes[number] = info >> 18;
            }
            entry += 4 + (format == 4 ? size : 0);
        }
        auto &list = found[name.substr(start.size())];
        for (auto [number, size] : sizes)
            list.push_back(size);
    }
    return found;
}

std::string list(const std::vector<std::size_t> &sizes) {
    std::string text;
    for (std::size_t size : sizes)
        text += (text.empty() ? "" : " ") + std::to_string(size);
    return text;
}

// Compiles the same program by the real NVRTC, and says what is wrong, or nothing.
std::string compare_with_real(const Program &program, int count, const char *const *options, const char *path) {
    static const RealNvrtc real = {dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (!real.library)
        return std::string("the real NVRTC cannot be opened: ") + dlerror();
    std::vector<const char *> texts, names;
    for (auto &[name, text] : program.headers)
        names.push_back(name.c_str()), texts.push_back(text.c_str());
    void *handle = nullptr;
    if (unsigned status = real.call("nvrtcCreateProgram", &handle, program.source.c_str(), program.name.c_str(),
                                    int(names.size()), texts.data(), names.data()))
        return "the real NVRTC refuses the program with error " + std::to_string(status);
    // For a CUBIN, which tells the sizes of parameters, an architecture that is not virtual.
    std::vector<std::string> changed(options, options + count);
    std::vector<const char *> given;
    for (auto &option : changed) {
        if (const std::size_t at = option.find("=compute_"); at != std::string::npos)
            option.replace(at, 9, "=sm_");
        given.push_back(option.c_str());
    }
    given.push_back("--ptxas-options=-v");
    std::size_t size = 0;
    const unsigned status = real.call("nvrtcCompileProgram", handle, int(given.size()), given.data());
    real.call("nvrtcGetProgramLogSize", handle, &size);
    std::string log(size, ' ');
    real.call("nvrtcGetProgramLog", handle, log.data());
    if (status)
        return "the real NVRTC fails with error " + std::to_string(status) + ": " + log;
    // The project's kernels keep their values in registers; dfdx's are as they are.
    const bool of_dfdx = program.name.rfind("tensor_ops/", 0) == 0 || program.name == "a kernel of dfdx";
    if (!of_dfdx && std::regex_search(log, std::regex("[1-9][0-9]* bytes spill")))
        return "registers are spilled: " + log;
    if (real.call("nvrtcGetCUBINSize", handle, &size) || size == 0)
        return "the real NVRTC gives no CUBIN";
    std::string cubin(size, ' ');
    real.call("nvrtcGetCUBIN", handle, cubin.data());
    real.call("nvrtcDestroyProgram", &handle);
    const auto found = signatures(cubin), expected = emulated_signatures(program.cubin.data());
    for (auto &[name, sizes] : expected)
        if (!found.count(name))
            return "the real CUBIN has no kernel " + name;
        else if (found.at(name) != sizes)
            return "the parameters of " + name + " have the sizes " + list(found.at(name)) + " in the real CUBIN, not " + list(sizes);
    for (auto &[name, sizes] : found)
        if (!expected.count(name))
            return "only the real CUBIN has a kernel " + name;
    return "";
}

Program *program_of(void *handle) {
    std::lock_guard lock(mutex);
    return programs.count(handle) ? static_cast<Program *>(handle) : nullptr;
}

#define CALL(name)                                                                                                     \
    if (const unsigned code = emulated_call(name, EMULATED_NVRTC))                                                     \
        return code;
#define CALL_FOR_PROGRAM(name, handle)                                                                                 \
    CALL(name)                                                                                                         \
    Program *program = program_of(handle);                                                                             \
    if (!program)                                                                                                      \
        return INVALID_PROGRAM;

unsigned give(const std::string &text, char *target) {
    std::memcpy(target, text.data(), text.size());
    return SUCCESS;
}

} // namespace

extern "C" {

unsigned nvrtcVersion(int *major, int *minor) {
    CALL("nvrtcVersion")
    *major = version() / 1000;
    *minor = version() % 1000 / 10;
    return SUCCESS;
}

unsigned nvrtcGetNumSupportedArchs(int *count) {
    CALL("nvrtcGetNumSupportedArchs")
    return *count = int(architectures().size()), SUCCESS;
}

unsigned nvrtcGetSupportedArchs(int *found) {
    CALL("nvrtcGetSupportedArchs")
    const auto known = architectures();
    std::copy(known.begin(), known.end(), found);
    return SUCCESS;
}

const char *nvrtcGetErrorString(unsigned code) {
    static const char *const names[] = {
        "NVRTC_SUCCESS", "NVRTC_ERROR_OUT_OF_MEMORY", "NVRTC_ERROR_PROGRAM_CREATION_FAILURE", "NVRTC_ERROR_INVALID_INPUT",
        "NVRTC_ERROR_INVALID_PROGRAM", "NVRTC_ERROR_INVALID_OPTION", "NVRTC_ERROR_COMPILATION",
        "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE", "NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION",
        "NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION", "NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
        "NVRTC_ERROR_INTERNAL_ERROR", "NVRTC_ERROR_TIME_FILE_WRITE_FAILED"};
    return code < std::size(names) ? names[code] : "NVRTC_ERROR unknown";
}

unsigned nvrtcCreateProgram(void **created, const char *source, const char *name, int count, const char *const *texts,
                            const char *const *names) {
    CALL("nvrtcCreateProgram")
    if (!source || count < 0)
        return INVALID_INPUT;
    auto *program = new Program;
    program->source = source;
    program->name = name ? name : "default_program";
    for (int i = 0; i < count; i++)
        program->headers[names[i]] = texts[i];
    std::lock_guard lock(mutex);
    programs.insert(*created = program);
    return SUCCESS;
}

unsigned nvrtcDestroyProgram(void **handle) {
    CALL_FOR_PROGRAM("nvrtcDestroyProgram", handle ? *handle : nullptr)
    std::lock_guard lock(mutex);
    programs.erase(*handle);
    delete program;
    return *handle = nullptr, SUCCESS;
}

unsigned nvrtcCompileProgram(void *handle, int count, const char *const *options) {
    CALL_FOR_PROGRAM("nvrtcCompileProgram", handle)
    // Without an architecture, NVRTC compiles for the oldest virtual one that it knows.
    unsigned architecture = version() >= 13000 ? 75 : 52;
    bool is_virtual = true;
    std::vector<std::string> defines;
    for (int i = 0; i < count; i++) {
        const std::string option = options[i];
        auto value = [&](const char *name) {
            const std::string start = name;
            return option.rfind(start, 0) == 0 ? option.substr(start.size()) : std::string();
        };
        std::string text = value("--gpu-architecture=");
        if (text.empty())
            text = value("-arch=");
        if (!text.empty()) {
            is_virtual = text.rfind("compute_", 0) == 0;
            const std::string number = text.substr(std::min(text.size(), text.find('_') + 1));
            const auto known = architectures();
            architecture = unsigned(std::atoi(number.c_str()));
            // A real one says itself what it knows.
            const char *real = std::getenv("CUDA_EMULATOR_REAL_NVRTC");
            const bool is_known = (real && *real) || std::find(known.begin(), known.end(), int(architecture)) != known.end();
            if (!(is_virtual || text.rfind("sm_", 0) == 0) || !is_known) {
                program->log = "nvrtc: error: invalid value for --gpu-architecture (-arch)\n";
                return INVALID_OPTION;
            }
        } else if (option == "-D" || option == "--define-macro") {
            if (++i < count)
                defines.push_back(options[i]);
        } else if (text = value("--define-macro="); !text.empty()) {
            defines.push_back(text);
        } else if (text = value("-D"); !text.empty()) {
            defines.push_back(text);
        } else if (option.rfind("--std=", 0) != 0 && option.rfind("-std=", 0) != 0 &&
                   option.rfind("--default-stream=", 0) != 0 && option.rfind("--fmad=", 0) != 0 &&
                   option.rfind("--extra-device-vectorization", 0) != 0 && option.rfind("--device-int128", 0) != 0 &&
                   option.rfind("--use_fast_math", 0) != 0 && option != "-w" && option != "--disable-warnings") {
            program->log = "nvrtc: error: unrecognized option " + option + " found\n";
            return INVALID_OPTION;
        }
    }
    substitute(program->source);
    for (auto &[name, text] : program->headers)
        substitute(text);
    if (const char *path = std::getenv("CUDA_EMULATOR_NVRTC_LOG"))
        std::ofstream(path, std::ios::app) << program->name << ' ' << architecture << '\n';

    std::string key = program->source + '\0' + std::to_string(version()) + ' ' + std::to_string(architecture) +
                      (std::getenv("CUDA_EMULATOR_CHECK") ? " checked" : "");
    for (auto &define : defines)
        key += '\0' + define;
    for (auto &[name, text] : program->headers)
        key += '\0' + name + '\0' + text;
    for (auto &entry : files::directory_iterator(folder() / "include"))
        key += entry.is_regular_file() && entry.path().extension() == ".h" ? whole(entry.path()) : "";
    const files::path kept = folder() / "libraries" / hash(key);
    if (!files::exists(kept)) {
        const files::path work = folder() / "work" / (std::to_string(getpid()) + "-" + std::to_string(numbers++));
        const Status status = compile(*program, defines, architecture, work);
        if (status == SUCCESS) {
            files::create_directories(kept.parent_path());
            files::rename(work / "library", kept);
        }
        std::error_code error;
        files::remove_all(work, error);
        if (status != SUCCESS)
            return status;
    }
    program->cubin = whole(kept);
    program->ptx = EMULATED_PTX + base64(program->cubin) + "\n";
    if (const char *path = std::getenv("CUDA_EMULATOR_REAL_NVRTC"); path && *path) {
        const std::string wrong = compare_with_real(*program, count, options, path);
        if (!wrong.empty()) {
            program->log = "CUDA emulator: " + program->name + ": " + wrong + "\n";
            return COMPILATION;
        }
    }
    if (is_virtual)
        program->cubin.clear();
    return SUCCESS;
}

unsigned nvrtcGetCUBINSize(void *handle, std::size_t *size) {
    CALL_FOR_PROGRAM("nvrtcGetCUBINSize", handle)
    return *size = program->cubin.size(), SUCCESS;
}
unsigned nvrtcGetCUBIN(void *handle, char *bytes) {
    CALL_FOR_PROGRAM("nvrtcGetCUBIN", handle)
    return give(program->cubin, bytes);
}
unsigned nvrtcGetPTXSize(void *handle, std::size_t *size) {
    CALL_FOR_PROGRAM("nvrtcGetPTXSize", handle)
    return *size = program->ptx.size() + 1, SUCCESS;
}
unsigned nvrtcGetPTX(void *handle, char *text) {
    CALL_FOR_PROGRAM("nvrtcGetPTX", handle)
    return give(program->ptx + '\0', text);
}
unsigned nvrtcGetProgramLogSize(void *handle, std::size_t *size) {
    CALL_FOR_PROGRAM("nvrtcGetProgramLogSize", handle)
    return *size = program->log.size() + 1, SUCCESS;
}
unsigned nvrtcGetProgramLog(void *handle, char *text) {
    CALL_FOR_PROGRAM("nvrtcGetProgramLog", handle)
    return give(program->log + '\0', text);
}

} // extern "C"
