//! libjpeg (as mozjpeg keeps it), by which every other program reads JPEG: for JPEG files, and for the JPEG data within TIFF files.
//! All unsafe code of this crate is here, but for two casts in [`idct`].
//!
//! Without assembler, which users need not have, libjpeg's arithmetic is slow. So its inverse cosine transform is replaced by ours
//! ([`idct`]), and what makes pixels of its planes as well ([`pixels`]), where the file is of a usual kind.
//!
//! libjpeg ends a failed call by a function that must not return. Ours unwinds, from this file's callback through libjpeg's
//! frames, which are compiled for that (the feature `unwinding`), to this file's [`Decompress::guarded`]; no Rust frame with
//! anything to clean up lies between, and nothing leaves this file.

use std::{
    ffi::{CStr, c_char, c_int, c_ulong},
    marker::PhantomData,
    mem,
    panic::{self, AssertUnwindSafe},
    ptr,
};

use anyhow::{anyhow, bail, ensure};
use mozjpeg_sys::{
    J_COLOR_SPACE::{self, *},
    *,
};

use super::{
    idct,
    pixels::{Plane, Rows},
};

/// libjpeg's `JMSG_LENGTH_MAX`: the most bytes of a message, its final zero among them.
const MESSAGE: usize = 200;

/// libjpeg's `JWRN_ARITH_BAD_CODE` with arithmetic coding and the interface of version 6, which the bindings do not name.
const JWRN_ARITH_BAD_CODE: c_int = 126;

/// Bytes that encoders leave at the end of the data before a restart marker.
const PADDING: u32 = 2;

/// Rows that are asked for in one call.
const ROWS: usize = 16;

/// Columns and rows of a block.
const BLOCK: usize = 8;

/// The largest factor of a component's columns or rows.
const MOST_FACTOR: usize = 4;

/// Conversion of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// They become gray, RGB or CMYK, as the file says.
    Converted,
    /// YCbCr becomes RGB, whatever the file says.
    YCbCrToRgb,
    /// Likewise, and colours that are stored for several pixels are repeated, not interpolated.
    YCbCrRepeated,
    /// They stay as they are.
    Kept,
}

/// Decoded samples.
#[derive(Debug)]
pub struct Samples {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples a pixel.
    pub components: usize,
    /// Row by row, a pixel's samples together.
    pub samples: Vec<u8>,
    /// Damage of the data; the samples that are missing are libjpeg's guess.
    pub damage: Option<String>,
}

/// Decodes a JPEG file. `tables` is another one that defines tables for it, as TIFF has them.
///
/// # Errors
/// libjpeg's, in its words.
pub fn decode(tables: Option<&[u8]>, file: &[u8], colours: Colours) -> anyhow::Result<Samples> {
    decode_with(tables, file, colours, Arithmetic::best())
}

/// Whose transforms of numbers are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    /// libjpeg's.
    #[cfg_attr(not(test), expect(dead_code, reason = "what ours is compared with"))]
    Libjpeg,
    /// Ours, for any CPU.
    Portable,
    /// Ours, for CPUs that are known to have AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Arithmetic {
    /// The fastest that this CPU has.
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Portable
    }
}

fn decode_with(
    tables: Option<&[u8]>,
    file: &[u8],
    colours: Colours,
    arithmetic: Arithmetic,
) -> anyhow::Result<Samples> {
    let mut jpeg = Decompress::new()?;
    if let Some(tables) = tables {
        jpeg.read_header(tables, false)?;
    }
    jpeg.read_header(file, true)?;
    let rows = jpeg.start(colours, arithmetic)?;
    let (width, height) = (jpeg.state.output_width as usize, jpeg.state.output_height as usize);
    let components = usize::try_from(jpeg.state.output_components)?;
    let stride = width * components;
    ensure!(stride > 0, "libjpeg gives no samples");
    let mut samples = vec![0; stride * height];
    match rows {
        Some(rows) => jpeg.read_planes(rows, &mut samples, arithmetic)?,
        None => jpeg.read_rows(&mut samples, stride)?,
    }
    let damage = jpeg.errors.damage.take();
    Ok(Samples { width, height, components, samples, damage })
}

