//! Text with `{placeholders}` in a catalogue file.

/// Said where one is wrong.
pub(super) const HINT: &str =
    "placeholders are {release}, {version}, {arch}, {variant}, and where there is a find, {found} and {star}";

const KNOWN: [&str; 4] = ["release", "version", "arch", "variant"];

/// What goes in.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'value> {
    pub(super) release: &'value str,
    pub(super) version: &'value str,
    pub(super) arch: &'value str,
    pub(super) variant: &'value str,
}

/// Whether all placeholders of `text` are known; those of what is found are where `found`. If not, what is wrong.
pub(super) fn check(text: &str, found: bool) -> Result<(), String> {
    for piece in pieces(text)? {
        match piece {
            Piece::Text(_) => {}
            Piece::Placeholder("found" | "star") if found => {}
            Piece::Placeholder(name @ ("found" | "star")) => {
                return Err(format!("{{{name}}} without a find"));
            }
            Piece::Placeholder(name) if KNOWN.contains(&name) => {}
            Piece::Placeholder(name) => return Err(format!("unknown placeholder {{{name}}}")),
        }
    }
    Ok(())
}

/// `text`, which has been checked, with `values` in it. What is to be found stays as it is: see [`fill`].
pub(super) fn expand(text: &str, values: &Values<'_>) -> String {
    let Ok(pieces) = pieces(text) else { return text.to_owned() };
    pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Placeholder("release") => values.release,
            Piece::Placeholder("version") => values.version,
            Piece::Placeholder("arch") => values.arch,
            Piece::Placeholder("variant") => values.variant,
            Piece::Placeholder("star") => "{star}",
            Piece::Placeholder(_) => "{found}",
        })
        .collect()
}

/// `text` with the name that was found, and what a `*` of the pattern stands for in it.
pub(super) fn fill(text: &str, name: &str, star: &str) -> String {
    text.replace("{found}", name).replace("{star}", star)
}

enum Piece<'text> {
    Text(&'text str),
    Placeholder(&'text str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| format!("an open {{ in {text:?}"))?;
        pieces.extend([Piece::Text(before), Piece::Placeholder(name)]);
        rest = after;
    }
    if rest.contains('}')
        || pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains('}')))
    {
        return Err(format!("a stray }} in {text:?}"));
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders() {
        let rows = [
            ("https://x/{release}/{arch}.tar", false, None),
            ("{found}", true, None),
            ("{found}", false, Some("{found} without a find")),
            ("{relase}", false, Some("unknown placeholder {relase}")),
            ("a{b", false, Some("an open { in \"a{b\"")),
            ("a}b", false, Some("a stray } in \"a}b\"")),
        ];
        for (text, found, expected) in rows {
            assert_eq!(check(text, found).err().as_deref(), expected, "{text}");
        }
        let values = Values { release: "trixie", version: "13", arch: "amd64", variant: "default" };
        assert_eq!(
            expand("{release}-{version}/{arch}/{variant}{found}", &values),
            "trixie-13/amd64/default{found}"
        );
        assert_eq!(fill(&expand("{found}-{star}!", &values), "x-1", "1"), "x-1-1!");
    }
}
