//! `spinney completions`, and what its scripts ask: `spinney complete`.

use crate::cli::EXIT_FAILURE;
use crate::cli::arguments::definitions;
use crate::cli::completion::{Completed, Kind, completed, script};
use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::machine::{MachineHandle, find_image};

const EXAMPLES: &str = "\
Examples:
  source <(spinney completions bash)
  spinney completions zsh > /usr/local/share/zsh/site-functions/_spinney
  spinney completions fish > ~/.config/fish/completions/spinney.fish";

/// Print the script that completes spinney's command lines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArguments {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// Say what may come next on a command line: each word with what it means after a tab; `:files` for names of files
#[derive(Debug, clap::Args)]
pub struct CompleteArguments {
    /// The command line as far as the cursor, with the program's name
    #[arg(value_name = "WORD", allow_hyphen_values = true, trailing_var_arg = true)]
    words: Vec<String>,
}

/// Runs the verb, gives the exit status.
pub fn completions(arguments: &CompletionsArguments) -> u8 {
    let output = Output::new(false);
    match script(&arguments.shell) {
        Some(text) => {
            output.text(text);
            0
        }
        None => {
            let error = Message::new(format!("no completion for {:?}", arguments.shell));
            output.error(&error, Some("bash, zsh or fish"));
            EXIT_FAILURE
        }
    }
}

/// Runs the verb, gives the exit status.
pub fn complete(arguments: &CompleteArguments) -> u8 {
    let Completed { words, kinds, prefix } = completed(&definitions(), &arguments.words);
    let current = arguments.words.last().map_or("", String::as_str);
    let mut lines: Vec<String> = words.iter().map(|(word, meaning)| format!("{word}\t{meaning}")).collect();
    for kind in kinds {
        let (names, meaning) = match kind {
            Kind::Machines => (machines(), "a machine that runs"),
            Kind::Images => (find_image::names(), "an image"),
            Kind::Files => {
                lines.push(":files".to_owned());
                continue;
            }
        };
        let whole = names.into_iter().map(|name| format!("{prefix}{name}"));
        lines.extend(whole.filter(|word| word.starts_with(current)).map(|word| format!("{word}\t{meaning}")));
    }
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    Output::new(false).text(&text);
    0
}

fn machines() -> Vec<String> {
    let all = MachineHandle::all().unwrap_or_default();
    all.iter().map(|machine| machine.name().to_string()).collect()
}
