//! Command lines, and what they wish for.

use std::collections::BTreeSet;

use super::*;
use crate::cli::nspawn::options;
use crate::cli::nspawn::parse::parse;

/// What a line wishes for, as text; or what is wrong with it.
fn wished(line: &[&str]) -> Result<String, String> {
    let words: Vec<OsString> = line.iter().map(OsString::from).collect();
    let line = parse(&words).map_err(|error| error.to_string())?;
    let wish = wish(line, "spinney-nspawn").map_err(|refusal| match refusal {
        Refusal::Display(text) => text,
        Refusal::Error { message, .. } => message.to_string(),
    })?;
    let mut said: Vec<String> = Vec::new();
    said.extend(wish.tree.map(|tree| format!("tree {}", tree.display())));
    said.extend(wish.template.map(|tree| format!("template {}", tree.display())));
    said.extend(wish.machine.map(|name| format!("machine {name}")));
    said.extend((wish.mode != SettingsMode::Yes).then(|| format!("settings {}", wish.mode)));
    let flags = [(wish.ephemeral, "ephemeral"), (wish.quiet, "quiet"), (wish.keep_unit, "keep-unit")];
    said.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()));
    said.extend(wish.cleanup.then(|| "cleanup".to_owned()));
    said.extend(wish.assignments.iter().map(|assignment| {
        format!("{}={}", assignment.key.name, assignment.value().unwrap_or_default().to_string_lossy())
    }));
    said.extend(wish.warnings);
    Ok(said.join(" "))
}

#[test]
fn wishes() {
    let rows: &[(&[&str], Result<&str, &str>)] = &[
        (&[], Ok("")),
        (&["-bD", "/t"], Ok("tree /t boot=yes")),
        (&["-bD", "/t", "a", "b"], Ok("tree /t boot=yes parameters=a parameters=b")),
        (&["-D/t", "ls"], Ok("tree /t boot=no parameters=ls")),
        (&["-aD/t", "ls"], Ok("tree /t boot=no process-two=yes parameters=ls")),
        (&["-xi/d.raw", "-M", "web", "-q"], Ok("tree /d.raw machine web ephemeral quiet ephemeral=yes")),
        (&["--settings=override", "--settings=0"], Ok("settings no")),
        (&["-U", "--private-users=no"], Ok("private-users=pick private-users=no")),
        (&["--private-users", "--volatile"], Ok("private-users=yes volatile=yes")),
        (&["-nj", "-P"], Ok("network-veth=yes link-journal=try-guest mode=pipe")),
        (&["-u", "nobody", "--user=me"], Ok("user=nobody user=me")),
        (&["--hostname=", "-M", ""], Ok("")),
        (&["--no-pager", "--no-ask-password", "--system", "--background=0", "--register=auto"], Ok("")),
        (&["--template=/a", "-D/b"], Ok("tree /b template /a")),
        (&["--template=/a", "-x"], Ok("tree /a ephemeral ephemeral=yes")),
        (&["--cleanup", "-M", "web"], Ok("machine web cleanup")),
        (&["--keep-unit"], Ok("keep-unit")),
        (&["--property=MemoryMax=1G", "-S", "machine.slice"], Ok("memory-max=1G")),
        (
            &["--register=no", "--keep-unit", "-Sx", "--property=Nice=1"],
            Ok(
                "keep-unit Machine and scope registration turned off, --slice= and --property= settings will have no effect.",
            ),
        ),
        (&["--private-users-ownership=auto", "--private-users-ownership=off"], Ok("")),
        (&["--image-policy=*"], Ok("")),
        (&["-ab"], Err("--boot and --as-pid2 may not be combined")),
        (&["-D/t", "-i/d"], Err("--directory= and --image= may not be combined")),
        (&["-D/t", "--template=/a", "-x"], Err("--ephemeral and --template= may not be combined")),
        (&["-i/d", "--template=/a"], Err("--template= and --image= may not be combined")),
        (&["--template=/a"], Err("--template= needs --directory= or --machine=")),
        (&["-D", ""], Err("bad value for --directory=: \"\" is no path")),
        (&["-M", "a_b"], Err("bad value for --machine=: \"a_b\" has a character that no hostname has: '_'")),
        (&["--settings=maybe"], Err("bad value for --settings=: \"maybe\" is not known")),
        (&["--register=maybe"], Err("bad value for --register=: \"maybe\" is not known")),
        (&["-Sx"], Ok("")),
        (&["-Sx/y"], Err("bad value for --slice=: \"x/y\" is no name of a slice")),
        (&["--private-users-ownership=chown"], Err("--private-users-ownership=chown is not supported")),
        (
            &["--private-users-ownership=x"],
            Err("bad value for --private-users-ownership=: \"x\" is not known"),
        ),
        (&["--oci-bundle=/b"], Err("--oci-bundle is not supported")),
        (&["--image-policy=root"], Err("--image-policy= is not supported but for *")),
        (&["--user"], Err("--user without a name is not supported: containers of users who are not root")),
        (&["--console=help"], Err("interactive\nread-only\npassive\npipe\nautopipe\n")),
    ];
    for (line, expected) in rows {
        assert_eq!(wished(line).as_deref().map_err(String::as_str), *expected, "{line:?}");
    }
}

