//! Man pages of all verbs, made of the definitions that the command line is parsed by, and of what is written by hand here: what the
//! program is as a whole, what files and variables it reads, which pages belong together.
//!
//! Pure: pages are names with texts; `spinney man` writes them.

mod page;
mod prose;

#[cfg(test)]
mod tests;

use clap::Command;

/// Section 1 of the manual: commands that users run.
const SECTION: &str = "1";

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The name of its file: `spinney-stop.1`.
    pub file: String,
    /// Its text, for man(7).
    pub text: String,
}

/// All pages that `root` and its verbs come to, those of hidden ones left out.
pub fn pages(root: &Command) -> Vec<Page> {
    let mut root = root.clone();
    // What clap leaves to the first use: usages, options that all have.
    root.build();
    let mut pages = Vec::new();
    collect(&root, root.get_name(), root.get_name(), &mut pages);
    pages
}

/// The page of `command`, called `name` where pages are listed and `typed` where it is typed, and those of its verbs.
fn collect(command: &Command, name: &str, typed: &str, pages: &mut Vec<Page>) {
    let own = command.clone().display_name(name.to_owned()).bin_name(typed.to_owned());
    pages.push(Page { file: format!("{name}.{SECTION}"), text: page::render(&own, name, typed) });
    for verb in command.get_subcommands().filter(|verb| has_page(verb)) {
        let (name, typed) = (format!("{name}-{}", verb.get_name()), format!("{typed} {}", verb.get_name()));
        collect(verb, &name, &typed, pages);
    }
}

/// Whether `verb` gets a page: spinney-nspawn(1) is written by hand, since that command line is not clap's.
fn has_page(verb: &Command) -> bool {
    !verb.is_hide_set() && !["help", "nspawn"].contains(&verb.get_name())
}
