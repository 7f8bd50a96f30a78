use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::sys::files::open_directory;

fn opened(path: &Path) -> OwnedFd {
    open_directory(path).unwrap()
}

#[test]
fn links_stay_in_the_tree() {
    let temporary = tempfile::tempdir().unwrap();
    let tree = temporary.path().join("tree");
    fs::create_dir_all(tree.join("usr/lib")).unwrap();
    fs::write(tree.join("usr/lib/file"), "in").unwrap();
    fs::write(temporary.path().join("secret"), "out").unwrap();
    for (target, name) in [
        ("usr/lib", "lib"),
        ("/usr/lib/file", "absolute"),
        ("../../../secret", "upwards"),
        ("loop", "loop"),
        ("../secret", "usr/out"),
    ] {
        symlink(target, tree.join(name)).unwrap();
    }
    let view = View::of_tree(opened(&tree));
    let rows: [(&str, Result<Option<&str>, Errno>); 9] = [
        ("usr/lib/file", Ok(Some("in"))),
        ("lib/file", Ok(Some("in"))),
        ("/absolute", Ok(Some("in"))),
        ("lib/../lib/./file", Ok(Some("in"))),
        ("upwards", Ok(None)),
        ("usr/out", Ok(None)),
        ("loop", Err(Errno::LOOP)),
        ("usr/lib/file/below", Ok(None)),
        ("usr", Ok(None)),
    ];
    for (path, expected) in rows {
        let read = view.read(path, 100).map_err(|error| error.errno());
        let expected = expected.map(|text| text.map(|text| text.as_bytes().to_vec()));
        assert_eq!(read, expected, "{path}");
    }
}

#[test]
fn upper_layers_hide_lower_ones() {
    let temporary = tempfile::tempdir().unwrap();
    let [lower, upper] = ["lower", "upper"].map(|name| temporary.path().join(name));
    for (layer, path, text) in [
        (&lower, "etc/both", "old"),
        (&lower, "etc/low", "low"),
        (&lower, "kind/file", "gone"),
        (&upper, "etc/both", "new"),
        (&upper, "etc/high", "high"),
        (&upper, "kind", "a file now"),
    ] {
        fs::create_dir_all(layer.join(path).parent().unwrap()).unwrap();
        fs::write(layer.join(path), text).unwrap();
    }
    let view = View::of_layers(vec![opened(&lower), opened(&upper)], Marks::User);
    let read = |path: &str| view.read(path, 100).unwrap().map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(read("etc/both").as_deref(), Some("new"));
    assert_eq!(read("etc/low").as_deref(), Some("low"));
    assert_eq!(read("etc/high").as_deref(), Some("high"));
    assert_eq!(read("kind").as_deref(), Some("a file now"));
    assert_eq!(read("kind/file"), None);
    let etc = view.find(Path::new("etc")).unwrap().unwrap();
    assert_eq!(view.names(&etc).unwrap(), ["both", "high", "low"]);
}

#[test]
fn redirects_stay_in_the_layers() {
    let rows: [(&[u8], Option<&str>); 8] = [
        (b"old", Some("name old")),
        (b"/usr/old", Some("path usr/old")),
        (b"..", None),
        (b"/usr/../../etc", None),
        (b"a/b", None),
        (b"", None),
        (b"/", None),
        (b"./x", None),
    ];
    for (value, expected) in rows {
        let found = redirect_of(Some(value.to_vec())).ok().map(|redirect| match redirect {
            Redirect::None => "none".to_owned(),
            Redirect::Name(name) => format!("name {}", name.display()),
            Redirect::Path(path) => format!("path {}", path.display()),
        });
        assert_eq!(found.as_deref(), expected, "{value:?}");
    }
}
