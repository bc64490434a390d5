//! Helpers of the command line's tests: weights made by a formula, pictures, and the program itself.
#![allow(dead_code, unused_imports, reason = "each test program uses its part")]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use image::{GrayImage, Luma};
pub use infer_core::alexnet::DESCRIPTION as ALEXNET;
use infer_core::describe::Description;
pub use infer_core::lenet5::DESCRIPTION as LENET5;
use safetensors::{Dtype, View, serialize_to_file};
use tar::{Builder, Header};
use tempfile::TempDir;

/// A tensor in memory.
pub struct Tensor(pub Vec<usize>, pub Vec<f32>);

impl View for Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.1.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into()
    }

    fn data_len(&self) -> usize {
        self.1.len() * 4
    }
}

/// Values between -1 and 1 that look random, times `√(6 / fan-in)`, so that they neither fade nor grow from layer to layer.
pub fn tensors(network: &Description) -> Vec<(&'static str, Tensor)> {
    tensors_for(network, network.classes())
}

/// Like [`tensors`], for so many classes.
pub fn tensors_for(network: &Description, classes: usize) -> Vec<(&'static str, Tensor)> {
    let mut state = 1_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let mut tensor = |shape: &[usize]| {
        let fan_in: usize = shape[1..].iter().product();
        let scale = if shape.len() == 1 { 0.1 } else { (6.0 / fan_in as f32).sqrt() };
        Tensor(shape.to_vec(), (0..shape.iter().product()).map(|_| random() * scale).collect())
    };
    let layers = network.layers(classes).filter_map(|layer| Some((layer, layer.tensors?)));
    layers
        .flat_map(|(layer, [weight, bias])| {
            let weight = (weight, tensor(&layer.weight_sizes()[..layer.weight_rank()]));
            [weight, (bias, tensor(&[layer.output.channels]))]
        })
        .collect()
}

/// Writes a weights file.
pub fn write(path: &Path, tensors: Vec<(&'static str, Tensor)>, metadata: &[(&str, &str)]) {
    let metadata: HashMap<_, _> = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    serialize_to_file(tensors, Some(metadata), path).unwrap();
}

/// The classes of Fashion-MNIST.
pub const CLASSES: &str =
    r#"["T-shirt/top","Trouser","Pullover","Dress","Coat","Sandal","Shirt","Sneaker","Bag","Ankle boot"]"#;

/// A folder of its own for each test, with LeNet-5's weights in it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Self(TempDir::new().unwrap());
        write(
            &folder.path("lenet5.safetensors"),
            tensors(&LENET5),
            &[
                ("architecture", "lenet5"),
                ("classes", CLASSES),
                (
                    "preprocessing",
                    r#"{"color":"grayscale-bt601","range":[0,1],"resize":"bilinear-antialias","height":28,"width":28}"#,
                ),
            ],
        );
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and the folders it lies in.
    pub fn file(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Writes a picture in the format of its extension.
    pub fn picture(&self, name: &str, seed: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tiff")) {
            return fs::write(path, tiff(&picture(seed))).unwrap();
        }
        picture(seed).save(path).unwrap();
    }

    /// The program, run in this folder.
    pub fn program(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infer-cli"));
        command.current_dir(self.0.path()).args(args).env_remove("NO_COLOR");
        command
    }

    /// `infer-cli classify` with LeNet-5.
    pub fn classify(&self, args: &[&str]) -> Command {
        let mut command = self.program(&["classify", "--weights", "lenet5.safetensors"]);
        command.args(args);
        command
    }

    /// The records of `infer-cli classify --format jsonl`, and its exit status.
    pub fn records(&self, args: &[&str]) -> (Vec<serde_json::Value>, i32) {
        let output = self.classify(&["--format", "jsonl"]).args(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (records, output.status.code().unwrap())
    }

    /// Names of the files in it.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A TIFF file (TIFF 6.0, section 4) of a gray picture, uncompressed.
fn tiff(picture: &GrayImage) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    // Width, height, bits, compression, 0 is black, the strip's offset, its rows and its bytes: each a number of four bytes.
    let fields =
        [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (278, height), (279, width * height)];
    let mut file = b"II*\0".to_vec();
    file.extend((8 + width * height).to_le_bytes());
    file.extend(picture.as_raw());
    file.extend((fields.len() as u16).to_le_bytes());
    for (tag, value) in fields {
        file.extend([tag, 4_u16].map(u16::to_le_bytes).concat());
        file.extend([1, value].map(u32::to_le_bytes).concat());
    }
    file.extend([0; 4]);
    file
}

/// A gray picture of 28×28: a bright bar whose place and slant depend on the seed, with some noise.
pub fn picture(seed: u32) -> GrayImage {
    GrayImage::from_fn(28, 28, |x, y| {
        let noise = (x * 31 + y * 17 + seed).wrapping_mul(2_654_435_761) >> 27;
        let bar = (x + y * (seed % 4) + seed * 5) % 28 < 6 + seed % 5;
        Luma([if bar { 220 + noise as u8 } else { noise as u8 }])
    })
}

/// A picture as the bytes of a PNG file.
pub fn png(seed: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture(seed).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A tar archive of members.
pub fn archive<'m>(members: impl IntoIterator<Item = (&'m str, Vec<u8>)>) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The paths of records.
pub fn paths(records: &[serde_json::Value]) -> Vec<&str> {
    records.iter().map(|record| record["path"].as_str().unwrap()).collect()
}