/// Receiver of libjpeg's errors and warnings. libjpeg knows its first field.
#[repr(C)]
struct Errors {
    manager: jpeg_error_mgr,
    /// The first warning that means that pixels are guessed.
    damage: Option<String>,
    /// Bytes were passed over, which is damage if restart markers follow and common elsewhere.
    extra_bytes: bool,
}

/// Payload that an error unwinds with.
struct Failure(String);

/// libjpeg's state, and the file that it reads from.
struct Decompress<'f> {
    /// At an address of its own, as libjpeg keeps pointers to it.
    state: Box<jpeg_decompress_struct>,
    /// Likewise.
    errors: Box<Errors>,
    files: PhantomData<&'f [u8]>,
}

impl<'f> Decompress<'f> {
    fn new() -> anyhow::Result<Self> {
        // SAFETY: both are C structs of numbers, pointers and optional functions, for which zeros are valid; `damage` is
        // replaced by a valid value before anything can see it.
        let (state, mut errors) = unsafe {
            let mut errors = Box::<mem::MaybeUninit<Errors>>::new(mem::MaybeUninit::zeroed());
            ptr::addr_of_mut!((*errors.as_mut_ptr()).damage).write(None);
            (Box::<jpeg_decompress_struct>::new(mem::zeroed()), errors.assume_init())
        };
        // SAFETY: the manager is a valid C struct, which the call fills.
        unsafe { jpeg_std_error(&mut errors.manager) };
        errors.manager.error_exit = Some(fail);
        errors.manager.emit_message = Some(note);
        let mut jpeg = Self { state, errors, files: PhantomData };
        jpeg.state.common.err = ptr::addr_of_mut!(*jpeg.errors).cast();
        // SAFETY: the error manager is set, and the state lies still in its box.
        jpeg.guarded(|state| unsafe { jpeg_create_decompress(state) })?;
        Ok(jpeg)
    }

    /// Runs calls of libjpeg.
    ///
    /// # Errors
    /// The one that a call failed with.
    fn guarded<T>(&mut self, calls: impl FnOnce(&mut jpeg_decompress_struct) -> T) -> anyhow::Result<T> {
        let state = &mut *self.state;
        // After a failure libjpeg's state is only good for being destroyed, which is all that happens to it.
        panic::catch_unwind(AssertUnwindSafe(move || calls(state))).map_err(|payload| {
            match payload.downcast::<Failure>() {
                Ok(failure) => anyhow!("the JPEG file is damaged: {}", failure.0),
                Err(other) => panic::resume_unwind(other),
            }
        })
    }

    /// Reads a header, of tables alone where no image is required.
    fn read_header(&mut self, file: &'f [u8], image: bool) -> anyhow::Result<()> {
        self.guarded(|state| {
            // SAFETY: the state was created, and the bytes outlive it.
            unsafe {
                jpeg_mem_src(state, file.as_ptr(), file.len() as c_ulong);
                jpeg_read_header(state, c_int::from(image));
            }
        })
    }

    /// Begins decoding. All scans of a file of several are read now. Returns what makes pixels of the planes if that is ours.
    fn start(&mut self, colours: Colours, arithmetic: Arithmetic) -> anyhow::Result<Option<Rows>> {
        let stored = &mut self.state.jpeg_color_space;
        let wanted = match (colours, *stored as J_COLOR_SPACE) {
            (Colours::Kept, _) => {
                *stored = JCS_UNKNOWN;
                JCS_UNKNOWN
            }
            (Colours::YCbCrToRgb | Colours::YCbCrRepeated, _) => {
                *stored = JCS_YCbCr;
                JCS_RGB
            }
            (Colours::Converted, JCS_GRAYSCALE) => JCS_GRAYSCALE,
            (Colours::Converted, JCS_YCbCr | JCS_RGB) => JCS_RGB,
            (Colours::Converted, JCS_CMYK | JCS_YCCK) => JCS_CMYK,
            (Colours::Converted, _) => bail!("the colours of this JPEG file are none that are known"),
        };
        self.state.out_color_space = wanted;
        self.state.do_fancy_upsampling = c_int::from(colours != Colours::YCbCrRepeated);
        let inverse: Inverse = match arithmetic {
            Arithmetic::Libjpeg => {
                // SAFETY: a header was read.
                self.guarded(|state| _ = unsafe { jpeg_start_decompress(state) })?;
                return Ok(None);
            }
            Arithmetic::Portable => inverse,
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Avx2 => inverse_avx2,
        };
        let rows = self.rows();
        self.state.raw_data_out = c_int::from(rows.is_some());
        self.guarded(|state| {
            // SAFETY: a header was read, and then decoding has begun, so that libjpeg has its table of transforms. All of its blocks
            // have 8×8 samples, as no other scale was asked for.
            unsafe {
                jpeg_start_decompress(state);
                image_files_set_inverse(state, inverse);
            }
        })?;
        Ok(rows)
    }

