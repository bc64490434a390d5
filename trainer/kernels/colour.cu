// Colours of a network's inputs, changed as `data::colour` does it (trainer/src/inputs/cuda.rs).
//
// Constants of the compilation are the SIDE of the inputs, and the UNITS of an image's sum of luma.

#define NO_STEP 0
#define BRIGHTNESS 1
#define CONTRAST 2
#define SATURATION 3
#define HUE 4
#define STEPS 4

// Change of the colours of an image: `ColourRecord` in cuda.rs.
struct ColourRecord {
    unsigned int image; // its number in the batch
    unsigned int steps[STEPS]; // one of those above, in their order
    float amounts[STEPS];
    float light[3]; // added to red, green and blue
};

struct Colour {
    float red, green, blue;
};

__device__ inline float luma(Colour colour) {
    const float sum = __fadd_rn(__fmul_rn(0.2989f, colour.red), __fmul_rn(0.587f, colour.green));
    return __fadd_rn(sum, __fmul_rn(0.114f, colour.blue));
}

__device__ inline float limited(float value) { return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value; }

// A mixture of two values, or what lies beyond the first.
__device__ inline float blend(float value, float other, float factor) {
    return limited(__fadd_rn(__fmul_rn(factor, value), __fmul_rn(__fsub_rn(1.0f, factor), other)));
}

// The fraction of a number from -1 to 2.
__device__ inline float fraction(float value) {
    const float rest = __fsub_rn(value, truncf(value));
    return rest < 0.0f ? __fadd_rn(rest, 1.0f) : rest;
}

// A colour of that largest value, the saturation as far as `part` says.
__device__ inline float faded(float most, float saturation, float part) {
    return limited(__fmul_rn(most, __fsub_rn(1.0f, __fmul_rn(saturation, part))));
}

// A colour with its hue turned.
__device__ inline Colour turned(Colour colour, float turns) {
    const float most = fmaxf(fmaxf(colour.red, colour.green), colour.blue);
    const float range = __fsub_rn(most, fminf(fminf(colour.red, colour.green), colour.blue));
    if (range == 0.0f)
        return colour;
    const float saturation = __fdiv_rn(range, most);
    const float from_red = __fdiv_rn(__fsub_rn(most, colour.red), range);
    const float from_green = __fdiv_rn(__fsub_rn(most, colour.green), range);
    const float from_blue = __fdiv_rn(__fsub_rn(most, colour.blue), range);
    const float sixths = most == colour.red     ? __fsub_rn(from_blue, from_green)
                         : most == colour.green ? __fsub_rn(__fadd_rn(2.0f, from_red), from_blue)
                                                : __fsub_rn(__fadd_rn(4.0f, from_green), from_red);
    const float hue = fraction(__fadd_rn(fraction(__fadd_rn(__fdiv_rn(sixths, 6.0f), 1.0f)), turns));
    const float place = __fmul_rn(hue, 6.0f), sector = floorf(place), within = __fsub_rn(place, sector);
    const float low = faded(most, saturation, 1.0f), falling = faded(most, saturation, within);
    const float rising = faded(most, saturation, __fsub_rn(1.0f, within));
    switch ((unsigned int)sector % 6) {
    case 0: return {most, rising, low};
    case 1: return {falling, most, low};
    case 2: return {low, most, rising};
    case 3: return {low, falling, most};
    case 4: return {rising, low, most};
    default: return {most, low, falling};
    }
}

// One step of the change of colours; `mean` is that of the luma of the image before a change of contrast.
__device__ inline Colour stepped(Colour colour, unsigned int step, float amount, float mean) {
    if (step == NO_STEP)
        return colour;
    if (step == HUE)
        return turned(colour, amount);
    const float other = step == BRIGHTNESS ? 0.0f : step == CONTRAST ? mean : luma(colour);
    return {blend(colour.red, other, amount), blend(colour.green, other, amount), blend(colour.blue, other, amount)};
}

// `Colours::apply` and the normalisation, for every image whose colours change, by one block each: once over the pixels for the
// steps before a change of contrast, which takes the mean of what they make, and once for the others.
extern "C" __global__ void inputs_colour(const ColourRecord *records, Normalisation normalisation, float *inputs) {
    const ColourRecord &record = records[blockIdx.x];
    float *red = inputs + (size_t)record.image * (3 * SIDE * SIDE);
    float *green = red + SIDE * SIDE, *blue = green + SIDE * SIDE;
    unsigned int contrast = 0;
    while (contrast < STEPS && record.steps[contrast] != CONTRAST)
        contrast++;
    float mean = 0.0f;
    if (contrast < STEPS) {
        unsigned long long sum = 0;
        for (unsigned int i = threadIdx.x; i < SIDE * SIDE; i += THREADS) {
            Colour colour = {red[i], green[i], blue[i]};
            for (unsigned int step = 0; step < contrast; step++)
                colour = stepped(colour, record.steps[step], record.amounts[step], mean);
            red[i] = colour.red;
            green[i] = colour.green;
            blue[i] = colour.blue;
            // In whole units, so that the order does not matter.
            sum += (unsigned long long)roundf(__fmul_rn(luma(colour), UNITS));
        }
        mean = __fdiv_rn((float)((double)sum_of_block(sum) / (double)(SIDE * SIDE)), UNITS);
    }
    for (unsigned int i = threadIdx.x; i < SIDE * SIDE; i += THREADS) {
        Colour colour = {red[i], green[i], blue[i]};
        for (unsigned int step = contrast % STEPS; step < STEPS; step++)
            colour = stepped(colour, record.steps[step], record.amounts[step], mean);
        red[i] = normalised(__fadd_rn(colour.red, record.light[0]), normalisation, 0);
        green[i] = normalised(__fadd_rn(colour.green, record.light[1]), normalisation, 1);
        blue[i] = normalised(__fadd_rn(colour.blue, record.light[2]), normalisation, 2);
    }
}
