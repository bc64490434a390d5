/* libjpeg's table of inverse transforms, which its bindings do not show; its own headers say where it lies. */
#include <stddef.h>
#include <stdio.h>
#define JPEG_INTERNALS
#include "jpeglib.h"

/* Makes libjpeg, which is about to give out samples, transform each block of 8x8 by this function. */
void image_files_set_inverse(j_decompress_ptr state, inverse_DCT_method_ptr inverse)
{
  int component;

  for (component = 0; component < state->num_components; component++)
    state->idct->inverse_DCT[component] = inverse;
}
