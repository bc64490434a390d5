// From the bytes of images to a network's inputs (trainer/src/inputs/cuda.rs): what augmentation drew, and the resize of
// `infer_core::preprocess`.
//
// Constants of the compilation are the SIDE of the inputs, and the CHANNELS of images and inputs. The values of a pixel lie side by
// side in an image, and in planes in an input.

// A rectangle of pixels.
struct Area {
    unsigned int top, left, rows, columns;
};

// An image in a batch, and what is to happen to it: `Record` in cuda.rs.
struct ImageRecord {
    unsigned long long offset; // of its first byte
    unsigned int width, height;
    unsigned int flip;
    int right, down;
    float brightness, contrast;
    Area erased; // nothing where there are no rows
    Area source; // the part that is resized
    Area resized; // rows and columns that it is resized to, and the first ones that the input has
    unsigned int coloured; // whether its colours change after the resize
};

// Byte i of an image after it was mirrored and moved.
__device__ inline unsigned int moved(const ImageRecord &image, const unsigned char *pixels, size_t i) {
    const size_t pixel = i / CHANNELS;
    const long long x = (long long)(pixel % image.width) - image.right, y = (long long)(pixel / image.width) - image.down;
    if (x < 0 || x >= image.width || y < 0 || y >= image.height)
        return 0;
    const long long column = image.flip ? image.width - 1 - x : x;
    return pixels[(y * image.width + column) * CHANNELS + i % CHANNELS];
}

// `Changes::apply` for every image, by one block each.
extern "C" __global__ void inputs_change(const ImageRecord *images, const unsigned char *source, unsigned char *target) {
    const ImageRecord image = images[blockIdx.x];
    const unsigned char *pixels = source + image.offset;
    unsigned char *changed = target + image.offset;
    const size_t count = (size_t)image.width * image.height * CHANNELS;
    const bool adjusted = image.brightness != 0.0f || image.contrast != 1.0f;
    float mean = 0.0f;
    if (adjusted) {
        unsigned long long sum = 0;
        for (size_t i = threadIdx.x; i < count; i += THREADS)
            sum += moved(image, pixels, i);
        mean = __fdiv_rn((float)sum_of_block(sum), (float)count);
    }
    for (size_t i = threadIdx.x; i < count; i += THREADS) {
        const size_t pixel = i / CHANNELS;
        const unsigned int x = pixel % image.width, y = pixel / image.width;
        unsigned int value = moved(image, pixels, i);
        if (adjusted) {
            const float spread = __fmul_rn(__fsub_rn((float)value, mean), image.contrast);
            const float result = roundf(__fadd_rn(__fadd_rn(spread, mean), image.brightness));
            value = (unsigned int)fminf(fmaxf(result, 0.0f), 255.0f);
        }
        // Wraps around above and before.
        const bool erased = y - image.erased.top < image.erased.rows && x - image.erased.left < image.erased.columns;
        changed[i] = erased ? 0 : (unsigned char)value;
    }
}

// One axis of a resize, as `Axis` of the tests of infer_core::preprocess.
struct Axis {
    long long sources, outputs;

    __device__ long long support() const { return 2 * max(sources, outputs); }

    __device__ float weight(long long source, long long output) const {
        const long long distance = (2 * source + 1) * outputs - (2 * output + 1) * sources;
        const float share = __fdiv_rn((float)llabs(distance), (float)support());
        const float weight = __fsub_rn(1.0f, share);
        return fmaxf(weight, 0.0f);
    }

    // The sources with a weight above 0 in an output: from first() to end().
    __device__ long long first(long long output) const {
        const long long start = (2 * output + 1) * sources - support();
        return (max(start, 0ll) / outputs + 1) / 2;
    }
    __device__ long long end(long long output) const {
        const long long stop = ((2 * output + 1) * sources + support() + outputs - 1) / outputs / 2;
        return min(stop, sources);
    }
};

// inputs[n, c, y, x]: image n, resized to SIDE × SIDE, from 0 to 1, and normalised unless its colours are still to change.
// blockIdx.y takes the images in turns.
extern "C" __global__ void inputs_resize(unsigned int batch, const ImageRecord *images, const unsigned char *bytes,
                                         Normalisation normalisation, float *inputs) {
    for (unsigned int n = blockIdx.y; n < batch; n += gridDim.y) {
        const ImageRecord image = images[n];
        const Area source = image.source, resized = image.resized;
        const size_t corner = (size_t)source.top * image.width + source.left;
        const unsigned char *pixels = bytes + image.offset + corner * CHANNELS;
        const Axis columns = {source.columns, resized.columns}, rows = {source.rows, resized.rows};
        FOR_EACH(i, SIDE * SIDE) {
            const unsigned int out_x = resized.left + i % SIDE, out_y = resized.top + i / SIDE;
            const long long first = columns.first(out_x), end = columns.end(out_x), last = rows.end(out_y);
            float values[CHANNELS] = {}, height = 0.0f;
            for (long long y = rows.first(out_y); y < last; y++) {
                float line[CHANNELS] = {}, width = 0.0f;
                for (long long x = first; x < end; x++) {
                    const float weight = columns.weight(x, out_x);
                    const unsigned char *pixel = pixels + (y * image.width + x) * CHANNELS;
#pragma unroll
                    for (unsigned int channel = 0; channel < CHANNELS; channel++) {
                        const float value = __fdiv_rn((float)pixel[channel], 255.0f);
                        line[channel] = __fadd_rn(line[channel], __fmul_rn(weight, value));
                    }
                    width = __fadd_rn(width, weight);
                }
                const float weight = rows.weight(y, out_y);
#pragma unroll
                for (unsigned int channel = 0; channel < CHANNELS; channel++)
                    values[channel] = __fadd_rn(values[channel], __fmul_rn(weight, __fdiv_rn(line[channel], width)));
                height = __fadd_rn(height, weight);
            }
            float *input = inputs + (size_t)n * (CHANNELS * SIDE * SIDE) + i;
#pragma unroll
            for (unsigned int channel = 0; channel < CHANNELS; channel++) {
                const float value = __fdiv_rn(values[channel], height);
                input[channel * (SIDE * SIDE)] = image.coloured ? value : normalised(value, normalisation, channel);
            }
        }
    }
}
