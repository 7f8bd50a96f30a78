//! Files that are wrong, files that are built in, and what references to them mean.

use super::file::{CatalogueFile, parse};
use super::load::BUILT_IN;
use super::*;

const GOOD: &str = r#"name = "oak"
title = "Oak"
aliases = ["quercus"]
default = "2"
init = "systemd"
variants = ["default", "musl"]
[architectures]
amd64 = "x86_64"
arm64 = "aarch64"
[[release]]
name = "2"
version = "2.0"
aliases = ["stable"]
until = 2030-01-01
[[release]]
name = "1"
[[source]]
kind = "oci"
reference = "registry.example/oak:{release}"
boots = false
documented = "here"
seen = "never"
[[source]]
kind = "simplestreams"
url = "https://images.example"
alias = "oak/{release}/{variant}"
variants = ["default", "musl"]
releases = ["2"]
architectures = { amd64 = "amd64" }
documented = "here"
seen = "never"
[[source]]
kind = "tar"
find = "https://oak.example/{version}/SUMS"
pattern = "oak-{arch}-*.tar.xz"
url = "https://oak.example/{version}/{found}"
checksums = "SUMS"
signature = "SUMS.{star}.sig"
key = "oak"
documented = "here"
seen = "2026-01-02: by hand"
[key.oak]
fingerprints = ["0123456789ABCDEF0123456789ABCDEF01234567"]
files = ["/usr/share/keyrings/oak.gpg"]
documented = "here"
"#;

fn catalogue(files: &[(&str, &str)]) -> Result<Catalogue, Error> {
    Catalogue::assemble(files.iter().copied())
}

