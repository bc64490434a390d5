//! libjpeg (as mozjpeg keeps it), by which every other program reads JPEG: for what the fast decoder does not read, and for the
//! JPEG data within TIFF files. All unsafe code of this crate is here.
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

/// libjpeg's `JMSG_LENGTH_MAX`: the most bytes of a message, its final zero among them.
const MESSAGE: usize = 200;

/// libjpeg's `JWRN_ARITH_BAD_CODE` with arithmetic coding and the interface of version 6, which the bindings do not name.
const JWRN_ARITH_BAD_CODE: c_int = 126;

/// Bytes that encoders leave at the end of the data before a restart marker.
const PADDING: u32 = 2;

/// Rows that are asked for in one call.
const ROWS: usize = 16;

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
    let mut jpeg = Decompress::new()?;
    if let Some(tables) = tables {
        jpeg.read_header(tables, false)?;
    }
    jpeg.read_header(file, true)?;
    jpeg.start(colours)?;
    let (width, height) = (jpeg.state.output_width as usize, jpeg.state.output_height as usize);
    let components = usize::try_from(jpeg.state.output_components)?;
    let stride = width * components;
    ensure!(stride > 0, "libjpeg gives no samples");
    let mut samples = vec![0; stride * height];
    jpeg.read_rows(&mut samples, stride)?;
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

    /// Begins decoding. All scans of a file of several are read now.
    fn start(&mut self, colours: Colours) -> anyhow::Result<()> {
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
        // SAFETY: a header was read.
        self.guarded(|state| _ = unsafe { jpeg_start_decompress(state) })
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
