//! The commands of README and guides are ones that the programs understand. (Their Rust is compiled as documentation tests, in
//! `tests/src/lib.rs`.)

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::program;

/// Lines of the shell blocks of a document, without comments.
fn shell_lines(document: &str) -> impl Iterator<Item = &str> {
    let mut within = false;
    document.lines().filter_map(move |line| {
        if line.starts_with("```") {
            within = line == "```sh";
            return None;
        }
        let line = line.split(" #").next().unwrap_or_default().trim();
        (within && !line.is_empty()).then_some(line)
    })
}

/// Program and arguments of a command line, if it runs one of this workspace.
fn ours(line: &str) -> Option<(&'static str, Vec<&str>)> {
    let line = line.split(" | ").next()?;
    let mut words = line.split_whitespace();
    let program = match words.next()? {
        "cargo" => {
            let name = line.split_once("-p alexnet-")?.1.split_whitespace().next()?;
            // Behind the dashes, the program's own arguments.
            words = line.split_once(" -- ").map_or("", |(_, arguments)| arguments).split_whitespace();
            name
        }
        name => name.rsplit('/').next()?,
    };
    let program = ["trainer", "infer-cli"].into_iter().find(|known| *known == program)?;
    Some((program, words.collect()))
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut documents = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for folder in ["docs", "trainer", "infer-cli", "infer-core"] {
        let entries = fs::read_dir(root.join(folder)).expect("a folder");
        documents.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents
}

#[test]
fn the_programs_understand_the_commands_of_the_documentation() {
    let mut checked = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        for line in shell_lines(&text) {
            // This build has no CUDA.
            let Some((name, arguments)) = ours(line).filter(|(_, arguments)| arguments.first() != Some(&"cuda")) else {
                continue;
            };
            // What stands before --help is understood before help is given.
            let output =
                Command::new(program(name)).args(&arguments).arg("--help").output().expect("the program starts");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {line}\n{errors}", document.display());
            checked += 1;
        }
    }
    assert!(checked >= 15, "only {checked} commands were found");
}

#[test]
fn commands_are_taken_out_of_documents() {
    let text = "trainer\n```sh\ntrainer --quick   # short\ncargo run -p alexnet-infer-cli -- bench\nls\n```\n```text\ntrainer\n```\n";
    let found: Vec<_> = shell_lines(text).map(ours).collect();
    assert_eq!(found, [Some(("trainer", vec!["--quick"])), Some(("infer-cli", vec!["bench"])), None]);
}
