use super::*;

/// Words that are offered at the end of `line`, and the kinds of others.
fn offered(line: &str) -> (Vec<String>, Vec<Kind>, String) {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let Completed { words, kinds, prefix } = completed(&crate::cli::arguments::definitions(), &words);
    (words.into_iter().map(|(word, _)| word).collect(), kinds, prefix)
}

#[test]
fn words_that_are_known() {
    let rows: [(&str, &[&str]); 13] = [
        ("spinney sta", &["status", "start"]),
        ("spinney poweroff --no-", &["--no-wait"]),
        ("spinney stop --t", &["--timeout="]),
        ("spinney stop web --q", &["--quiet"]),
        ("spinney net ru", &["rules"]),
        ("spinney net rules --j", &["--json"]),
        ("spinney run --private-u", &["--private-users"]),
        // Verbs that are hidden are nobody's news.
        ("spinney pull-", &[]),
        ("spinney compl", &[]),
        ("spinney nosuch ", &[]),
        ("spinney run -- --q", &[]),
        ("spinney run --boot=n", &[]),
        ("spinney", &[]),
    ];
    for (line, expected) in rows {
        assert_eq!(offered(line).0, expected, "{line}");
    }
}

#[test]
fn things_that_are_looked_up() {
    use Kind::{Files, Images, Machines};
    let rows: [(&str, &[Kind], &str); 20] = [
        ("spinney stop ", &[Machines], ""),
        ("spinney stop web ", &[Machines], ""),
        ("spinney stop --timeout 5s ", &[Machines], ""),
        ("spinney stop --timeout ", &[], ""),
        ("spinney start b", &[Images], ""),
        ("spinney clone base ", &[Images], ""),
        ("spinney shell ", &[Machines], ""),
        ("spinney shell joe@w", &[Machines], "joe@"),
        ("spinney run ", &[Images, Files], ""),
        ("spinney run -x ", &[Images, Files], ""),
        ("spinney run --image-root=/srv ", &[Images, Files], ""),
        ("spinney run -D ", &[Files], ""),
        ("spinney run --directory=/sr", &[Files], "--directory="),
        ("spinney exec web ", &[Files], ""),
        ("spinney exec web -- l", &[Files], ""),
        ("spinney pull ", &[Files], ""),
        ("spinney pull debian:trixie ", &[], ""),
        ("spinney net partition a ", &[Machines], ""),
        ("spinney inspect ", &[Images, Files], ""),
        ("spinney show web -p ", &[], ""),
    ];
    for (line, kinds, prefix) in rows {
        let found = offered(line);
        assert_eq!((found.1.as_slice(), found.2.as_str()), (kinds, prefix), "{line}");
    }
}

#[test]
fn each_shell_has_its_script() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(script(shell).is_some_and(|text| text.contains(" complete -- ")), "{shell}");
    }
    assert_eq!(script("tcsh"), None);
}
