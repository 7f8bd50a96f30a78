//! A parser of interface descriptions, strict, after the grammar of <https://varlink.org/Interface-Definition>: for tests, which
//! hold our descriptions to it.

/// What a description describes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) interface: String,
    pub(crate) types: Vec<String>,
    pub(crate) methods: Vec<String>,
    pub(crate) errors: Vec<String>,
}

/// Parses a whole description.
pub(crate) fn parse(text: &str) -> Result<Description, String> {
    let mut parser = Parser { rest: text };
    parser.space()?;
    parser.keyword("interface")?;
    let mut description = Description { interface: parser.interface_name()?, ..Description::default() };
    parser.end_of_line()?;
    loop {
        parser.space()?;
        if parser.rest.is_empty() {
            break;
        }
        let list = match parser.word(|c| c.is_ascii_lowercase()) {
            "type" => {
                let name = parser.member_name()?;
                parser.blanks();
                parser.structure()?;
                description.types.push(name);
                parser.end_of_line()?;
                continue;
            }
            "method" => {
                let name = parser.member_name()?;
                parser.blanks();
                parser.structure()?;
                parser.blanks();
                parser.expect("->")?;
                parser.blanks();
                parser.structure()?;
                description.methods.push(name);
                parser.end_of_line()?;
                continue;
            }
            "error" => &mut description.errors,
            other => return Err(format!("{other:?} begins no member, before {:?}", parser.near())),
        };
        let name = parser.member_name()?;
        list.push(name);
        parser.blanks();
        if parser.rest.starts_with('(') {
            parser.structure()?;
        }
        parser.end_of_line()?;
    }
    let mut names: Vec<&String> =
        description.types.iter().chain(&description.methods).chain(&description.errors).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{:?} is there twice", pair[0])),
        None if names.is_empty() => Err("no members".to_owned()),
        None => Ok(description),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn near(&self) -> &'a str {
        self.rest.lines().next().unwrap_or_default()
    }

    /// Spaces and tabs.
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Those, newlines, and comments to the end of their line.
    fn space(&mut self) -> Result<(), String> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n']);
            let Some(comment) = self.rest.strip_prefix('#') else { return Ok(()) };
            self.rest = comment.split_once('\n').ok_or("a comment without a newline")?.1;
        }
    }

    fn end_of_line(&mut self) -> Result<(), String> {
        self.blanks();
        self.expect("\n")
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        self.rest =
            self.rest.strip_prefix(text).ok_or_else(|| format!("no {text:?} before {:?}", self.near()))?;
        Ok(())
    }

    fn keyword(&mut self, word: &str) -> Result<(), String> {
        self.expect(word)?;
        if !self.rest.starts_with(' ') {
            return Err(format!("no space after {word}"));
        }
        self.blanks();
        Ok(())
    }

    fn word(&mut self, mut part: impl FnMut(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// `[A-Za-z](-*[A-Za-z0-9])*(\.[A-Za-z0-9](-*[A-Za-z0-9])*)+`
    fn interface_name(&mut self) -> Result<String, String> {
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        let parts: Vec<&str> = name.split('.').collect();
        let valid = parts.len() > 1
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && parts.iter().all(|part| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-'));
        valid.then(|| name.to_owned()).ok_or_else(|| format!("{name:?} is no interface"))
    }

    /// `[A-Z][A-Za-z0-9]*`
    fn member_name(&mut self) -> Result<String, String> {
        if !self.rest.starts_with(' ') {
            return Err(format!("no space before {:?}", self.near()));
        }
        self.blanks();
        let name = self.word(|c| c.is_ascii_alphanumeric());
        let valid = name.starts_with(|c: char| c.is_ascii_uppercase());
        valid.then(|| name.to_owned()).ok_or_else(|| format!("{name:?} is no member"))
    }

    /// `[A-Za-z](_?[A-Za-z0-9])*`
    fn field_name(&mut self) -> Result<(), String> {
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && !name.ends_with('_')
            && !name.contains("__");
        valid.then_some(()).ok_or_else(|| format!("{name:?} is no field, before {:?}", self.near()))
    }

    /// A struct, or an enum: fields all with a type, or all without.
    fn structure(&mut self) -> Result<(), String> {
        self.expect("(")?;
        self.space()?;
        if self.rest.starts_with(')') {
            return self.expect(")");
        }
        let mut typed = None;
        loop {
            self.space()?;
            self.field_name()?;
            self.space()?;
            let has_type = self.rest.starts_with(':');
            if typed.replace(has_type).is_some_and(|before| before != has_type) {
                return Err(format!("neither struct nor enum, before {:?}", self.near()));
            }
            if has_type {
                self.expect(":")?;
                self.space()?;
                self.kind()?;
                self.space()?;
            }
            match self.rest.starts_with(',') {
                true => self.expect(",")?,
                false => return self.expect(")"),
            }
        }
    }

    fn kind(&mut self) -> Result<(), String> {
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
            if rest.starts_with('?') {
                return Err("?? is no type".to_owned());
            }
        }
        for prefix in ["[]", "[string]"] {
            if let Some(rest) = self.rest.strip_prefix(prefix) {
                self.rest = rest;
                return self.kind();
            }
        }
        if self.rest.starts_with('(') {
            return self.structure();
        }
        let name = self.word(|c| c.is_ascii_alphanumeric());
        let known = ["bool", "int", "float", "string", "object", "any"].contains(&name);
        let own = name.starts_with(|c: char| c.is_ascii_uppercase());
        (known || own).then_some(()).ok_or_else(|| format!("{name:?} is no type"))
    }
}

#[test]
fn descriptions() {
    let good = [
        "interface a.b\nmethod C() -> ()\n",
        "# about\n\n# more\ninterface a-b.c1\n\n# does\nmethod C(a: ?[]string, b_c: (x, y), d: [string](e: T)) -> (f: ?object)\n\
         type T (g: int)\nerror E (h: bool)\nerror F\n",
        "interface a.b\nmethod C(\n  # first\n  a: int,\n  b: float\n) -> ()\n",
    ];
    for text in good {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
    }
    let bad = [
        "",
        "interface a.b\n",
        "interface a\nmethod C() -> ()\n",
        "interface a.b\nmethod c() -> ()\n",
        "interface a.b\nmethod C() ->\n",
        "interface a.b\nmethod C(a) -> (b: int, c)\n",
        "interface a.b\nmethod C(a-b: int) -> ()\n",
        "interface a.b\nmethod C(a: str) -> ()\n",
        "interface a.b\nmethod C(a: int,) -> ()\n",
        "interface a.b\nmethod C(a: ??int) -> ()\n",
        "interface a.b\nmethod C() -> ()\nerror C\n",
        "interface a.b\nmethod C() -> () error D\n",
        "interface a.b\nmethod C() -> () # why\n",
    ];
    for text in bad {
        assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
    }
}
