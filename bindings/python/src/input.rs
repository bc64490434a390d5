//! Images as Python has them: paths, bytes, numpy arrays, and images of Pillow.
//!
//! Pixels of numpy arrays and bytes are used where they are. They are read while other threads of Python run, so the documentation asks
//! that nobody changes them meanwhile.

use std::path::PathBuf;

use classifier::Image;
use image_files::pixels::Pixels;
use numpy::{PyArrayDyn, PyReadonlyArrayDyn, PyUntypedArray, prelude::*};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    pybacked::PyBackedBytes,
    types::{PyByteArray, PyBytes, PyString},
};

/// Modes of Pillow's images that become gray, and those that become red, green and blue. All have eight bits a value.
const GRAY: [&str; 3] = ["L", "1", "LA"];
const COLOUR: [&str; 7] = ["RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"];

/// An image that is held for the time of a call.
pub enum Input<'py> {
    /// A file's path, as it was given and as it is opened.
    File(Py<PyString>, PathBuf),
    /// The bytes of a file, or pixels of so many channels and columns.
    Bytes(PyBackedBytes, Option<(usize, usize)>),
    /// Pixels in numpy's memory, of so many channels and columns.
    Array(PyReadonlyArrayDyn<'py, u8>, usize, usize),
    /// An image that cannot be used, and why.
    Unusable(String),
}

impl<'py> Input<'py> {
    /// The image at `place` of a list. `orient` turns images of Pillow as their Exif orientation says.
    pub fn of(image: &Bound<'py, PyAny>, place: usize, orient: bool) -> PyResult<Self> {
        if image.is_instance_of::<PyBytes>() || image.is_instance_of::<PyByteArray>() {
            return Ok(Self::Bytes(image.extract()?, None));
        }
        if let Ok(array) = image.cast::<PyUntypedArray>() {
            return Self::of_array(array);
        }
        if is_pillow(image)? {
            return Self::of_pillow(image, orient);
        }
        let py = image.py();
        if image.is_instance_of::<PyString>() || image.hasattr("__fspath__")? {
            let path = py.import("os")?.call_method1("fspath", (image,))?;
            if let Ok(text) = path.cast::<PyString>() {
                return Ok(Self::File(text.clone().unbind(), path.extract()?));
            }
        }
        let found = image.get_type().name()?;
        let expected = "expected a path, bytes, a numpy array or an image of Pillow";
        Err(PyTypeError::new_err(format!("image {place}: {expected}, found {found}")))
    }

    fn of_array(array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        let (width, channels) = match *array.shape() {
            [_, width] => (width, 1),
            [_, width, channels @ (1 | 3)] => (width, channels),
            _ => (0, 0),
        };
        let bytes = array.cast::<PyArrayDyn<u8>>().ok().filter(|_| channels > 0);
        let Some(bytes) = bytes else {
            let shape = array.getattr("shape")?.str()?;
            return Ok(Self::Unusable(format!(
                "expected an array of uint8 of the shape (height, width), (height, width, 1) or (height, width, 3), found {} of the shape {shape}",
                array.dtype().str()?
            )));
        };
        let bytes = if bytes.is_c_contiguous() {
            bytes.clone()
        } else {
            let copied = array.py().import("numpy")?.call_method1("ascontiguousarray", (array,))?;
            copied.cast_into::<PyArrayDyn<u8>>()?
        };
        Ok(match bytes.try_readonly() {
            Ok(bytes) => Self::Array(bytes, channels, width),
            Err(error) => Self::Unusable(error.to_string()),
        })
    }

    fn of_pillow(image: &Bound<'py, PyAny>, orient: bool) -> PyResult<Self> {
        let mode: String = image.getattr("mode")?.extract()?;
        let (channels, target) = if GRAY.contains(&mode.as_str()) {
            (1, "L")
        } else if COLOUR.contains(&mode.as_str()) {
            (3, "RGB")
        } else {
            let (gray, colour) = (GRAY.join(", "), COLOUR.join(", "));
            return Ok(Self::Unusable(format!(
                "expected an image of Pillow of the mode {gray}, {colour}, found {mode}; give the file's path or bytes instead"
            )));
        };
        // Pillow reads the file only now, which fails where it is damaged.
        let pixels = || -> PyResult<(PyBackedBytes, usize)> {
            let mut image = image.clone();
            if orient {
                image = image.py().import("PIL.ImageOps")?.call_method1("exif_transpose", (image,))?;
            }
            if mode != target {
                image = image.call_method1("convert", (target,))?;
            }
            Ok((image.call_method0("tobytes")?.extract()?, image.getattr("width")?.extract()?))
        };
        match pixels() {
            Ok((bytes, width)) => Ok(Self::Bytes(bytes, Some((channels, width)))),
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyException>(image.py()) => {
                Ok(Self::Unusable(format!("Pillow cannot read it: {}", error.value(image.py()))))
            }
            Err(interrupt) => Err(interrupt),
        }
    }

    /// The path, if the image was given as one.
    pub fn path(&self, py: Python<'_>) -> Option<Py<PyString>> {
        match self {
            Self::File(path, _) => Some(path.clone_ref(py)),
            _ => None,
        }
    }

    /// The image, which no longer needs Python.
    pub fn image(&self) -> Result<Image<'_>, String> {
        match self {
            Self::File(_, path) => Ok(Image::File(path)),
            Self::Bytes(bytes, None) => Ok(Image::Bytes(bytes)),
            Self::Bytes(values, Some((channels, width))) => {
                Ok(Image::Pixels(Pixels { channels: *channels, width: *width, values }))
            }
            Self::Array(array, channels, width) => match array.as_slice() {
                Ok(values) => Ok(Image::Pixels(Pixels { channels: *channels, width: *width, values })),
                Err(error) => Err(error.to_string()),
            },
            Self::Unusable(error) => Err(error.clone()),
        }
    }
}

/// Whether this is an image of Pillow, which is not loaded for the question.
fn is_pillow(image: &Bound<'_, PyAny>) -> PyResult<bool> {
    let modules = image.py().import("sys")?.getattr("modules")?;
    let pillow = modules.call_method1("get", ("PIL.Image",))?;
    if pillow.is_none() { Ok(false) } else { image.is_instance(&pillow.getattr("Image")?) }
}