    /// Conversion of the planes to pixels: none if they are not YCbCr, or are not converted as libjpeg would.
    fn rows(&self) -> Option<Rows> {
        let state = &*self.state;
        let ours = state.jpeg_color_space as J_COLOR_SPACE == JCS_YCbCr
            && state.out_color_space as J_COLOR_SPACE == JCS_RGB
            && state.do_fancy_upsampling != 0
            && state.num_components == 3;
        if !ours {
            return None;
        }
        // SAFETY: a header was read, and libjpeg has a description of each component.
        let components: &[jpeg_component_info; 3] = unsafe { &*state.comp_info.cast() };
        let factors = components.each_ref().map(|c| (c.h_samp_factor as usize, c.v_samp_factor as usize));
        let most = (state.max_h_samp_factor as usize, state.max_v_samp_factor as usize);
        let size = (state.image_width as usize, state.image_height as usize);
        let plane = |index: usize| {
            let stride = components[index].width_in_blocks as usize * BLOCK;
            Plane::new(size, factors[index], most, stride)
        };
        Some(Rows::new([plane(0)?, plane(1)?, plane(2)?], size, most.1))
    }

    /// Reads all planes, and makes pixels of them.
    fn read_planes(&mut self, mut rows: Rows, pixels: &mut [u8], arithmetic: Arithmetic) -> anyhow::Result<()> {
        let lines = self.state.max_v_samp_factor as usize * BLOCK;
        for read in 0..(self.state.output_height as usize).div_ceil(lines) {
            let mut pointers = [[ptr::null_mut(); MOST_FACTOR * BLOCK]; 3];
            for (plane, pointers) in rows.planes.iter_mut().zip(&mut pointers) {
                for (row, place) in plane.next_rows().zip(pointers) {
                    *place = row.as_mut_ptr();
                }
            }
            let mut planes = pointers.each_mut().map(|rows| rows.as_mut_ptr());
            // SAFETY: decoding of planes has begun. The pointers lead to a row of blocks' rows of each component, each as long as the
            // component's blocks are wide.
            let count =
                self.guarded(|state| unsafe { jpeg_read_raw_data(state, planes.as_mut_ptr(), lines as JDIMENSION) })?;
            ensure!(count as usize == lines, "libjpeg gives no more rows");
            match arithmetic {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the CPU has AVX2.
                Arithmetic::Avx2 => unsafe { append_avx2(&mut rows, read, pixels) },
                _ => rows.append(read, pixels),
            }
        }
        Ok(())
    }

    /// Reads all rows, each of `stride` samples.
    fn read_rows(&mut self, samples: &mut [u8], stride: usize) -> anyhow::Result<()> {
        let height = self.state.output_height;
        while self.state.output_scanline < height {
            let first = self.state.output_scanline as usize;
            let mut rows = [ptr::null_mut(); ROWS];
            let mut count = 0;
            for (row, place) in samples[first * stride..].chunks_exact_mut(stride).zip(&mut rows) {
                *place = row.as_mut_ptr();
                count += 1;
            }
            // SAFETY: decoding has begun, and each of the first `count` pointers leads to a row's samples, which are
            // `output_width` times `output_components`.
            let read = self.guarded(|state| unsafe { jpeg_read_scanlines(state, rows.as_mut_ptr(), count) })?;
            ensure!(read > 0, "libjpeg gives no more rows");
        }
        Ok(())
    }
}

impl Drop for Decompress<'_> {
    fn drop(&mut self) {
        // SAFETY: the state is zeros or was created; in either case, and after failures, this is allowed.
        unsafe { jpeg_destroy_decompress(&mut self.state) };
    }
}

/// libjpeg's `inverse_DCT_method_ptr`.
type Inverse = unsafe extern "C" fn(
    *const jpeg_decompress_struct,
    *const jpeg_component_info,
    *const [i16; BLOCK * BLOCK],
    *const *mut [u8; BLOCK],
    JDIMENSION,
);

