//! The command line: what can be asked for, and the help that explains it.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{bail, ensure};
use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};
use infer_core::packed::{Backend, LinearWeights};

/// Classify images with AlexNet or LeNet-5.
#[derive(Debug, Parser)]
#[command(
    name = "infer-cli",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = "Exit status: 0 success, 1 some images could not be classified, 2 it could not be done.\n\n\
                  Try `infer-cli classify --help`."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Classify(Box<Classify>),
    Inspect(Inspect),
    Pack(Pack),
    Bench(Bench),
}

const CLASSIFY_NOTES: &str = "\
Images:
PNG, JPEG, BMP, GIF, WebP, PNM and TIFF; the content decides, not the name. Each is read as Pillow reads it:
JPEG of 8 bits in gray, YCbCr, RGB, CMYK and YCCK, baseline, sequential and progressive, by Huffman and arithmetic coding.
TIFF and BigTIFF of gray with 1, 2, 4, 8 or 16 bits, palettes, RGB and CMYK with 8 or 16 bits, YCbCr, and floating-point \
gray and RGB of 0 to 1; in strips, tiles or planes; uncompressed, LZW, Deflate, PackBits, Zstandard, JPEG, CCITT G3 and G4. \
12 bits, LAB, LZMA and JBIG are not read.

Of an animation or of several pages, the first is taken. 16-bit samples keep their precision. CMYK becomes RGB without a colour \
profile, in JPEG inverted as Adobe writes it; colour profiles are ignored. Transparency is ignored, not laid over anything; \
colours that a TIFF file says were multiplied by it are divided again. Exif orientation is ignored, as torchvision ignores it; \
the orientation that a TIFF file itself has is followed, as Pillow follows it.

Colour becomes gray by ITU-R BT.601 luma; then the image is resized to the network's input, bilinear and antialiased. A file or \
an image that needs more than 512 MiB is refused. So is a damaged or truncated one, but --accept-damaged reads JPEG as far as \
it goes.

In folders, images are known by their extension, in upper or lower case; hidden files are passed over and links followed. \
Results come in the order of the paths, within folders sorted by name. A file named on the command line or in a list is tried \
whatever it is called, /dev/stdin too. HEIC, AVIF, JPEG 2000, JPEG XL and cameras' raw files are not read: in folders they are \
skipped and counted (-v lists them), and named they are error records.

Paths that are not UTF-8 are written with \\xNN for each other byte, and \\\\ for \\; --null-output writes their bytes.

An image that cannot be read becomes an error record; the others are classified all the same.

Exit status:
  0  every image was classified
  1  some images could not be classified
  2  wrong usage, no images found, unusable weights, or the output could not be written
  130, 143  interrupted by Ctrl-C or SIGTERM; what was classified is written, with --output to FILE.partial

Examples:
  infer-cli classify photos/
      Every image under photos/, as a table.
  infer-cli classify --format jsonl --top-k 3 photos/ | jq -r 'select(.probability < 0.5).path'
      The images that the network is unsure about.
  infer-cli classify --format csv --output results.csv --weights lenet5.safetensors photos/
      A file for a spreadsheet, by other weights.
  fd -0 -e png . photos/ | infer-cli classify --files-from - --null
      Images that another program finds.
  infer-cli classify --evaluate --format csv samples/ > results.csv
      Accuracy and confusion matrix of images that lie in folders named after their class.
  infer-cli classify --invert scans/
      Dark objects on white, for a network trained on light objects on black.";

/// Classify images and folders of images
#[derive(Debug, Args)]
#[command(after_help = "`infer-cli classify --help` shows all options, what is read and how, and examples.", after_long_help = CLASSIFY_NOTES)]
pub struct Classify {
    /// Images, and folders that are searched for images
    #[arg(value_name = "PATH", required_unless_present = "files_from", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,

    /// Weights, as the trainer or PyTorch writes them [default: alexnet.safetensors, else
    /// runs/alexnet/alexnet.safetensors, else the model in the program, for clothing, light on black]
    ///
    /// The file's metadata say which network it is for, the names of the classes and the preprocessing. A file without
    /// metadata is known by its tensors' names. It is mapped into memory, so it must not be changed while in use.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,

    /// Number of classes to print for each image, the most likely first
    #[arg(short = 'k', long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub top_k: u16,

    /// Format of the results [default: as the output file's name ends, or table]
    #[arg(short, long, value_enum)]
    pub format: Option<Format>,

