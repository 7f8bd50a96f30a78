//! Closed vocabularies: options that take one of a few words.

use super::ValueError;

/// A type whose values are words of the command line. The table is what is parsed, displayed and listed by `help`.
pub trait Words: Copy + PartialEq + 'static {
    /// Every word with its value; a value's first word is the one that is displayed.
    const WORDS: &'static [(&'static str, Self)];

    /// The word of `self`.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }

    /// The value that `word` names.
    fn from_word(word: &str) -> Result<Self, ValueError> {
        match Self::WORDS.iter().find(|(known, _)| *known == word) {
            Some((_, value)) => Ok(*value),
            None => {
                Err(ValueError::new(word, "is not known", format!("one of: {}", Self::list().join(", "))))
            }
        }
    }

    /// [`Words::from_word`], booleans standing for the words `yes` and `no`.
    fn from_word_or_boolean(word: &str) -> Result<Self, ValueError> {
        Self::from_word(match parse_boolean(word) {
            Ok(true) => "yes",
            Ok(false) => "no",
            Err(_) => word,
        })
    }

    /// All words, in order.
    fn list() -> Vec<&'static str> {
        Self::WORDS.iter().map(|(word, _)| *word).collect()
    }
}

/// Gives a type with [`Words`] the standard library's traits for parsing and showing.
macro_rules! display_and_parse_by_word {
    ($($type:ty),+ $(,)?) => {$(
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::settings::Words::word(*self))
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::settings::ValueError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                <Self as $crate::settings::Words>::from_word(text)
            }
        }
    )+};
}
pub(super) use display_and_parse_by_word;

/// Parses a boolean as systemd does (systemd.syntax(7)): 1, yes, y, true, t, on and their opposites, in any case.
pub fn parse_boolean(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err(ValueError::new(text, "is not a boolean", "yes or no")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ConsoleRequest, LinkJournal, ResolvConf, Timezone, Volatile};

    #[test]
    fn booleans() {
        for text in ["1", "yes", "y", "true", "t", "on", "YES", "On"] {
            assert_eq!(parse_boolean(text), Ok(true), "{text}");
        }
        for text in ["0", "no", "n", "false", "f", "off", "No"] {
            assert_eq!(parse_boolean(text), Ok(false), "{text}");
        }
        for text in ["", "2", "yess", "maybe", " yes"] {
            let error = parse_boolean(text).unwrap_err();
            assert_eq!((error.problem(), error.hint()), ("is not a boolean", "yes or no"), "{text}");
        }
    }

    fn every_word_is_its_value<T: Words + std::fmt::Debug>() {
        for (word, value) in T::WORDS {
            assert_eq!(T::from_word(word).unwrap(), *value, "{word}");
            assert_eq!(T::from_word(value.word()).unwrap(), *value, "{word}");
        }
        let error = T::from_word("nonsense").unwrap_err();
        assert_eq!(error.problem(), "is not known");
        assert_eq!(error.hint(), format!("one of: {}", T::list().join(", ")));
    }

    #[test]
    fn vocabularies() {
        every_word_is_its_value::<Volatile>();
        every_word_is_its_value::<ResolvConf>();
        every_word_is_its_value::<Timezone>();
        every_word_is_its_value::<LinkJournal>();
        every_word_is_its_value::<ConsoleRequest>();
        assert_eq!(LinkJournal::TryGuest.to_string(), "try-guest");
        assert_eq!("copy-uplink".parse(), Ok(ResolvConf::CopyUplink));
        assert_eq!(Volatile::from_word_or_boolean("true"), Ok(Volatile::Yes));
        assert_eq!(Volatile::from_word_or_boolean("overlay"), Ok(Volatile::Overlay));
    }
}
