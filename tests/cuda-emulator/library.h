// What the emulated cuBLAS and NVRTC ask the emulated driver for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

enum { EMULATED_DRIVER, EMULATED_CUBLAS, EMULATED_NVRTC };
// Counts a call, and returns the code by which it is to fail, of the library's own kind, or 0.
unsigned emulated_call(const char *name, int library);
// Queues work on a stream; false where there is none such.
bool emulated_enqueue(void *stream, std::function<void()> work);
// In such work: these bytes are read or written. Before: whether they lie within one allocation.
void emulated_access(std::uint64_t pointer, std::size_t bytes, bool write);
bool emulated_inside(std::uint64_t pointer, std::size_t bytes);
// Whether a context is current.
bool emulated_context();
unsigned emulated_capability();
// The kernels of an image, and the sizes of their parameters.
std::map<std::string, std::vector<std::size_t>> emulated_signatures(const void *image);
// Text in front of the base64 form of a library of kernels that stands for PTX.
#define EMULATED_PTX "// PTX of the emulated GPU\n//"