    /// Write results to FILE, which appears, or is replaced, only when it is complete
    ///
    /// Until then they are in FILE.partial, which stays if the program is interrupted. FILE.csv, FILE.jsonl and FILE.txt (a
    /// table) are written in that format.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Go on from the FILE.partial that an interrupted run with the same weights, options and images has left
    #[arg(long, requires = "output", conflicts_with_all = ["evaluate", "null_output"], hide_short_help = true)]
    pub resume: bool,

    /// Print the network's raw outputs too
    #[arg(long, hide_short_help = true)]
    pub logits: bool,

    /// Number of threads [default: the number of CPUs]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Instructions to compute with; auto takes the fastest that this CPU has
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Kernel::Auto, hide_short_help = true)]
    pub kernel: Kernel,

    /// Names of the classes in order, one a line or as a JSON array, instead of those in the weights
    ///
    /// Without this and without names in the weights, classes are called 0, 1, 2, …
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub labels: Option<PathBuf>,

    /// Invert the images: black becomes white
    #[arg(long)]
    pub invert: bool,

    /// Read damaged JPEG files as far as they go, as libjpeg does, instead of refusing them
    ///
    /// What is missing is filled by a guess, mostly gray, which is classified as if it were the image's.
    #[arg(long, hide_short_help = true)]
    pub accept_damaged: bool,

    /// Turn images as their Exif orientation says; --orient=false leaves them as they are stored [default: as the weights were
    /// trained]
    #[arg(
        long,
        value_name = "YES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_short_help = true
    )]
    pub orient: Option<bool>,

    /// Search folders with all that is below them; this is the default
    #[arg(short, long, overrides_with = "no_recursive", hide_short_help = true)]
    pub recursive: bool,

    /// Take only images that lie directly in a folder
    #[arg(long, overrides_with = "recursive", hide_short_help = true)]
    pub no_recursive: bool,

    /// Search hidden files and folders too
    #[arg(short = 'H', long, hide_short_help = true)]
    pub hidden: bool,

    /// Read further paths from FILE, one a line; - is the standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub files_from: Option<PathBuf>,

    /// Paths in --files-from end with a NUL character instead of a line end
    #[arg(short = '0', long, requires = "files_from", hide_short_help = true)]
    pub null: bool,

    /// Write paths as their bytes and end records with a NUL character instead of a line end; not with --format jsonl
    #[arg(short = 'Z', long, hide_short_help = true)]
    pub null_output: bool,

    /// In CSV, write ' before cells that begin with =, +, - or @, which spreadsheets take for formulas
    #[arg(long, hide_short_help = true)]
    pub csv_safe: bool,

    /// Show no progress and no notes, only warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// List the files that are skipped because their format is not read
    #[arg(short, long)]
    pub verbose: bool,

    /// Stop at the first image that cannot be classified
    ///
    /// Its record is the last one. With --output, no file is written.
    #[arg(long, hide_short_help = true)]
    pub strict: bool,

    /// Compare results with the folders' names and report accuracy and confusion matrix on the standard error
    ///
    /// The nearest folder around an image that has a class's name tells its class; characters other than letters, digits
    /// and - may stand as _, so that T-shirt_top is T-shirt/top.
    #[arg(long)]
    pub evaluate: bool,

    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto, action = ArgAction::Set, hide_short_help = true)]
    pub color: ColorChoice,
}

impl Classify {
    /// The format of the results: the one that is given, or that of the output file's name.
    ///
    /// # Errors
    /// The name ends in another format than the one that is given, or in none that is written.
    pub fn format(&self) -> anyhow::Result<Format> {
        let Some(output) = &self.output else { return Ok(self.format.unwrap_or(Format::Table)) };
        let extension = output.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let named = match extension.as_deref() {
            Some("csv") => Some(Format::Csv),
            Some("jsonl" | "ndjson") => Some(Format::Jsonl),
            Some("txt") => Some(Format::Table),
            _ => None,
        };
        let output = output.display();
        match (self.format, named, extension) {
            (Some(given), Some(named), _) if given != named => bail!(
                "--output {output}: the name is one of a file in the format {named}, and --format is {given}; change one of them"
            ),
            (None, None, Some(extension)) => bail!(
                "--output {output}: .{extension} is no format that is written; name a file .csv, .jsonl or .txt (a table), or say \
                 --format"
            ),
            (given, named, _) => Ok(given.or(named).unwrap_or(Format::Table)),
        }
    }
}

/// The instructions that a network is computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// The fastest that this CPU has
    Auto,
    /// Those that every CPU of this kind has
    Scalar,
    /// x86-64 with AVX2, FMA and F16C
    Avx2,
    /// x86-64 with AVX-512
    Avx512,
    /// aarch64 with NEON
    Neon,
}

