//! The command line: what can be asked for, and the help that explains it.

use std::path::PathBuf;

use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};

/// Classify images with AlexNet or LeNet-5.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, propagate_version = true, after_help = "Try `infer-cli classify --help`.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Classify(Box<Classify>),
    Inspect(Inspect),
}

const CLASSIFY_NOTES: &str = "\
Images:
PNG, JPEG, BMP, GIF, WebP, PNM and TIFF; the content decides, not the name. Of an animation the first frame is taken. \
Colour becomes gray by ITU-R BT.601 luma; transparency and EXIF orientation are ignored, as torchvision ignores them; then \
the image is resized to the network's input, bilinear and antialiased. Files, and decoded images, of more than 512 MiB are \
refused.

In folders, images are known by their extension, in upper or lower case; hidden files are passed over and links followed. \
Results come in the order of the paths, within folders sorted by name. A file named on the command line or in a list is tried \
whatever it is called, /dev/stdin too.

An image that cannot be read becomes an error record; the others are classified all the same.

Exit status:
  0  every image was classified
  1  some images could not be classified
  2  wrong usage, no images found, unusable weights, or the output could not be written

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
#[command(after_long_help = CLASSIFY_NOTES)]
pub struct Classify {
    /// Images, and folders that are searched for images
    #[arg(value_name = "PATH", required_unless_present = "files_from", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,

    /// Weights, as the trainer or PyTorch writes them [default: alexnet.safetensors, else
    /// runs/alexnet/alexnet.safetensors]
    ///
    /// The file's metadata say which network it is for, the names of the classes and the preprocessing. A file without
    /// metadata is known by its tensors' names. It is mapped into memory, so it must not be changed while in use.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,

    /// How many classes to name for each image, the most likely first; at most all there are
    #[arg(short = 'k', long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub top_k: u16,

    /// How to print results
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Write results to FILE, which appears only when it is complete
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Print the network's raw outputs too
    #[arg(long)]
    pub logits: bool,

    /// How many images to work on at a time [default: the number of CPUs]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Names of the classes in order, one a line or as a JSON array, instead of those in the weights
    ///
    /// Without this and without names in the weights, classes are called 0, 1, 2, …
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub labels: Option<PathBuf>,

    /// Invert the images: black becomes white
    #[arg(long)]
    pub invert: bool,

    /// Search folders with all that is below them; this is the default
    #[arg(short, long, overrides_with = "no_recursive")]
    pub recursive: bool,

    /// Take only images that lie directly in a folder
    #[arg(long, overrides_with = "recursive")]
    pub no_recursive: bool,

    /// Search hidden files and folders too
    #[arg(short = 'H', long)]
    pub hidden: bool,

    /// Read further paths from FILE, one a line; - is the standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files_from: Option<PathBuf>,

    /// Paths in --files-from end with a NUL character instead of a line end
    #[arg(short = '0', long, requires = "files_from")]
    pub null: bool,

    /// Stop at the first image that cannot be classified
    ///
    /// Its record is the last one. With --output, no file is written.
    #[arg(long)]
    pub strict: bool,

    /// Compare results with the folders' names and report accuracy and confusion matrix on the standard error
    ///
    /// The folder that an image lies in tells its class where it has the class's name; characters other than letters,
    /// digits and - may stand as _, so that T-shirt_top is T-shirt/top.
    #[arg(long)]
    pub evaluate: bool,

    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto, action = ArgAction::Set)]
    pub color: ColorChoice,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// A JSON object a line: path, class, label, probability, top, logits; or path, error
    Jsonl,
    /// Comma-separated values (RFC 4180) under a header: path, class, label, probability, …, error
    Csv,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
