//! systemd-nspawn's command line by the rules of getopt_long(3): long options may be cut short while they are clear, letters
//! are joined, and the first word that is no option ends them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::options::{self, Option as Known, Value};

/// One option as it was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GivenOption {
    /// Which.
    pub(super) option: &'static Known,
    /// Its value.
    pub(super) value: Option<OsString>,
}

/// A command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// The options, in order.
    pub(super) options: Vec<GivenOption>,
    /// What follows them: the command, or the init's arguments.
    pub(super) parameters: Vec<OsString>,
}

/// What is wrong with a command line, as getopt_long(3) says it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    /// No such option.
    #[error("unrecognized option '--{0}'")]
    Unknown(String),
    /// No such letter.
    #[error("invalid option -- '{0}'")]
    UnknownLetter(char),
    /// Several begin so.
    #[error("option '--{given}' is ambiguous; possibilities: {}", .possible.join(" "))]
    Ambiguous { given: String, possible: Vec<String> },
    /// It needs a value.
    #[error("option '--{0}' requires an argument")]
    NoValue(&'static str),
    /// The letter needs a value.
    #[error("option requires an argument -- '{0}'")]
    NoValueOfLetter(char),
    /// It takes none.
    #[error("option '--{0}' doesn't allow an argument")]
    Value(&'static str),
}

/// Parses what follows the program's name.
pub(super) fn parse(words: &[OsString]) -> Result<CommandLine, ParseError> {
    let mut line = CommandLine::default();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next_if(|word| is_option(word)) {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            break;
        }
        let mut next = |wanted: Value| match wanted {
            Value::Required(_) => words.next().cloned(),
            Value::OptionalOrNext(_) => words.next_if(|word| !word.as_bytes().starts_with(b"-")).cloned(),
            Value::None | Value::Optional(_) => None,
        };
        match bytes.strip_prefix(b"--") {
            Some(long) => line.options.push(long_option(long, &mut next)?),
            None => letters(&bytes[1..], &mut next, &mut line.options)?,
        }
    }
    line.parameters = words.cloned().collect();
    Ok(line)
}

fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_bytes().starts_with(b"-")
}

fn long_option(
    word: &[u8],
    next: &mut impl FnMut(Value) -> Option<OsString>,
) -> Result<GivenOption, ParseError> {
    let (name, value) = match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (&word[..at], Some(OsString::from_vec(word[at + 1..].to_vec()))),
        None => (word, None),
    };
    let option = find(&String::from_utf8_lossy(name))?;
    let value = match (option.value, value) {
        (Value::None, Some(_)) => return Err(ParseError::Value(option.long)),
        (_, Some(value)) => Some(value),
        (wanted, None) => next(wanted),
    };
    match (option.value, &value) {
        (Value::Required(_), None) => Err(ParseError::NoValue(option.long)),
        _ => Ok(GivenOption { option, value }),
    }
}

/// The option of this name, or the only one that begins so.
fn find(name: &str) -> Result<&'static Known, ParseError> {
    if let Some(option) = options::named(name) {
        return Ok(option);
    }
    let possible: Vec<&Known> = options::all()
        .filter(|option| !name.is_empty() && !option.long.is_empty() && option.long.starts_with(name))
        .collect();
    match possible.as_slice() {
        [] => Err(ParseError::Unknown(name.to_owned())),
        [only] => Ok(only),
        several => Err(ParseError::Ambiguous {
            given: name.to_owned(),
            possible: several.iter().map(|option| format!("'--{}'", option.long)).collect(),
        }),
    }
}

fn letters(
    word: &[u8],
    next: &mut impl FnMut(Value) -> Option<OsString>,
    given: &mut Vec<GivenOption>,
) -> Result<(), ParseError> {
    for (at, byte) in word.iter().enumerate() {
        let letter = char::from(*byte);
        let option = options::all()
            .find(|option| option.short == Some(letter))
            .ok_or(ParseError::UnknownLetter(letter))?;
        if option.value == Value::None {
            given.push(GivenOption { option, value: None });
            continue;
        }
        let rest = &word[at + 1..];
        let value = match rest.is_empty() {
            true => next(option.value).ok_or(ParseError::NoValueOfLetter(letter))?,
            false => OsString::from_vec(rest.to_vec()),
        };
        given.push(GivenOption { option, value: Some(value) });
        break;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `long=value` of each option, then `|` and the parameters.
    fn parsed(line: &[&str]) -> Result<String, String> {
        let words: Vec<OsString> = line.iter().map(OsString::from).collect();
        let CommandLine { options, parameters } = parse(&words).map_err(|error| error.to_string())?;
        let options = options.into_iter().map(|given| {
            let name = match given.option.short {
                Some(letter) if given.option.long.is_empty() => letter.to_string(),
                _ => given.option.long.to_owned(),
            };
            match given.value {
                Some(value) => format!("{name}={}", value.to_string_lossy()),
                None => name,
            }
        });
        let parameters = parameters.iter().map(|word| word.to_string_lossy().into_owned());
        Ok(options.chain(["|".to_owned()]).chain(parameters).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn lines() {
        let rows: &[(&[&str], Result<&str, &str>)] = &[
            (&[], Ok("|")),
            (&["-bD", "/t"], Ok("boot directory=/t |")),
            (&["-bD/t", "-M", "-x"], Ok("boot directory=/t machine=-x |")),
            (&["-D", "/t", "ls", "-l"], Ok("directory=/t | ls -l")),
            (&["-xq", "--", "-b"], Ok("ephemeral quiet | -b")),
            (&["-", "-b"], Ok("| - -b")),
            (&["--machine", "a", "--machine=b"], Ok("machine=a machine=b |")),
            (
                &["--priv=pick"],
                Err("option '--priv' is ambiguous; possibilities: '--private-users' \
                '--private-users-ownership' '--private-users-chown' '--private-users-delegate' '--private-network'"),
            ),
            (&["--private-users", "pick"], Ok("private-users | pick")),
            (&["--private-users=pick"], Ok("private-users=pick |")),
            (&["--eph", "--dir=/t"], Ok("ephemeral directory=/t |")),
            (&["--volatile", "state"], Ok("volatile | state")),
            (&["--user", "nobody", "id"], Ok("user=nobody | id")),
            (&["--user", "-b"], Ok("user boot |")),
            (&["-Uj"], Ok("U j |")),
            (&["--setenv=A=b=c"], Ok("setenv=A=b=c |")),
            (&["--bogus"], Err("unrecognized option '--bogus'")),
            (&["--=x"], Err("unrecognized option '--'")),
            (&["-by"], Err("invalid option -- 'y'")),
            (&["-M"], Err("option requires an argument -- 'M'")),
            (&["--machine"], Err("option '--machine' requires an argument")),
            (&["--boot=yes"], Err("option '--boot' doesn't allow an argument")),
        ];
        for (line, expected) in rows {
            assert_eq!(parsed(line).as_deref().map_err(String::as_str), *expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_survived(words in prop::collection::vec("-{0,3}[a-zA-Z=/-]{0,12}", 0..6)) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            let _ = parse(&words);
        }
    }
}
