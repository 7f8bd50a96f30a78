//! What it sees: `[files]`, `[integration]`, `[credentials]`.

use std::path::Path;

use super::Draft;
use super::key::{BadValue, Key, Kind, NspawnKey, Trust};
use crate::settings::assignment::Given;
use crate::settings::draft::AskedCredential;
use crate::settings::{Credential, CredentialFile, CustomMount, ValueError, Volatile, Words, parse_boolean};

pub(super) static KEYS: &[Key] = &[
    Key::new("files", "read-only", Kind::Boolean, |draft, given| {
        draft.settings.read_only = parse_boolean(given.text)?;
        Ok(())
    })
    .option("--read-only")
    .nspawn(&[NspawnKey::new("Files", "ReadOnly")])
    .trust(Trust::OnlyYes)
    .default("no"),
    Key::new("files", "volatile", Kind::Word, |draft, given| {
        draft.settings.volatile = Volatile::from_word_or_boolean(given.text)?;
        Ok(())
    })
    .option("--volatile=")
    .nspawn(&[NspawnKey::new("Files", "Volatile")])
    .trust(Trust::OnlyYes)
    .default("no"),
    Key::new("files", "pivot-root", Kind::Text, |draft, given| {
        draft.settings.pivot_root = Some(given.text.parse()?);
        Ok(())
    })
    .option("--pivot-root=")
    .nspawn(&[NspawnKey::new("Exec", "PivotRoot")])
    .default("none"),
    Key::new("files", "bind", Kind::List, |draft, given| {
        mount(draft, given, CustomMount::parse_bind(given.text, false))
    })
    .option("--bind=")
    .nspawn(&[NspawnKey::new("Files", "Bind")])
    .trust(Trust::Never)
    .default("none"),
    Key::new("files", "bind-ro", Kind::List, |draft, given| {
        mount(draft, given, CustomMount::parse_bind(given.text, true))
    })
    .option("--bind-ro=")
    .nspawn(&[NspawnKey::new("Files", "BindReadOnly")])
    .trust(Trust::Never)
    .default("none"),
    Key::new("files", "inaccessible", Kind::List, |draft, given| {
        mount(draft, given, CustomMount::parse_inaccessible(given.text))
    })
    .option("--inaccessible=")
    .nspawn(&[NspawnKey::new("Files", "Inaccessible")])
    .trust(Trust::Never)
    .default("none"),
    Key::new("files", "tmpfs", Kind::List, |draft, given| {
        mount(draft, given, CustomMount::parse_tmpfs(given.text))
    })
    .option("--tmpfs=")
    .nspawn(&[NspawnKey::new("Files", "TemporaryFileSystem")])
    .trust(Trust::Never)
    .default("none"),
    Key::new("files", "overlay", Kind::List, |draft, given| {
        mount(draft, given, CustomMount::parse_overlay(given.text, false))
    })
    .option("--overlay=")
    .nspawn(&[NspawnKey::new("Files", "Overlay")])
    .trust(Trust::Never)
    .default("none"),
    Key::new("files", "overlay-ro", Kind::List, |draft, given| {
        mount(draft, given, CustomMount::parse_overlay(given.text, true))
    })
    .option("--overlay-ro=")
    .nspawn(&[NspawnKey::new("Files", "OverlayReadOnly")])
    .trust(Trust::Never)
    .default("none"),
    Key::new("integration", "resolv-conf", Kind::Text, |draft, given| {
        draft.settings.resolv_conf = given.text.parse()?;
        Ok(())
    })
    .option("--resolv-conf=")
    .nspawn(&[NspawnKey::new("Exec", "ResolvConf")])
    .default("auto"),
    Key::new("integration", "timezone", Kind::Text, |draft, given| {
        draft.settings.timezone = given.text.parse()?;
        Ok(())
    })
    .option("--timezone=")
    .nspawn(&[NspawnKey::new("Exec", "Timezone")])
    .default("auto"),
    Key::new("integration", "link-journal", Kind::Text, |draft, given| {
        draft.settings.link_journal = given.text.parse()?;
        Ok(())
    })
    .option("--link-journal=")
    .nspawn(&[NspawnKey::new("Exec", "LinkJournal")])
    .trust(Trust::Never)
    .default("auto"),
    Key::new("credentials", "set-credential", Kind::Pairs(':'), |draft, given| {
        draft.credentials.push(AskedCredential::Value(Credential::parse(given.text)?));
        Ok(())
    })
    .option("--set-credential=")
    .trust(Trust::Never)
    .secret()
    .default("none"),
    Key::new("credentials", "load-credential", Kind::Pairs(':'), |draft, given| {
        draft.credentials.push(AskedCredential::File(CredentialFile::parse(given.text)?));
        Ok(())
    })
    .option("--load-credential=")
    .trust(Trust::Never)
    .default("none"),
];

/// Adds a mount, whose paths of the host must be absolute in a file.
fn mount(
    draft: &mut Draft,
    given: &Given<'_>,
    parsed: Result<CustomMount, ValueError>,
) -> Result<(), BadValue> {
    let mount = parsed?;
    let mount = match given.directory {
        Some(directory) => mount.absolute(directory),
        None if is_absolute(&mount) => mount,
        None => {
            return Err(BadValue::new(
                format!("{:?} has a path of the host that is not absolute", given.text),
                "in a file, paths begin with / (or with +/ for a path in the tree)",
            ));
        }
    };
    draft.settings.mounts.push(mount);
    Ok(())
}

fn is_absolute(mount: &CustomMount) -> bool {
    let absolute = |path: &Path| path.is_absolute();
    match mount {
        CustomMount::Bind { source, target, .. } => {
            source.as_deref().is_none_or(absolute) && target.is_absolute()
        }
        CustomMount::Overlay { lower, upper, target } => {
            lower.iter().chain(upper.iter().flatten()).all(|(path, _)| path.is_absolute())
                && target.is_absolute()
        }
        CustomMount::Tmpfs { .. } | CustomMount::Inaccessible { .. } => true,
    }
}
