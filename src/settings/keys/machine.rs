//! What machine it is: `[machine]`, `[users]`, `[console]`.

use std::path::PathBuf;

use super::key::{BadValue, Key, Kind, NspawnKey, Trust};
use crate::settings::assignment::Given;
use crate::settings::verity::{parse_root_hash, parse_signature};
use crate::settings::{
    ConsoleRequest, PrivateUsers, RootHashSignature, Uuid, ValueError, check_hostname, parse_boolean,
};

pub(super) static KEYS: &[Key] = &[
    Key::new("machine", "directory", Kind::Text, |draft, given| {
        draft.directory = Some(place(given, "\"\" is no directory", "the root directory of a Linux system")?);
        Ok(())
    })
    .option("--directory=")
    .trust(Trust::Never)
    .machine_only()
    .default("the image of the machine's name"),
    Key::new("machine", "image", Kind::Text, |draft, given| {
        draft.directory = Some(place(given, "\"\" is no image", "a disk image or a block device")?);
        Ok(())
    })
    .option("--image=")
    .trust(Trust::Never)
    .machine_only()
    .default("none"),
    Key::new("machine", "mstack", Kind::Text, |draft, given| {
        let path = place(given, "\"\" is no image", "a directory whose name ends in .mstack")?;
        if !path.as_os_str().as_encoded_bytes().ends_with(b".mstack") {
            return Err(BadValue::new(
                format!("{:?} is no layered image by its name", given.text),
                "a directory whose name ends in .mstack (systemd.mstack(7))",
            ));
        }
        draft.directory = Some(path);
        Ok(())
    })
    .option("--mstack=")
    .trust(Trust::Never)
    .machine_only()
    .default("none"),
    Key::new("machine", "root-hash", Kind::Text, |draft, given| {
        draft.settings.verity.root_hash = Some(parse_root_hash(given.text)?);
        Ok(())
    })
    .option("--root-hash=")
    .trust(Trust::Never)
    .machine_only()
    .default("that in NAME.roothash beside NAME.raw"),
    Key::new("machine", "verity-data", Kind::Text, |draft, given| {
        draft.settings.verity.hashes = Some(place(given, "\"\" is no file", "a file or device with hashes")?);
        Ok(())
    })
    .option("--verity-data=")
    .trust(Trust::Never)
    .machine_only()
    .default("a partition of the image, or NAME.verity beside NAME.raw"),
    Key::new("machine", "root-hash-sig", Kind::Text, |draft, given| {
        draft.settings.verity.signature = Some(match parse_signature(given.text)? {
            Some(bytes) => RootHashSignature::Bytes(bytes),
            None => RootHashSignature::File(place(
                given,
                "\"\" is no file",
                "a signature's file, or base64:DATA",
            )?),
        });
        Ok(())
    })
    .option("--root-hash-sig=")
    .trust(Trust::Never)
    .machine_only()
    .default("none"),
    Key::new("machine", "hostname", Kind::Text, |draft, given| {
        check_hostname(given.text)?;
        draft.settings.hostname = Some(given.text.to_owned());
        Ok(())
    })
    .option("--hostname=")
    .nspawn(&[NspawnKey::new("Exec", "Hostname")])
    .machine_only()
    .default("the machine's name"),
    Key::new("machine", "uuid", Kind::Text, |draft, given| {
        draft.settings.uuid = Some(parse_machine_uuid(given.text)?);
        Ok(())
    })
    .option("--uuid=")
    .nspawn(&[NspawnKey::new("Exec", "MachineID")])
    .trust(Trust::Never)
    .machine_only()
    .default("random, where the tree has no machine ID"),
    Key::new("machine", "ephemeral", Kind::Boolean, |draft, given| {
        draft.settings.ephemeral = parse_boolean(given.text)?;
        Ok(())
    })
    .option("--ephemeral")
    .nspawn(&[NspawnKey::new("Exec", "Ephemeral")])
    .trust(Trust::Never)
    .default("no"),
    Key::new("users", "private-users", Kind::Word, |draft, given| {
        draft.settings.private_users = given
            .text
            .parse::<PrivateUsers>()
            .map_err(|error| BadValue::of_sentence(&error, "no, yes, pick, identity or BASE[:SIZE]"))?;
        Ok(())
    })
    .option("--private-users=")
    .nspawn(&[NspawnKey::new("Exec", "PrivateUsers")])
    .trust(Trust::Never)
    .default("pick"),
    Key::new("console", "mode", Kind::Text, |draft, given| {
        draft.console = Some(given.text.parse::<ConsoleRequest>()?);
        Ok(())
    })
    .option("--console=")
    .default("by what our stdin and stdout are"),
];

/// The path of what is run.
fn place(given: &Given<'_>, empty: &str, wanted: &str) -> Result<PathBuf, BadValue> {
    if given.text.is_empty() {
        return Err(BadValue::new(empty, wanted));
    }
    given.host_path(given.text.as_ref()).ok_or_else(|| {
        BadValue::new(
            format!("{:?} is not an absolute path", given.text),
            "in a file, a path that begins with /",
        )
    })
}

/// An ID that machine-id(5) allows.
fn parse_machine_uuid(text: &str) -> Result<Uuid, ValueError> {
    let uuid: Uuid = text.parse()?;
    if uuid.is_nil() {
        return Err(ValueError::new(text, "is all zeroes", "a UUID that is not nil (machine-id(5))"));
    }
    Ok(uuid)
}
