// From the bytes of images to a network's inputs (trainer/src/ops/cuda/inputs.rs): what augmentation drew, the resize of
// `infer_core::preprocess`, normalisation.
//
// Every operation is rounded by itself, in the order of the processor's code, so that the results are the same to the last bit:
// the compiler may not contract the functions that end in `_rn`.

// An image in a batch, and what is to happen to it: `Record` in inputs.rs.
struct ImageRecord {
    unsigned long long offset; // of its first byte
    unsigned int width, height;
    unsigned int flip;
    int right, down;
    float brightness, contrast;
    unsigned int top, left, rows, columns; // what is erased; nothing where there are no rows
};

// The value that lies at column x, row y after the image was mirrored and moved.
__device__ inline unsigned int moved(const ImageRecord &image, const unsigned char *pixels, unsigned int x, unsigned int y) {
    const long long from_x = (long long)x - image.right, from_y = (long long)y - image.down;
    if (from_x < 0 || from_x >= image.width || from_y < 0 || from_y >= image.height)
        return 0;
    const long long column = image.flip ? image.width - 1 - from_x : from_x;
    return pixels[from_y * image.width + column];
}

// `Changes::apply` for every image, by one block each.
extern "C" __global__ void inputs_change(const ImageRecord *images, const unsigned char *source, unsigned char *target) {
    __shared__ unsigned long long partial[256];
    const ImageRecord image = images[blockIdx.x];
    const unsigned char *pixels = source + image.offset;
    unsigned char *changed = target + image.offset;
    const size_t count = (size_t)image.width * image.height;
    unsigned long long sum = 0;
    for (size_t i = threadIdx.x; i < count; i += 256)
        sum += moved(image, pixels, i % image.width, i / image.width);
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (unsigned int half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half)
            partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    const float mean = __fdiv_rn((float)partial[0], (float)count);
    const bool adjusted = image.brightness != 0.0f || image.contrast != 1.0f;
    for (size_t i = threadIdx.x; i < count; i += 256) {
        const unsigned int x = i % image.width, y = i / image.width;
        unsigned int value = moved(image, pixels, x, y);
        if (adjusted) {
            const float spread = __fmul_rn(__fsub_rn((float)value, mean), image.contrast);
            const float result = roundf(__fadd_rn(__fadd_rn(spread, mean), image.brightness));
            value = (unsigned int)fminf(fmaxf(result, 0.0f), 255.0f);
        }
        const bool erased = y - image.top < image.rows && x - image.left < image.columns; // wraps around above and before
        changed[i] = erased ? 0 : (unsigned char)value;
    }
}

// One axis of a resize to SIDE values, as `Axis` of infer_core::preprocess. SIDE is a constant of the compilation, and so no
// division by a variable is left.
struct Axis {
    long long sources;

    __device__ long long support() const { return 2 * max(sources, (long long)SIDE); }

    __device__ float weight(long long source, long long output) const {
        const long long distance = (2 * source + 1) * SIDE - (2 * output + 1) * sources;
        const float share = __fdiv_rn((float)llabs(distance), (float)support());
        const float weight = __fsub_rn(1.0f, share);
        return fmaxf(weight, 0.0f);
    }

    // The sources with a weight above 0 in an output: from first() to end().
    __device__ long long first(long long output) const {
        const long long start = (2 * output + 1) * sources - support();
        return (max(start, 0ll) / SIDE + 1) / 2;
    }
    __device__ long long end(long long output) const {
        const long long end = (((2 * output + 1) * sources + support() + SIDE - 1) / SIDE) / 2;
        return min(end, sources);
    }
};

// inputs[n, y, x]: image n, resized to SIDE × SIDE, from 0 to 1, then (· − mean) / std where that is asked for. blockIdx.y takes
// the images in turns.
extern "C" __global__ void inputs_resize(unsigned int batch, const ImageRecord *images,
                                         const unsigned char *bytes, unsigned int normalised, float mean, float std,
                                         float *inputs) {
    for (unsigned int n = blockIdx.y; n < batch; n += gridDim.y) {
        const ImageRecord image = images[n];
        const unsigned char *pixels = bytes + image.offset;
        const Axis columns = {image.width}, rows = {image.height};
        FOR_EACH(i, SIDE * SIDE) {
            const unsigned int out_x = i % SIDE, out_y = i / SIDE;
            const long long first = columns.first(out_x), end = columns.end(out_x), last = rows.end(out_y);
            float value = 0.0f, height = 0.0f;
            for (long long y = rows.first(out_y); y < last; y++) {
                float line = 0.0f, width = 0.0f;
                for (long long x = first; x < end; x++) {
                    const float weight = columns.weight(x, out_x);
                    const float gray = __fdiv_rn((float)pixels[y * image.width + x], 255.0f);
                    line = __fadd_rn(line, __fmul_rn(weight, gray));
                    width = __fadd_rn(width, weight);
                }
                const float weight = rows.weight(y, out_y);
                value = __fadd_rn(value, __fmul_rn(weight, __fdiv_rn(line, width)));
                height = __fadd_rn(height, weight);
            }
            value = __fdiv_rn(value, height);
            inputs[(size_t)n * (SIDE * SIDE) + i] = normalised ? __fdiv_rn(__fsub_rn(value, mean), std) : value;
        }
    }
}