/// What systemd-nspawn(1) of version 262 has, by letter and by name.
const KNOWN: &str = "h/help version q/quiet no-pager settings cleanup no-ask-password D/directory template x/ephemeral i/image \
    image-policy mstack oci-bundle read-only volatile root-hash root-hash-sig verity-data pivot-root a/as-pid2 b/boot chdir \
    E/setenv u/uid kill-signal notify-ready suppress-sync M/machine hostname uuid S/slice property register keep-unit \
    private-users private-users-ownership private-users-chown private-users-delegate U/ private-network network-interface \
    network-macvlan network-ipvlan n/network-veth network-veth-extra network-bridge network-zone network-namespace-path \
    p/port capability drop-capability ambient-capability no-new-privileges system-call-filter restrict-address-families \
    Z/selinux-context L/selinux-apifs-context rlimit oom-score-adjust cpu-affinity personality resolv-conf timezone \
    link-journal j/ forward-journal forward-journal-max-use forward-journal-keep-free forward-journal-max-file-size \
    forward-journal-max-files bind bind-ro inaccessible tmpfs overlay overlay-ro bind-user bind-user-shell bind-user-group \
    console P/pipe background set-credential load-credential system user share-system introspect-cli";

#[test]
fn all_options_of_systemd_nspawn_are_known() {
    let ours: Vec<String> = options::all()
        .map(|option| match option.short {
            Some(letter) => format!("{letter}/{}", option.long),
            None => option.long.to_owned(),
        })
        .collect();
    assert_eq!(ours, KNOWN.split_whitespace().collect::<Vec<_>>());
}

/// What is refused of the command line is said in the document, and nothing else is said to be.
#[test]
fn the_document_lists_what_is_refused() {
    /// Values of options that are taken otherwise.
    const VALUES: [(&str, &str); 4] = [
        ("--image-policy=", "root=verity"),
        ("--private-users=managed", ""),
        ("--private-users-ownership=chown", ""),
        ("--user", ""),
    ];
    let document = include_str!("../../../docs/nspawn.md");
    let (_, list) = document.split_once("\n- Refused, ").expect("the list");
    let list = list.split("\n- ").next().unwrap_or_default();
    let said: BTreeSet<&str> =
        list.split('`').skip(1).step_by(2).filter(|word| word.starts_with('-')).collect();
    for (option, value) in VALUES {
        assert!(said.contains(option), "{option} is not in the document");
        // That of users is refused where it is read.
        let line = [format!("{option}{value}")];
        let refused = wished(&line.each_ref().map(String::as_str)).is_err();
        let unread = "managed".parse::<crate::settings::PrivateUsers>().is_err();
        assert!(refused || (option.ends_with("managed") && unread), "{option}");
    }
    let refused = options::all().filter(|option| matches!(option.meaning, Meaning::Refused(_)));
    let refused: BTreeSet<String> = refused
        .map(|option| match option.value {
            crate::cli::nspawn::options::Value::None => format!("--{}", option.long),
            _ => format!("--{}=", option.long),
        })
        .chain(VALUES.map(|(option, _)| option.to_owned()))
        .collect();
    assert_eq!(said, refused.iter().map(String::as_str).collect());
}

#[test]
fn settings_of_options_are_there() {
    for option in options::all() {
        match option.meaning {
            Meaning::Setting => assert!(keys::of_option(option.long).is_some(), "{option:?}"),
            Meaning::Word(path, _) => assert!(keys::known(path).is_some(), "{option:?}"),
            Meaning::Own | Meaning::Nothing | Meaning::Refused(_) => {}
        }
    }
}