#[test]
fn faults_have_a_line() {
    // what is replaced, by what, the fault
    let rows = [
        ("name = \"oak\"", "nmae = \"oak\"", "oak.toml:1: unknown field `nmae`, expected one of"),
        ("name = \"oak\"\n", "", "oak.toml:1: neither name nor extends is given"),
        (
            "name = \"oak\"",
            "name = \"oak\"\nextends = \"oak\"",
            "oak.toml:2: name and extends exclude each other",
        ),
        ("name = \"oak\"", "name = \"-oak\"", "oak.toml:1: \"-oak\" is no name"),
        ("title = \"Oak\"\n", "", "oak.toml:1: title is missing"),
        ("default = \"2\"", "default = \"3\"", "oak.toml:4: no release \"3\"; did you mean \"2\"?"),
        ("amd64 = \"x86_64\"", "amd46 = \"x86_64\"", "oak.toml:7: \"amd46\" is no architecture"),
        ("aliases = [\"stable\"]", "aliases = [\"stable\", \"$(id)\"]", "oak.toml:13: \"$(id)\" is no name"),
        ("until = 2030-01-01", "until = 2030", "oak.toml:14: "),
        ("name = \"1\"", "name = \"2.0\"", "oak.toml:16: two releases are called \"2.0\""),
        ("kind = \"oci\"", "kind = \"ocy\"", "oak.toml:18: no kind \"ocy\"; did you mean \"oci\"?"),
        ("reference = ", "strip = ", "oak.toml:17: strip: not for a source of the kind \"oci\""),
        ("oak:{release}", "oak:{relaese}", "oak.toml:19: unknown placeholder {relaese}"),
        (
            "documented = \"here\"\nseen = \"never\"\n[[source]]\nkind = \"simplestreams\"",
            "seen = \"never\"\n[[source]]\nkind = \"simplestreams\"",
            "oak.toml:18: a source of the kind \"oci\" without documented",
        ),
        ("https://images.example", "images.example", "oak.toml:25: \"images.example\" is no address"),
        (
            "https://images.example",
            "https://images.example/ x",
            "oak.toml:25: \"https://images.example/ x\" is no address",
        ),
        (
            "variants = [\"default\", \"musl\"]\nreleases",
            "variants = [\"must\"]\nreleases",
            "oak.toml:27: no variant \"must\"; did you mean \"musl\"?",
        ),
        ("releases = [\"2\"]", "releases = [\"9\"]", "oak.toml:28: no release \"9\"; did you mean"),
        ("pattern = \"oak-{arch}-*.tar.xz\"\n", "", "oak.toml:34: find and pattern go together"),
        ("key = \"oak\"\n", "", "oak.toml:38: signature and key go together"),
        ("key = \"oak\"", "key = \"elm\"", "oak.toml:39: no key \"elm\""),
        ("0123456789ABCDEF0123456789ABCDEF01234567", "0123", "oak.toml:43: \"0123\" is no fingerprint"),
        ("/usr/share/keyrings/oak.gpg", "oak.gpg", "oak.toml:42: \"oak.gpg\" is not an absolute path"),
        ("name = \"oak\"", "name = ", "oak.toml:1: "),
    ];
    assert!(parse("oak.toml", GOOD).is_ok());
    for (from, to, expected) in rows {
        assert!(GOOD.contains(from), "{from}");
        let error = parse("oak.toml", &GOOD.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{to}: {error}");
    }
}

#[test]
fn references_mean() {
    let catalogue = catalogue(&[("oak.toml", GOOD)]).unwrap();
    // reference => the whole reference, the image, kinds in order
    type Meaning = Result<(&'static str, &'static str, &'static [&'static str]), &'static str>;
    let rows: [(&str, Meaning); 13] = [
        ("oak", Ok(("oak:2/default@amd64", "oak-2", &["simplestreams", "tar", "oci"]))),
        ("quercus:stable", Ok(("oak:2/default@amd64", "oak-2", &["simplestreams", "tar", "oci"]))),
        ("oak:2.0@x86_64", Ok(("oak:2/default@amd64", "oak-2", &["simplestreams", "tar", "oci"]))),
        ("oak@arm64", Ok(("oak:2/default@arm64", "oak-2-arm64", &["tar", "oci"]))),
        ("oak:1", Ok(("oak:1/default@amd64", "oak-1", &["tar", "oci"]))),
        ("oak/musl", Ok(("oak:2/musl@amd64", "oak-2-musl", &["simplestreams"]))),
        ("oak/1", Ok(("oak:1/default@amd64", "oak-1", &["tar", "oci"]))),
        ("oak/2/musl", Ok(("oak:2/musl@amd64", "oak-2-musl", &["simplestreams"]))),
        ("aok", Err("no distro \"aok\" in the catalogue; did you mean \"oak\"?")),
        ("oak:stabel", Err("no release \"stabel\" of oak in the catalogue; did you mean \"stable\"?")),
        ("oak/muls", Err("no variant \"muls\" of oak; did you mean \"musl\"?")),
        ("oak@riscv64", Err("Oak 2 is not made for riscv64")),
        ("oak:1/musl", Err("no source in the catalogue has oak:1/musl")),
    ];
    for (text, expected) in rows {
        let resolved =
            catalogue.resolve(&text.parse().unwrap(), Some("amd64")).map_err(|error| error.to_string());
        let found = resolved.as_ref().map(|resolved| {
            let kinds: Vec<&str> = resolved.attempts.iter().map(|attempt| attempt.kind).collect();
            (resolved.reference(), resolved.image_name(), kinds)
        });
        let expected = expected
            .map(|(reference, image, kinds)| (reference.to_owned(), image.to_owned(), kinds.to_vec()));
        assert_eq!(found.map_err(String::as_str), expected, "{text}");
    }
}

#[test]
fn a_name_is_looked_up() {
    let catalogue = catalogue(&[("oak.toml", GOOD)]).unwrap();
    let resolved = catalogue.resolve(&"oak@arm64".parse().unwrap(), Some("arm64")).unwrap();
    let Action::Download(download) = &resolved.attempts[0].action else { panic!("{resolved:?}") };
    assert_eq!(
        download.find,
        Some(("https://oak.example/2.0/SUMS".to_owned(), "oak-aarch64-*.tar.xz".to_owned()))
    );
    let text = "00  oak-aarch64-7.tar.xz\n00  oak-aarch64-12.tar.xz\n";
    let name = download.look_up(text).unwrap();
    let found = download.clone().found(name);
    assert_eq!(found.url, "https://oak.example/2.0/oak-aarch64-12.tar.xz");
    assert_eq!(found.checksums.as_deref(), Some("https://oak.example/2.0/SUMS"));
    assert_eq!(found.signature.unwrap().0.as_deref(), Some("https://oak.example/2.0/SUMS.12.sig"));
}

