//! Options of `spinney run` that are nobody's to read: /proc/PID/cmdline shows a command line to everybody, and a machine in the
//! background keeps that of its start. `spinneyd` hands over credentials and variables that its clients give in a file of memory.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

/// The word, right after the verb, that stands for words on stdin, each with a NUL at its end.
pub const WORD: &str = "--options-on-stdin";

/// More than this a message of the bus does not hold (dbus-daemon(1), max_message_size).
const LIMIT: u64 = 128 << 20;

/// The words on stdin cannot be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("cannot read options on stdin: {0}")]
    Read(std::io::Error),
    #[error("the options on stdin are cut off")]
    CutOff,
}

/// `words` as they go over stdin. A word has no NUL, as none of a command line has.
pub fn written(words: &[String]) -> Vec<u8> {
    words.iter().flat_map(|word| word.bytes().filter(|byte| *byte != 0).chain([0])).collect()
}

/// `arguments` with the words on `stdin` in the place of [`WORD`], where that stands after the verb.
///
/// # Errors
/// When they cannot be read.
pub fn taken(mut arguments: Vec<OsString>, stdin: impl Read) -> Result<Vec<OsString>, Error> {
    if arguments.get(2).is_none_or(|word| word != WORD) {
        return Ok(arguments);
    }
    let mut bytes = Vec::new();
    let length = stdin.take(LIMIT).read_to_end(&mut bytes).map_err(Error::Read)?;
    match bytes.pop() {
        None => {
            arguments.remove(2);
        }
        Some(0) if u64::try_from(length).is_ok_and(|length| length < LIMIT) => {
            let words = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
            arguments.splice(2..3, words);
        }
        Some(_) => return Err(Error::CutOff),
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &[&str], stdin: &[u8]) -> Result<Vec<String>, String> {
        let words = line.iter().map(OsString::from).collect();
        let words = taken(words, stdin).map_err(|error| error.to_string())?;
        Ok(words.into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn words_in_their_place() {
        let rows: &[(&[&str], &[u8], &[&str])] = &[
            (
                &["spinney", "run", WORD, "-M", "a"],
                b"-x\0-E\0A=1 \n\0",
                &["spinney", "run", "-x", "-E", "A=1 \n", "-M", "a"],
            ),
            (&["spinney", "run", WORD, "-M", "a"], b"", &["spinney", "run", "-M", "a"]),
            (&["spinney", "run", WORD], b"\0", &["spinney", "run", ""]),
            // Elsewhere it is a word as any other.
            (&["spinney", "run", "-x", WORD], b"-M\0a\0", &["spinney", "run", "-x", WORD]),
            (&["spinney"], b"-M\0", &["spinney"]),
        ];
        for (words, stdin, expected) in rows {
            assert_eq!(line(words, stdin).unwrap(), *expected, "{words:?}");
        }
        assert_eq!(
            line(&["spinney", "run", WORD], b"-x\0--set-cred").unwrap_err(),
            "the options on stdin are cut off"
        );
    }

    #[test]
    fn written_and_taken() {
        let words = ["--setenv=A=1", "", "--set-credential=a:x\ny\0z"].map(str::to_owned);
        let back = line(&["spinney", "run", WORD, "end"], &written(&words)).unwrap();
        assert_eq!(back, ["spinney", "run", "--setenv=A=1", "", "--set-credential=a:x\nyz", "end"]);
    }
}