impl Kernel {
    /// The backend of infer-core.
    ///
    /// # Errors
    /// This CPU does not have it.
    pub fn backend(self) -> anyhow::Result<Backend> {
        let backend = match self {
            Self::Auto => Backend::best(),
            Self::Scalar => Backend::Scalar,
            Self::Avx2 => Backend::Avx2,
            Self::Avx512 => Backend::Avx512,
            Self::Neon => Backend::Neon,
        };
        let available = || Backend::ALL.iter().filter(|b| b.available()).map(Backend::to_string);
        ensure!(
            backend.available(),
            "--kernel {backend}: this CPU does not have the instructions, only {}",
            available().collect::<Vec<_>>().join(", ")
        );
        Ok(backend)
    }
}

/// Format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// A JSON object a line: path, class, label, probability, top, logits; or path, error
    Jsonl,
    /// Comma-separated values (RFC 4180) under a header: path, class, label, probability, …, error
    Csv,
}

impl fmt::Display for Format {
    /// Writes its name on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

const INSPECT_NOTES: &str = "\
Exit status:
  0  the file is a valid safetensors file
  2  wrong usage, or it is not, or it cannot be read

Examples:
  infer-cli inspect alexnet.safetensors
  infer-cli inspect --json model.safetensors | jq '.tensors[].name'";

/// Show what a safetensors file holds and which network it fits
#[derive(Debug, Args)]
#[command(after_long_help = INSPECT_NOTES)]
pub struct Inspect {
    /// A safetensors file
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const PACK_NOTES: &str = "\
Packed weights open at once, as they are mapped and used in place; others are packed each time a program starts. The metadata \
(classes, preprocessing, …) stay with them. They are good for every CPU and every --kernel, but only for this version's layout, \
and not for training: keep the original.

Examples:
  infer-cli pack --weights alexnet.safetensors --output alexnet.packed.safetensors
  infer-cli pack --weights alexnet.safetensors --linear-weights f16 --output alexnet.f16.safetensors
      Less memory, and single images in two thirds of the time; logits change by less than a thousandth of the largest.";

/// Write weights packed, the way the kernels read them
#[derive(Debug, Args)]
#[command(after_long_help = PACK_NOTES)]
pub struct Pack {
    /// Weights, as the trainer or PyTorch writes them [default: as classify]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,

    /// Where to write the packed weights; the file appears when it is complete
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,

    /// Replace FILE if it exists
    #[arg(long)]
    pub force: bool,

    /// Number format of the stored weights of linear layers; arithmetic is f32 in either case
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Linear::F32)]
    pub linear_weights: Linear,
}

/// Number format of stored linear weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Linear {
    /// 32 bits, as they are
    F32,
    /// Rounded to half-width floats
    F16,
}

impl From<Linear> for LinearWeights {
    fn from(linear: Linear) -> Self {
        match linear {
            Linear::F32 => Self::F32,
            Linear::F16 => Self::F16,
        }
    }
}

/// Measure a network's speed on this machine, in all and layer by layer
#[derive(Debug, Args)]
pub struct Bench {
    /// Weights, packed or not [default: as classify]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,

    /// Instructions to compute with; auto takes the fastest that this CPU has
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Kernel::Auto)]
    pub kernel: Kernel,

    /// Duration of each measurement in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1.5", value_parser = seconds)]
    pub time: Duration,

    /// Number of threads to measure, beside one [default: the number of CPUs]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a number from 0 to 3600".into())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command, Format};

    #[test]
    fn the_format_follows_the_name_of_the_output() {
        let format = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["infer-cli", "classify", "x"], arguments].concat()).unwrap();
            let Command::Classify(classify) = cli.command else { panic!("another command") };
            classify.format().map_err(|error| error.to_string())
        };
        assert_eq!(format(&[]), Ok(Format::Table));
        for (name, expected) in [
            ("x.csv", Format::Csv),
            ("x.CSV", Format::Csv),
            ("x.jsonl", Format::Jsonl),
            ("x.ndjson", Format::Jsonl),
            ("x.txt", Format::Table),
            ("results", Format::Table),
            ("/dev/null", Format::Table),
        ] {
            assert_eq!(format(&["-o", name]), Ok(expected), "{name}");
        }
        assert_eq!(format(&["-o", "x.csv", "-f", "csv"]), Ok(Format::Csv));
        assert_eq!(format(&["-o", "x.tsv", "-f", "csv"]), Ok(Format::Csv));
        assert!(format(&["-o", "x.csv", "-f", "jsonl"]).unwrap_err().contains("change one of them"));
        assert!(format(&["-o", "x.parquet"]).unwrap_err().contains(".parquet is no format that is written"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
