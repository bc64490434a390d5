//! A campaign of SIGKILLs at random moments of `infer-cli classify`: starting, in the middle of its results, writing the last of them
//! under their name. Each time, what is left is the beginning of what a run that nobody disturbs writes, and the run that goes on ends
//! with the same, to the byte.
//!
//! `ALEXNET_KILLS` is the number of kills, `ALEXNET_KILLS_SEED` begins another sequence of moments: see `scripts/kill-runs`.
#![cfg(unix)]

mod common;

use std::{
    collections::BTreeMap,
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{Folder, archive, png};
use parquet::file::reader::{FileReader, SerializedFileReader};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Images in folders, and as many in a tar shard.
const FILES: u32 = 1500;
/// Different pictures among them.
const PICTURES: u32 = 40;
/// One image of so many is damaged.
const DAMAGED: u32 = 50;

/// A number from the environment.
fn from_environment(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// Weights, and the images to classify. Some paths have what CSV and JSON must escape, line ends among it.
fn images() -> Folder {
    let folder = Folder::new();
    let pictures: Vec<_> = (0..PICTURES).map(png).collect();
    let image = |number: u32| {
        let picture = &pictures[(number % PICTURES) as usize];
        let length = if number.is_multiple_of(DAMAGED) { picture.len() / 2 } else { picture.len() };
        picture[..length].to_vec()
    };
    for number in 0..FILES {
        let special = if number.is_multiple_of(7) { "ü, \"quoted\"\r\n\r\n" } else { "" };
        folder.file(&format!("images/{}/{special}{number:05}.png", number / 500), &image(number));
    }
    let members: Vec<_> = (0..FILES).map(|number| (format!("{number:05}.png"), image(number + 1))).collect();
    let members = members.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()));
    folder.file("shard.tar", &archive(members));
    folder
}

/// A way to write results.
struct Case {
    /// Its options, `--output` among them.
    options: &'static [&'static str],
    /// The file of the results, or the folder of Parquet files.
    output: &'static str,
    /// The file that they are in until they are complete; of a folder, they are in hidden ones.
    unfinished: &'static str,
}

const CASES: [Case; 5] = [
    Case { options: &["-f=csv", "-k=3", "-o=out"], output: "out", unfinished: "out.partial" },
    Case { options: &["-f=jsonl", "--logits", "-o=out"], output: "out", unfinished: "out.partial" },
    Case { options: &["-f=parquet", "--rows=400", "-o=out"], output: "out", unfinished: "" },
    Case {
        options: &["-f=csv", "--logits", "-o=out", "--partition=hash:0/2"],
        output: "out/part-00000-of-00002.csv",
        unfinished: "out/part-00000-of-00002.csv.partial",
    },
    Case { options: &["-f=parquet", "--rows=300", "-o=out", "--partition=slice:1/2"], output: "out", unfinished: "" },
];

impl Case {
    /// Whether the same command goes on from what a run has left, so that nobody needs to know what it is.
    fn goes_on_by_itself(&self) -> bool {
        self.options.iter().any(|option| option.starts_with("--partition"))
    }

    /// The files of results under their own names, and the beginning of one that is not complete.
    fn left(&self, run: &Path) -> (BTreeMap<PathBuf, Vec<u8>>, Option<Vec<u8>>) {
        let output = run.join(self.output);
        let paths = if output.is_dir() {
            fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().path()).collect()
        } else {
            vec![output]
        };
        let whole = paths.into_iter().filter(|path| path.is_file() && !hidden(path));
        let whole =
            whole.map(|path| (path.strip_prefix(run).unwrap().to_path_buf(), fs::read(path).unwrap())).collect();
        let unfinished = (!self.unfinished.is_empty()).then(|| fs::read(run.join(self.unfinished)).ok()).flatten();
        (whole, unfinished)
    }

    /// Whether all results are there: the file has its name, or the last Parquet file says that it is the last.
    fn complete(&self, run: &Path) -> bool {
        let Some((path, _)) = self.left(run).0.pop_last() else { return false };
        if !self.unfinished.is_empty() {
            return true;
        }
        let reader = SerializedFileReader::new(File::open(run.join(path)).unwrap()).unwrap();
        let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap();
        metadata.iter().any(|pair| pair.key == "last" && pair.value.as_deref() == Some("true"))
    }

    /// Bytes of results, complete or not; but not those of a Parquet file that is not complete, which the next run writes anew.
    fn written(&self, run: &Path) -> u64 {
        let length = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map_or(0, |file| file.len());
        let folder = fs::read_dir(run.join("out")).into_iter().flatten().flatten().map(|entry| entry.path());
        let folder: u64 = folder.filter(|path| !hidden(path)).map(|path| length(&path)).sum();
        folder + length(&run.join("out")) + length(&run.join("out.partial"))
    }

    /// Starts the program in `run`, where it goes on if there is something to go on from.
    fn start(&self, images: &Folder, run: &Path) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infer-cli"));
        command.current_dir(run).args(["classify", "-j=2", "-w"]).arg(images.path("lenet5.safetensors"));
        command.args(self.options).arg(images.path("images")).arg(images.path("shard.tar"));
        let (whole, unfinished) = self.left(run);
        if !self.goes_on_by_itself() && (!whole.is_empty() || unfinished.is_some()) {
            command.arg("--resume");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits until a run is over, or has written so many bytes.
    fn wait(&self, child: &mut Child, run: &Path, bytes: u64) {
        let patience = Instant::now() + Duration::from_secs(120);
        while self.written(run) < bytes && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < patience, "{:?}: {bytes} bytes are not written", self.options);
            thread::sleep(Duration::from_micros(100));
        }
    }
}

fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Counts of the states that kills have met.
#[derive(Debug, Default)]
struct Met {
    /// Nothing written yet.
    beginning: u64,
    /// Results that are not complete.
    middle: u64,
    /// Of these, text that was cut off further.
    cut: u64,
    /// All results under their names.
    end: u64,
}

#[test]
fn runs_that_are_killed_at_random_moments_leave_what_those_do_that_are_not() {
    let (kills, seed) = (from_environment("ALEXNET_KILLS", 25), from_environment("ALEXNET_KILLS_SEED", 1));
    let images = images();
    let mut random = StdRng::seed_from_u64(seed);
    let undisturbed = CASES.map(|case| {
        let run = tempfile::tempdir().unwrap();
        let output = case.start(&images, run.path()).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let (whole, unfinished) = case.left(run.path());
        assert!(unfinished.is_none() && case.complete(run.path()));
        (case, whole, names_in(run.path()))
    });
    let (mut killed, mut ends, mut met) = (0, 0, Met::default());
    for (case, whole, names) in undisturbed.iter().cycle() {
        if killed >= kills && ends >= CASES.len() {
            break;
        }
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        let all: u64 = whole.values().map(|file| file.len() as u64).sum();
        while !case.complete(run) {
            let before = case.written(run);
            let mut child = case.start(&images, run);
            // One kill in eight comes while the program starts, one where the last byte is written and the file gets its name, the
            // others in between.
            let wanted = match random.gen_range(0..8) {
                0 => 0,
                1 => all,
                _ => random.gen_range(before..=all),
            };
            case.wait(&mut child, run, wanted);
            // Long enough for some Parquet files more.
            thread::sleep(Duration::from_micros(random.gen_range(0..if wanted == all { 1000 } else { 20_000 })));
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let place = format!("{:?} after {killed} kills, ALEXNET_KILLS_SEED={seed}", case.options);
            // Some images are damaged.
            assert!(matches!(output.status.code(), None | Some(1)), "{place}: {said}");
            let (found, unfinished) = case.left(run);
            for (path, bytes) in &found {
                assert!(whole.get(path) == Some(bytes), "{place}: {} differs", path.display());
            }
            if let Some(text) = &unfinished {
                let expected = whole.values().next().unwrap();
                assert!(expected.starts_with(text), "{place}: what is left is not the beginning of the results");
            }
            if output.status.code().is_some() {
                assert!(case.complete(run), "{place}: the run has ended without its results: {said}");
                continue;
            }
            killed += 1;
            match (case.complete(run), case.written(run)) {
                (true, _) => met.end += 1,
                (false, 0) => met.beginning += 1,
                (false, _) => met.middle += 1,
            }
            // Text mostly ends with a record. A crash of the machine ends it anywhere.
            if let Some(text) = unfinished.filter(|text| !text.is_empty() && random.gen_ratio(1, 3)) {
                let kept = text.len() - random.gen_range(1..=text.len().min(300));
                fs::write(run.join(case.unfinished), &text[..kept]).unwrap();
                met.cut += 1;
            }
        }
        ends += 1;
        let place = format!("{:?} after {killed} kills, ALEXNET_KILLS_SEED={seed}", case.options);
        assert!(case.left(run).0 == *whole, "{place}: the end differs");
        assert_eq!(names_in(run), *names, "{place}");
    }
    println!("{killed} kills, {ends} ends, all the same bytes: {met:?}");
    assert!(met.middle > 0 && met.cut > 0, "the moments are too much alike: {met:?}");
}

/// The names of all files in the folder of a run.
fn names_in(run: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(run).unwrap().chain(fs::read_dir(run.join("out")).into_iter().flatten()) {
        names.push(entry.unwrap().path().strip_prefix(run).unwrap().to_path_buf());
    }
    names.sort();
    names
}
