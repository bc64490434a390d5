// Images of kernels, as the emulated NVRTC makes them: shared libraries of this machine's processor, which stand for CUBINs;
// or such a library in the shape of a text, which stands for PTX. They come as bytes, from wherever the program keeps them.

#include "driver.h"

#include <algorithm>
#include <cstdlib>
#include <dlfcn.h>
#include <elf.h>
#include <cstdio>
#include <link.h>
#include <set>
#include <sys/mman.h>
#include <unistd.h>

namespace {

std::map<std::string, Kernel> *registering = nullptr;
std::set<void *> live_modules, live_kernels;

unsigned capability() { return unsigned(setting("CUDA_EMULATOR_CAPABILITY", 90)); }

// Bytes of a library in memory, by its header: the table of sections comes last.
std::size_t length(const unsigned char *bytes) {
    const auto *header = reinterpret_cast<const Elf64_Ehdr *>(bytes);
    return header->e_shoff + std::size_t(header->e_shnum) * header->e_shentsize;
}

std::vector<unsigned char> from_base64(const char *text) {
    std::vector<unsigned char> bytes;
    unsigned value = 0, bits = 0;
    for (; *text && *text != '\n'; text++) {
        const char c = *text;
        const int digit = c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52
                        : c == '+' ? 62 : c == '/' ? 63 : -1;
        if (digit < 0)
            break;
        value = value << 6 | unsigned(digit);
        if ((bits += 6) >= 8)
            bytes.push_back(static_cast<unsigned char>(value >> (bits -= 8)));
    }
    return bytes;
}

// The variables in shared memory, with their names and sizes, from the library's symbols.
void find_shared(Image &image, const unsigned char *bytes, Pointer base) {
    const auto *header = reinterpret_cast<const Elf64_Ehdr *>(bytes);
    const auto *sections = reinterpret_cast<const Elf64_Shdr *>(bytes + header->e_shoff);
    const char *section_names = reinterpret_cast<const char *>(bytes + sections[header->e_shstrndx].sh_offset);
    for (unsigned i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const auto *symbols = reinterpret_cast<const Elf64_Sym *>(bytes + sections[i].sh_offset);
        const char *names = reinterpret_cast<const char *>(bytes + sections[sections[i].sh_link].sh_offset);
        for (std::size_t j = 0; j < sections[i].sh_size / sizeof(Elf64_Sym); j++) {
            const Elf64_Sym &symbol = symbols[j];
            if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || symbol.st_shndx >= header->e_shnum ||
                std::string(section_names + sections[symbol.st_shndx].sh_name) != "emulated_shared")
                continue;
            auto region = std::make_unique<Region>();
            region->start = base + symbol.st_value;
            region->bytes = symbol.st_size;
            region->name = names + symbol.st_name;
            image.shared.push_back(std::move(region));
        }
    }
    for (unsigned i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr &section = sections[i];
        if (!(section.sh_flags & SHF_ALLOC))
            continue;
        image.start = std::min(image.start, base + section.sh_addr);
        image.end = std::max(image.end, base + section.sh_addr + section.sh_size);
        if (std::string(section_names + section.sh_name).rfind(".rodata", 0) == 0) {
            image.constants = base + section.sh_addr;
            image.constants_end = image.constants + section.sh_size;
        }
    }
}

} // namespace

Image::~Image() {
    if (library)
        dlclose(library);
    if (file >= 0)
        close(file);
}

void emulated_register(const char *name, void *function, Launcher launcher, std::vector<std::size_t> sizes) {
    if (registering)
        (*registering)[name] = Kernel{name, function, launcher, std::move(sizes), nullptr};
}

unsigned load_module(void **module, const void *data) {
    const auto *bytes = static_cast<const unsigned char *>(data);
    std::vector<unsigned char> decoded;
    bool ptx = false;
    if (std::memcmp(bytes, EMULATED_PTX, std::strlen(EMULATED_PTX)) == 0) {
        decoded = from_base64(static_cast<const char *>(data) + std::strlen(EMULATED_PTX));
        bytes = decoded.data();
        ptx = true;
    }
    if (std::memcmp(bytes, ELFMAG, SELFMAG) != 0)
        return INVALID_IMAGE;
    const int file = memfd_create("kernels", MFD_CLOEXEC);
    if (file < 0 || write(file, bytes, length(bytes)) != ssize_t(length(bytes)))
        stop("kernels cannot be written to memory");
    auto image = std::make_unique<Image>();
    registering = &image->kernels;
    image->library = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
    registering = nullptr;
    // Kept open, so that no other library gets its name.
    image->file = file;
    if (!image->library) {
        std::fprintf(stderr, "CUDA emulator: %s\n", dlerror());
        return INVALID_IMAGE;
    }
    auto number = [&](const char *name) {
        const auto *value = static_cast<const unsigned *>(dlsym(image->library, name));
        return value ? *value : 0;
    };
    const unsigned architecture = number("emulated_architecture");
    if (ptx) {
        if (number("emulated_compiler") > setting("CUDA_EMULATOR_DRIVER", 13000))
            return UNSUPPORTED_PTX_VERSION;
        if (architecture > capability())
            return NO_BINARY_FOR_GPU;
    } else if (architecture / 10 != capability() / 10 || architecture > capability()) {
        return NO_BINARY_FOR_GPU;
    }
    if (checking() && !number("emulated_checks"))
        stop("CUDA_EMULATOR_CHECK is set, but these kernels were compiled without; are they from the program's cache?");
    image->start = ~Pointer(0);
    struct link_map *map = nullptr;
    dlinfo(image->library, RTLD_DI_LINKMAP, &map);
    find_shared(*image, bytes, map->l_addr);
    for (auto &[name, kernel] : image->kernels) {
        kernel.image = image.get();
        live_kernels.insert(&kernel);
    }
    live_modules.insert(*module = image.release());
    return SUCCESS;
}

unsigned unload_module(void *module) {
    if (!live_modules.erase(module))
        return INVALID_HANDLE;
    synchronize_all();
    for (auto &[name, kernel] : static_cast<Image *>(module)->kernels)
        live_kernels.erase(&kernel);
    delete static_cast<Image *>(module);
    return SUCCESS;
}

unsigned find_function(void **function, void *module, const char *name) {
    if (!live_modules.count(module))
        return INVALID_HANDLE;
    auto &kernels = static_cast<Image *>(module)->kernels;
    auto found = kernels.find(name);
    if (found == kernels.end())
        return NOT_FOUND;
    *function = &found->second;
    return SUCCESS;
}

Kernel *kernel_of(void *function) { return live_kernels.count(function) ? static_cast<Kernel *>(function) : nullptr; }

std::map<std::string, std::vector<std::size_t>> emulated_signatures(const void *image) {
    std::lock_guard lock(everything);
    std::map<std::string, std::vector<std::size_t>> signatures;
    void *module = nullptr;
    if (load_module(&module, image) != SUCCESS)
        return signatures;
    for (auto &[name, kernel] : static_cast<Image *>(module)->kernels)
        signatures[name] = kernel.sizes;
    unload_module(module);
    return signatures;
}
