//! Partitions: the part of all images that one of several runs classifies.

use std::{env, path::Path, str::FromStr};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

/// Variables that Slurm sets for each task of an array of jobs.
const SLURM: [&str; 4] =
    ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT"];

/// A further one, which tells an array with gaps.
const SLURM_MAX: &str = "SLURM_ARRAY_TASK_MAX";

/// One of several parts of the images. A shard is never divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    method: Method,
    /// Number of the part, from 0.
    part: u32,
    /// Number of parts.
    parts: u32,
}

/// Rule by which an image or a shard belongs to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// By its place among all: each part gets every N-th.
    Slice,
    /// By its path, so that files that are added later move no other.
    Hash,
}

impl Partition {
    /// Whether the file at a place among all, with this path, belongs to the part.
    pub fn takes(self, place: u64, path: &Path) -> bool {
        let number = match self.method {
            Method::Slice => place,
            Method::Hash => hash(path),
        };
        number % u64::from(self.parts) == u64::from(self.part)
    }

    /// The beginning of the names of the part's files, such as `part-00003-of-00100`.
    pub fn name(self) -> String {
        format!("part-{:05}-of-{:05}", self.part, self.parts)
    }

    fn new(method: Method, part: u32, parts: u32) -> anyhow::Result<Self> {
        ensure!(parts > 0, "there must be at least 1 part");
        ensure!(part < parts, "parts are counted from 0: of {parts}, the last is {}", parts - 1);
        Ok(Self { method, part, parts })
    }

    /// The part of a task of Slurm, by its variables.
    fn of_slurm(method: Method, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let number = |name: &str| -> anyhow::Result<u32> {
            let text = variable(name)
                .with_context(|| format!("{name} is not set: this is no task of an array (sbatch --array=0-99)"))?;
            text.parse().with_context(|| format!("{name} is {text:?}, expected a number"))
        };
        let [id, first, step, count] = [number(SLURM[0])?, number(SLURM[1])?, number(SLURM[2])?, number(SLURM[3])?];
        let last = if variable(SLURM_MAX).is_some() { Some(number(SLURM_MAX)?) } else { None };
        let place = |id: u32| {
            let distance = id.checked_sub(first)?;
            (step > 0 && distance.is_multiple_of(step)).then(|| distance / step)
        };
        let ends = |last| place(last).is_some_and(|place| place.checked_add(1) == Some(count));
        match place(id) {
            Some(part) if part < count && last.is_none_or(ends) => Self::new(method, part, count),
            _ => bail!(
                "task {id} of an array of {count} from {first} by {step}: only arrays without gaps have parts, such as --array=0-99"
            ),
        }
    }
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || -> anyhow::Result<Self> {
            let (method, part) = text.split_once(':').unwrap_or((text, ""));
            let method = match method {
                "slice" => Method::Slice,
                "hash" => Method::Hash,
                _ => bail!("expected slice:M/N, hash:M/N, slice:slurm or hash:slurm"),
            };
            if part == "slurm" {
                return Self::of_slurm(method, |name| env::var(name).ok());
            }
            let numbers =
                part.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
            let (part, parts) =
                numbers.context("expected slice:M/N or hash:M/N with numbers M and N, or slurm for M/N")?;
            Self::new(method, part, parts)
        };
        parse().map_err(|error| format!("{error:#}"))
    }
}

/// The first eight bytes of the SHA-256 of a path, the highest first.
fn hash(path: &Path) -> u64 {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(partition: &str, count: u64) -> Vec<u64> {
        let partition: Partition = partition.parse().unwrap();
        (0..count).filter(|place| partition.takes(*place, Path::new(&format!("{place}.png")))).collect()
    }

    #[test]
    fn every_image_is_in_one_part() {
        assert_eq!(taken("slice:1/3", 8), [1, 4, 7]);
        for method in ["slice", "hash"] {
            let mut all: Vec<_> = (0..7).flat_map(|part| taken(&format!("{method}:{part}/7"), 1000)).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..1000), "{method}");
        }
        // Values of Python: int.from_bytes(hashlib.sha256(path).digest()[:8], "big").
        assert_eq!(hash(Path::new("a.png")), PYTHON_A);
        assert_eq!(hash(Path::new("set/ü.png")), PYTHON_U);
    }

    const PYTHON_A: u64 = 9_153_304_788_650_147_672;
    const PYTHON_U: u64 = 12_585_590_105_982_277_722;

    #[test]
    fn a_hash_does_not_depend_on_other_files() {
        let partition: Partition = "hash:2/5".parse().unwrap();
        let path = |number: u64| format!("{number}.png");
        assert!(
            (0..100).all(|n| partition.takes(0, Path::new(&path(n))) == partition.takes(n + 7, Path::new(&path(n))))
        );
        let sizes: Vec<_> = (0..5).map(|part| taken(&format!("hash:{part}/5"), 1000).len()).collect();
        assert!(sizes.iter().all(|size| (150..250).contains(size)), "{sizes:?}");
    }

    #[test]
    fn what_is_no_part_is_refused() {
        let error = |text: &str| text.parse::<Partition>().unwrap_err();
        assert_eq!(error("slice:3/3"), "parts are counted from 0: of 3, the last is 2");
        assert_eq!(error("hash:0/0"), "there must be at least 1 part");
        for text in ["slice:1", "slice:-1/3", "hash:a/b", "slice"] {
            assert!(error(text).starts_with("expected slice:M/N or hash:M/N with numbers"), "{text}");
        }
        assert!(error("count:1/2").starts_with("expected slice:M/N, hash:M/N, slice:slurm or hash:slurm"));
        assert_eq!("slice:3/100".parse::<Partition>().unwrap().name(), "part-00003-of-00100");
    }

    #[test]
    fn slurms_tasks_are_parts() {
        let of = |id: &str, first: &str, step: &str, count: &str, last: Option<&str>| {
            let variable = |name: &str| {
                let values = SLURM.into_iter().zip([id, first, step, count]).chain(last.map(|last| (SLURM_MAX, last)));
                values
                    .filter(|(_, value)| !value.is_empty())
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value.to_string())
            };
            Partition::of_slurm(Method::Slice, variable).map(Partition::name).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(of("3", "0", "1", "100", Some("99")).unwrap(), "part-00003-of-00100");
        assert_eq!(of("11", "5", "3", "4", None).unwrap(), "part-00002-of-00004");
        assert!(of("", "0", "1", "4", None).unwrap_err().starts_with("SLURM_ARRAY_TASK_ID is not set"));
        assert!(
            of("x", "0", "1", "4", None).unwrap_err().starts_with("SLURM_ARRAY_TASK_ID is \"x\", expected a number")
        );
        // --array=1,3,7: the first task could be a part, but the others could not.
        for (id, step) in [("1", "1"), ("7", "1"), ("7", "0"), ("0", "1")] {
            assert!(of(id, "1", step, "3", Some("7")).unwrap_err().contains("only arrays without gaps"), "{id}");
        }
        assert!(of("7", "1", "1", "3", None).unwrap_err().contains("only arrays without gaps"));
    }
}
