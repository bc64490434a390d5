//! Completions for shells and pages of the manual, made of a program's arguments, so that they say what the program does.

use std::{fs, io, path::Path};

use clap::Command;
use clap_complete::{Shell, generate_to};

/// Folders of completions below a prefix such as `/usr`, where each shell looks for them.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "share/bash-completion/completions"),
    (Shell::Zsh, "share/zsh/site-functions"),
    (Shell::Fish, "share/fish/vendor_completions.d"),
];

/// Folder of the manual's pages.
const MANUAL: &str = "share/man/man1";

/// Writes a program's completions for bash, zsh and fish, and a page for it and each of its commands, below `prefix`.
///
/// # Errors
/// A folder or a file cannot be written.
pub fn write(mut command: Command, prefix: &Path) -> io::Result<()> {
    let name = command.get_name().to_string();
    let folder = prefix.join(MANUAL);
    fs::create_dir_all(&folder)?;
    // Before the completions, for which the command gets a `help` of its own.
    clap_mangen::generate_to(command.clone(), folder)?;
    for (shell, folder) in SHELLS {
        let folder = prefix.join(folder);
        fs::create_dir_all(&folder)?;
        let file = generate_to(shell, &mut command, &name, &folder)?;
        if shell == Shell::Bash {
            // bash looks for a file with the program's own name.
            fs::write(folder.join(&name), consistent(&fs::read_to_string(&file)?, &name))?;
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

/// Completions for bash with one spelling of the program's name. clap_complete 4.6 takes a hyphen in it for the beginning of a command
/// in some places, so that nothing is completed.
fn consistent(script: &str, name: &str) -> String {
    script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn each_shell_and_each_command_has_its_file() {
        let prefix = tempfile::tempdir().unwrap();
        let count = Arg::new("count").long("count").help("Number of eggs");
        let command = Command::new("hen-house").about("Lays").version("1.2").subcommand(Command::new("lay").arg(count));
        write(command, prefix.path()).unwrap();
        let read = |name: &str| {
            fs::read_to_string(prefix.path().join("share").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        for name in [
            "bash-completion/completions/hen-house",
            "zsh/site-functions/_hen-house",
            "fish/vendor_completions.d/hen-house.fish",
        ] {
            assert!(read(name).contains("count"), "{name}");
        }
        assert!(
            read("man/man1/hen-house.1").contains("hen\\-house\\-lay(1)")
                && read("man/man1/hen-house-lay.1").contains("Number of eggs")
        );
        // Each state of bash's completions has its case.
        let bash = read("bash-completion/completions/hen-house");
        let states: Vec<_> = bash.split("cmd=\"").skip(2).filter_map(|rest| rest.split('"').next()).collect();
        assert!(
            states.len() > 2 && states.iter().all(|state| bash.contains(&format!(" {state})\n"))),
            "{states:?}\n{bash}"
        );
        assert_eq!(fs::read_dir(prefix.path().join(MANUAL)).unwrap().count(), 2);
    }
}
