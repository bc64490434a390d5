//! The arguments of `infer-cli classify`.

use std::{fmt, path::PathBuf};

use anyhow::bail;
use clap::{ArgAction, Args, ColorChoice, ValueEnum, ValueHint};

use super::Kernel;
use crate::partition::Partition;

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

A tar shard, as WebDataset writes them, is named itself: shard.tar, .tar.gz, .tgz, .tar.zst, .tzst, or - for one on the standard \
input, or several at once as 'name-{000000..000999}.tar'. It is read once, from front to back, in bounded memory. A record's path is \
the shard's joined with the member's name. Members whose names are no images' are passed over and counted.

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
  infer-cli classify --format jsonl --output results --partition slice:3/100 'train-{0000..0999}.tar'
      Ten of a thousand shards, into results/part-00003-of-00100.jsonl.
  infer-cli classify --format parquet --output results photos/
      A folder of Parquet files, which Spark, pandas and DuckDB read.
  infer-cli classify --invert scans/
      Dark objects on white, for a network trained on light objects on black.";

/// Classify images and folders of images
#[derive(Debug, Args)]
#[command(after_help = "`infer-cli classify --help` shows all options, what is read and how, and examples.", after_long_help = CLASSIFY_NOTES)]
pub struct Classify {
    /// Images, folders that are searched for images, and tar shards; - is a shard on the standard input
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
    /// table) are written in that format. With --format parquet and with --partition, FILE is a folder, which is created if it
    /// is not there.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Classify one of several parts of the images: slice:M/N, hash:M/N, slice:slurm or hash:slurm
    ///
    /// Part M of N, counted from 0, has every N-th file (slice), or those whose paths' digests say so (hash), which stay in
    /// their parts when files are added. A shard is never divided. slurm takes M and N from an array's task
    /// (SLURM_ARRAY_TASK_ID, _MIN, _STEP, _COUNT). --output is then a folder, for files such as part-00003-of-00100.jsonl. A
    /// part that is complete is passed over, and one that was interrupted is gone on from.
    #[arg(long, value_name = "PART", hide_short_help = true)]
    pub partition: Option<Partition>,

    /// Number of rows of each file that --format parquet writes
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub rows: u32,

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

    /// Progress on the standard error: auto is a bar if it is a terminal, json an object a line, once a second
    ///
    /// The keys are done, failed, total (null until it is known, and for shards), seconds, images_per_second and finished.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = ProgressStyle::Auto, hide_short_help = true)]
    pub progress: ProgressStyle,

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

    /// Write a page with the images by class, those first that the network is least sure of
    ///
    /// Up to 1,000 small pictures with their probabilities, shared by the classes, and the first 100 errors; it says how many
    /// there are beside them. With --evaluate, wrong answers are marked.
    #[arg(long, value_name = "FILE.html", conflicts_with = "resume", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,

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
            Some("parquet") => Some(Format::Parquet),
            _ => None,
        };
        let output = output.display();
        match (self.format, named, extension) {
            (Some(given), Some(named), _) if given != named => bail!(
                "--output {output}: the name is one of a file in the format {named}, and --format is {given}; change one of them"
            ),
            (None, None, Some(extension)) => bail!(
                "--output {output}: .{extension} is no format that is written; name a file .csv, .jsonl, .parquet or .txt (a table), or \
                 say --format"
            ),
            (given, named, _) => Ok(given.or(named).unwrap_or(Format::Table)),
        }
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
    /// A folder of Apache Parquet files, with the columns that are the keys of jsonl
    Parquet,
}

/// Form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressStyle {
    /// A bar on a terminal, else nothing
    Auto,
    /// A JSON object a line
    Json,
    /// Nothing
    None,
}

impl Format {
    /// The end of its files' names.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Table => "txt",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for Format {
    /// Writes its name on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Format;
    use crate::args::{Cli, Command};

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
            ("x.parquet", Format::Parquet),
            ("results", Format::Table),
            ("/dev/null", Format::Table),
        ] {
            assert_eq!(format(&["-o", name]), Ok(expected), "{name}");
        }
        assert_eq!(format(&["-o", "x.csv", "-f", "csv"]), Ok(Format::Csv));
        assert_eq!(format(&["-o", "x.tsv", "-f", "csv"]), Ok(Format::Csv));
        assert!(format(&["-o", "x.csv", "-f", "jsonl"]).unwrap_err().contains("change one of them"));
        assert!(format(&["-o", "x.xlsx"]).unwrap_err().contains(".xlsx is no format that is written"));
    }
}