unsafe extern "C" {
    /// Sets the function that transforms blocks of 8×8; decoding must have begun.
    fn image_files_set_inverse(state: *mut jpeg_decompress_struct, inverse: Inverse);
}

/// Transforms a block into eight rows, from a column on.
#[inline(always)]
unsafe extern "C" fn inverse(
    _: *const jpeg_decompress_struct,
    component: *const jpeg_component_info,
    coefficients: *const [i16; BLOCK * BLOCK],
    rows: *const *mut [u8; BLOCK],
    column: JDIMENSION,
) {
    // SAFETY: libjpeg passes its description of the component, whose table is absent or valid, and a block.
    let (table, coefficients) = unsafe { ((*component).quant_table.as_ref(), &*coefficients) };
    let samples = idct::inverse(coefficients, table.map_or(&[0; BLOCK * BLOCK], |table| &table.quantval));
    for (row, samples) in samples.into_iter().enumerate() {
        // SAFETY: libjpeg passes pointers to eight rows that go on for eight samples from this column.
        unsafe { (*rows.add(row)).byte_add(column as usize).write(samples) };
    }
}

/// Likewise.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe extern "C" fn inverse_avx2(
    state: *const jpeg_decompress_struct,
    component: *const jpeg_component_info,
    coefficients: *const [i16; BLOCK * BLOCK],
    rows: *const *mut [u8; BLOCK],
    column: JDIMENSION,
) {
    // SAFETY: the caller's promises are the same.
    unsafe { inverse(state, component, coefficients, rows, column) };
}

/// [`Rows::append`] with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn append_avx2(rows: &mut Rows, read: usize, pixels: &mut [u8]) {
    rows.append(read, pixels);
}

/// The message that libjpeg has for what it just met.
fn message(common: &mut jpeg_common_struct) -> String {
    type Format = unsafe extern "C-unwind" fn(*mut jpeg_common_struct, *mut c_char);
    let mut text = [0_u8; MESSAGE];
    // SAFETY: `err` is the error manager of `Decompress`, which outlives libjpeg's state.
    let format = unsafe { (*common.err).format_message };
    if let Some(format) = format {
        // SAFETY: the C function is `void (j_common_ptr, char *)`, and writes at most `MESSAGE` bytes; the bindings call that a
        // shared reference to 80.
        unsafe {
            let format: Format = mem::transmute(format);
            format(common, text.as_mut_ptr().cast());
        }
    }
    CStr::from_bytes_until_nul(&text).map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}

/// libjpeg's `error_exit`: the call that is under way fails.
unsafe extern "C-unwind" fn fail(common: &mut jpeg_common_struct) {
    let text = message(common);
    panic::resume_unwind(Box::new(Failure(text)));
}

/// libjpeg's `emit_message`: notes warnings that mean that samples are guessed. `level` is -1 for warnings.
unsafe extern "C-unwind" fn note(common: &mut jpeg_common_struct, level: c_int) {
    let errors: *mut Errors = common.err.cast();
    // SAFETY: `err` points to the first field of `Errors`, by a pointer to the whole of it.
    let code = unsafe { (*errors).manager.msg_code };
    let damaged = match code {
        JWRN_HIT_MARKER | JWRN_HUFF_BAD_CODE | JWRN_MUST_RESYNC | JWRN_ARITH_BAD_CODE => level < 0,
        // SAFETY: as above.
        JTRC_RST => unsafe { (*errors).extra_bytes },
        _ => false,
    };
    // SAFETY: as above; no reference to it is held while libjpeg is at work. The first parameter of this warning, as of every
    // message that has any, is a number.
    unsafe {
        let extra = level < 0 && code == JWRN_EXTRANEOUS_DATA;
        (*errors).extra_bytes = extra && (*errors).manager.msg_parm._bindgen_data_[0] > PADDING;
        if level < 0 {
            (*errors).manager.num_warnings += 1;
        }
    }
    if !damaged {
        return;
    }
    let text = if code == JTRC_RST {
        "Corrupt JPEG data: extraneous bytes before a restart marker".into()
    } else {
        message(common)
    };
    // SAFETY: as above.
    let damage = unsafe { &mut (*errors).damage };
    damage.get_or_insert(text);
}

#[cfg(test)]
mod tests;