#[test]
fn files_add_up() {
    let more = "extends = \"oak\"\ndefault = \"3\"\n[[release]]\nname = \"3\"\n[[source]]\nkind = \"oci\"\n\
                reference = \"local.example/oak:{release}\"\nreleases = [\"3\"]\ndocumented = \"x\"\nseen = \"never\"\n";
    let both = catalogue(&[("more.toml", more), ("oak.toml", GOOD), ("off.toml", "\n")]).unwrap();
    let resolved = both.resolve(&"oak".parse().unwrap(), Some("amd64")).unwrap();
    assert_eq!(resolved.reference(), "oak:3/default@amd64");
    assert_eq!(resolved.attempts[0].action, Action::Oci { reference: "local.example/oak:3".to_owned() });
    assert_eq!(
        catalogue(&[("more.toml", more)]).unwrap_err().to_string(),
        "more.toml:1: it extends \"oak\", which no file describes"
    );
    assert_eq!(
        catalogue(&[("a.toml", GOOD), ("b.toml", &GOOD.replace("name = \"oak\"", "name = \"quercus\""))])
            .unwrap_err()
            .to_string(),
        "b.toml:1: \"quercus\" is what a.toml calls a distro too"
    );
}

#[test]
fn what_is_built_in_is_sound() {
    let mut names: Vec<&str> = Vec::new();
    for (file, text) in BUILT_IN {
        let CatalogueFile::Distro(distro) = parse(file, text).unwrap() else { panic!("{file}") };
        assert_eq!(format!("{}.toml", distro.name), file);
        assert!(distro.sources.iter().any(|source| source.boots), "{file}");
        names.push(file);
    }
    assert!(names.is_sorted());
    catalogue(&BUILT_IN).unwrap();
}

/// Each source of each distro's default release, as documented, for two architectures.
#[test]
fn what_is_built_in_leads_where_it_is_documented_to_be() {
    let catalogue = catalogue(&BUILT_IN).unwrap();
    let mut found = String::new();
    for distro in &catalogue.distros {
        for architecture in ["amd64", "arm64"] {
            for variant in &distro.variants {
                let text = format!("{}/{variant}@{architecture}", distro.name);
                match catalogue.resolve(&text.parse().unwrap(), Some("amd64")) {
                    Ok(resolved) => {
                        found += &format!("{} = {}\n", resolved.reference(), resolved.image_name());
                        resolved.attempts.iter().for_each(|attempt| found += &describe(attempt));
                    }
                    Err(error) => found += &format!("{text}: {error}\n"),
                }
            }
        }
    }
    let expected = include_str!("expected.txt");
    if std::env::var_os("SPINNEY_WRITE_EXPECTED").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/transfer/catalogue/expected.txt");
        std::fs::write(path, &found).unwrap();
    }
    // Line by line: all of it would fill the screen.
    let lines = found.lines().map(Some).chain([None]).zip(expected.lines().map(Some).chain([None]));
    for (number, (found, expected)) in lines.enumerate() {
        let number = number + 1;
        assert_eq!(
            found, expected,
            "line {number}; if it is as documented: SPINNEY_WRITE_EXPECTED=1 cargo test"
        );
    }
}

fn describe(attempt: &Attempt) -> String {
    let boots = if attempt.boots { "" } else { " (no init)" };
    let what = match &attempt.action {
        Action::Simplestreams { url, alias, arch } => format!("{url} {alias} {arch}"),
        Action::Oci { reference } => reference.clone(),
        Action::Download(download) => {
            let mut text = download.url.clone();
            if let Some((url, pattern)) = &download.find {
                text += &format!("\n    find {pattern} in {url}");
            }
            if let Some(url) = &download.checksums {
                text += &format!("\n    checksums {url}");
            }
            if let Some((url, key)) = &download.signature {
                let url = url.as_deref().unwrap_or("in the checksums");
                text += &format!("\n    signature {url} by {}", key.fingerprints.join(" or "));
            }
            if let Some(strip) = &download.strip {
                text += &format!("\n    of which {strip}/");
            }
            text
        }
        Action::Bootstrap { plan, arch, key } => {
            let mirror = plan.mirror.as_deref().unwrap_or("the host's");
            let key = key.as_ref().map_or("the tool's", |key| key.fingerprints[0].as_str());
            let packages = plan.packages.join(" ");
            format!(
                "{} {arch} from {mirror} ({}) by {key}: {packages}",
                plan.suite,
                plan.components.join(" ")
            )
        }
    };
    format!("  {}{boots} {what}\n", attempt.kind)
}
