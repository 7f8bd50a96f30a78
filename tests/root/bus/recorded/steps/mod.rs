//! What is done, first with systemd's daemons and then with ours, and what is hidden of what clients say to it.
//!
//! A command line is bash's. It finds the names of [`super::shapes`] in variables (`$deb`), the server to pull from in `$url` with its
//! files in `$www`, the directory of images in `$pool`, scratch space in `$dir`, and functions in [`super::PRELUDE`].

mod calls;
mod images;
mod machines;
mod transfers;

/// What of a command's stdout and stderr is not recorded.
#[derive(Debug)]
pub enum Hide {
    /// The rest of a line that begins so, after its indentation.
    After(&'static str),
    /// The digits that follow.
    Number(&'static str),
    /// Parts that look so: `9` is a digit, `f` a hexadecimal one, `A` a letter.
    Shape(&'static str),
    /// Lines that begin so.
    Line(&'static str),
    /// A line that begins so, and all that follow.
    From(&'static str),
    /// The order of lines.
    Order,
}

/// What is done.
#[derive(Debug)]
pub enum Does {
    /// Command lines, of which it is recorded what they say.
    Run(&'static str),
    /// Boots a cached tree as a machine, which nothing is kept of, and waits until it is up.
    Boot(&'static str, &'static str),
    /// Boots an image by its name.
    BootImage(&'static str),
    /// Waits until a machine is up again.
    BootAgain(&'static str),
    /// Waits until a machine has ended and is not known any more.
    Gone(&'static str),
}

/// Where ours says something else.
#[derive(Debug)]
pub struct But {
    pub theirs: &'static str,
    pub ours: &'static str,
    #[allow(dead_code, reason = "to be read here")]
    pub why: &'static str,
}

/// A row of the table.
#[derive(Debug)]
pub struct Step {
    pub name: &'static str,
    pub does: Does,
    pub hides: &'static [Hide],
    pub but: &'static [But],
    /// Ours may say more lines.
    pub may_have_more: bool,
}

impl Step {
    pub const NONE: Self = Self { name: "", does: Does::Run(""), hides: &[], but: &[], may_have_more: false };
}

const fn run(name: &'static str, line: &'static str) -> Step {
    Step { name, does: Does::Run(line), ..Step::NONE }
}

const fn does(does: Does) -> Step {
    Step { does, ..Step::NONE }
}

impl Step {
    const fn hides(self, hides: &'static [Hide]) -> Self {
        Self { hides, ..self }
    }

    const fn but(self, but: &'static [But]) -> Self {
        Self { but, ..self }
    }

    const fn may_have_more(self) -> Self {
        Self { may_have_more: true, ..self }
    }
}

const fn but(theirs: &'static str, ours: &'static str, why: &'static str) -> But {
    But { theirs, ours, why }
}

const SERVICE: &str = "the service of a machine is who runs it";

/// The names of errors are the same; what is said with them is what is in the way.
const WORDS: &str = "the error is the same, and says what is in the way";
const LATER: &str = "as later versions of systemd have it";
const COLUMNS: &str = "columns are as wide as what is in them";

/// Tables have it so ...
const LISTED: &[But] =
    &[but("systemd-nspawn", "spinney", SERVICE), but("SERVICE        OS", "SERVICE OS", COLUMNS)];
/// ... and all else.
const SERVED: &[But] = &[but("systemd-nspawn", "spinney", SERVICE)];

/// Sections of the table: each begins with no machines and no images.
pub const SECTIONS: &[(&str, &[&[Step]])] = &[
    ("machines", &[machines::SEEN, machines::GUESTS, machines::ENDED]),
    ("calls", &[calls::CALLS]),
    ("images", &[images::IMAGES]),
    ("images_in_use", &[images::IMAGES_IN_USE]),
    ("transfers", &[transfers::TRANSFERS]),
    ("verification", &[transfers::VERIFICATION]),
    ("interfaces", &[calls::INTERFACES]),
];
