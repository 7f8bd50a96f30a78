use super::*;

const D: FileType = FileType::Directory;
const F: FileType = FileType::RegularFile;
const B: FileType = FileType::BlockDevice;

/// `layers | rw | root | binds`, as a line.
fn line(entries: &[(&str, FileType)]) -> String {
    let part = |part: &Part| {
        let kind = match part.kind {
            PartKind::Directory => "",
            PartKind::Disk => "(disk)",
            PartKind::Versions => "(versions)",
        };
        format!("{}{kind}", part.entry)
    };
    match parse(entries.iter().copied()) {
        Err(error) => error.to_string(),
        Ok(stack) => {
            let layers: Vec<String> = stack.layers.iter().map(part).collect();
            let root = stack
                .root
                .as_ref()
                .map(|(root, read_only)| format!("{}{}", part(root), if *read_only { " ro" } else { "" }));
            let binds: Vec<String> = stack
                .binds
                .iter()
                .map(|bind| {
                    let mode = if bind.read_only { " ro" } else { "" };
                    format!("{}={}{mode}", bind.target.display(), part(&bind.part))
                })
                .collect();
            let writable = stack.writable.as_ref().map(part).unwrap_or_default();
            [layers.join(" "), writable, root.unwrap_or_default(), binds.join(" ")].join(" | ")
        }
    }
}

#[test]
fn entries() {
    let rows: &[(&[(&str, FileType)], &str)] = &[
        (&[("layer@0", D), ("rw", D)], "layer@0 | rw |  | "),
        (&[("layer@10", D), ("layer@9", D), ("layer@1", D)], "layer@1 layer@9 layer@10 |  |  | "),
        (&[("layer@b", D), ("layer@a.raw", F)], "layer@a.raw(disk) layer@b |  |  | "),
        (&[("layer@1~rc", D), ("layer@1", D)], "layer@1~rc layer@1 |  |  | "),
        (&[("layer@0.raw", D)], "layer@0.raw |  |  | "),
        (&[("layer@0.raw.v", D), ("layer@1.v", D)], "layer@0.raw.v(versions) layer@1.v(versions) |  |  | "),
        (&[("layer@dev", B)], "layer@dev(disk) |  |  | "),
        (&[("layer@", D)], "layer@ |  |  | "),
        (&[("layer@0", D), (".origin", F), (".#x", D)], "layer@0 |  |  | "),
        (
            &[("layer@0", D), ("bind@var-lib", D), ("robind@var", D)],
            "layer@0 |  |  | /var=robind@var ro /var/lib=bind@var-lib",
        ),
        (
            &[("layer@0", D), ("bind@srv-a\\x2db.raw", F)],
            "layer@0 |  |  | /srv/a-b=bind@srv-a\\x2db.raw(disk)",
        ),
        (&[("layer@0", D), ("root", D)], "layer@0 |  | root | "),
        (&[("root", D)], " |  | root | "),
        // Hidden by a bind, or alone.
        (&[("layer@0", D), ("rw", D), ("robind@-", D)], " |  | robind@- ro | "),
        (&[("layer@0", D), ("root", D), ("bind@usr", D)], " |  | root | /usr=bind@usr"),
        (&[("rw", D)], " |  | rw | "),
        (&[], "it has neither layers nor a root"),
        (&[("bind@usr", D)], "it has neither layers nor a root"),
        (&[("layer@0", D), ("README", F)], "\"README\" is nothing that a layered image has"),
        (&[("layer@0", F)], "\"layer@0\" is nothing that a layered image has"),
        (&[("layer@0", FileType::Fifo)], "\"layer@0\" is nothing that a layered image has"),
        (&[("layer", D)], "\"layer\" is nothing that a layered image has"),
        (&[("tmpfs@x", D)], "\"tmpfs@x\" is nothing that a layered image has"),
        (&[("layer@0.raw", F), ("layer@0", D)], "\"layer@0\" and \"layer@0.raw\" are the same part of it"),
        (&[("rw.raw", F), ("rw", D)], "\"rw\" and \"rw.raw\" are the same part of it"),
        (&[("root", D), ("root.raw", F)], "\"root\" and \"root.raw\" are the same part of it"),
        (&[("bind@a", D), ("robind@a", D)], "\"bind@a\" and \"robind@a\" are the same part of it"),
        (&[("bind@..-etc", D)], "\"bind@..-etc\" has no place in the guest"),
        (&[("bind@", D)], "\"bind@\" has no place in the guest"),
        (&[("bind@a--b", D)], "\"bind@a--b\" has no place in the guest"),
        (&[("bind@a\\x2", D)], "\"bind@a\\\\x2\" has no place in the guest"),
        (&[("bind@a\\x00", D)], "\"bind@a\\\\x00\" has no place in the guest"),
        (&[("bind@\\x2e\\x2e", D)], "\"bind@\\\\x2e\\\\x2e\" has no place in the guest"),
    ];
    for (entries, expected) in rows {
        assert_eq!(line(entries), *expected, "{entries:?}");
    }
}

#[test]
fn the_most_layers() {
    let names: Vec<String> = (0..=MOST_LAYERS).map(layer_name).collect();
    let all: Vec<(&str, FileType)> = names.iter().map(|name| (name.as_str(), D)).collect();
    assert_eq!(parse(all.iter().copied()), Err(StackError::TooMany(MOST_LAYERS + 1)));
    let most = parse(all.into_iter().take(MOST_LAYERS)).unwrap();
    assert_eq!(most.layers.last().map(|part| part.entry.as_str()), Some("layer@499"));
}

#[test]
fn writes_what_it_reads() {
    let directory = tempfile::tempdir().unwrap();
    let image = std::fs::File::open(directory.path()).unwrap();
    let layers: Vec<String> = (0..12).map(|number| format!("../base-{number}")).collect();
    write(&image, &layers, true).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let stack = parse(names.iter().map(|name| (name.as_str(), D))).unwrap();
    let targets: Vec<PathBuf> = stack
        .layers
        .iter()
        .map(|part| std::fs::read_link(directory.path().join(&part.entry)).unwrap())
        .collect();
    assert_eq!(targets, layers.iter().map(PathBuf::from).collect::<Vec<_>>());
    assert_eq!((stack.writable.map(|part| part.entry), stack.root), (Some("rw".to_owned()), None));
    assert!(write(&image, &layers, true).is_err());
}
