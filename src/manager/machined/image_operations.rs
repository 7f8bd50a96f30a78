//! What can be done to images, for all interfaces alike: which action of polkit it takes, and the process that does it
//! (`worker::image_work`).

use std::collections::BTreeMap;

use serde_json::Value;
use zbus::OwnedObjectPath;

use super::access;
use super::images::{Found, UNKNOWN, announce, find, image_path, invalid_name};
use crate::image::{ImageName, Store};
use crate::manager::authority::Caller;
use crate::manager::context::Context;
use crate::manager::problem::{Kind, Problem};
use crate::manager::worker::task::{ImageWork, Task};

/// The largest size that there is (off_t).
const LARGEST: u64 = i64::MAX.unsigned_abs();

/// To change images.
const MANAGE: &str = "org.freedesktop.machine1.manage-images";

/// To look into them.
const INSPECT: &str = "org.freedesktop.machine1.inspect-images";

/// One call: what it is about, and whose it is.
#[derive(Debug)]
pub struct ImageOperation<'a> {
    /// What all objects share.
    pub context: &'a Context,
    /// Who asks.
    pub caller: Caller<'a>,
    /// The image.
    pub name: &'a str,
}

impl ImageOperation<'_> {
    /// The object of the image, also of one that came this moment.
    ///
    /// # Errors
    /// As all of these: no such image, the caller may not, the work has failed.
    pub async fn path(&self) -> Result<OwnedObjectPath, Problem> {
        self.found()?;
        announce(self.context).await?;
        Ok(image_path(self.name))
    }

    /// Removes it.
    ///
    /// # Errors
    /// As [`ImageOperation::path`].
    pub async fn remove(&self) -> Result<(), Problem> {
        self.change("remove", &[], ImageWork::Remove).await
    }

    /// Calls it `to`.
    ///
    /// # Errors
    /// As [`ImageOperation::path`].
    pub async fn rename(&self, to: &str) -> Result<(), Problem> {
        self.found()?;
        let to = named(to)?;
        self.change("rename", &[("new_name", to)], ImageWork::Rename { to: to.to_owned() }).await
    }

    /// Makes another one of it, called `to`.
    ///
    /// # Errors
    /// As [`ImageOperation::path`].
    pub async fn clone_to(&self, to: &str, read_only: bool) -> Result<(), Problem> {
        self.found()?;
        let to = named(to)?;
        let work = ImageWork::Clone { to: to.to_owned(), read_only };
        self.change("clone", &[("new_name", to)], work).await
    }

    /// Marks it as not to be changed, or not any more.
    ///
    /// # Errors
    /// As [`ImageOperation::path`].
    pub async fn mark_read_only(&self, read_only: bool) -> Result<(), Problem> {
        let word = if read_only { "1" } else { "0" };
        let work = ImageWork::MarkReadOnly { read_only };
        self.change("mark_read_only", &[("read_only", word)], work).await
    }

    /// Sets how much it may take: only quota groups of btrfs could count that, which are not ours to set.
    ///
    /// # Errors
    /// Always, so far: [`Kind::NotSupported`].
    pub async fn set_limit(&self, limit: u64) -> Result<(), Problem> {
        if limit > LARGEST && limit != UNKNOWN {
            return Err(Problem::new(Kind::InvalidArgument, "New limit out of range"));
        }
        let found = self.found()?;
        self.may(MANAGE, "set_limit", &[]).await?;
        Err(match found {
            Found::Host => Problem::new(Kind::ReadOnly, "The host's own tree is no image to be changed"),
            _ => Problem::new(Kind::NotSupported, format!("Image {} cannot be limited", self.name)),
        })
    }

    /// Its name as a host.
    ///
    /// # Errors
    /// As [`ImageOperation::path`].
    pub async fn hostname(&self) -> Result<String, Problem> {
        let value = self.look("get_hostname").await?;
        Ok(value.get("hostname").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Its machine ID as bytes; nothing where it has none.
    ///
    /// # Errors
    /// As [`ImageOperation::path`].
    pub async fn machine_id(&self) -> Result<Vec<u8>, Problem> {
        let value = self.look("get_machine_id").await?;
        let id = value.get("machine_id").and_then(Value::as_str).unwrap_or_default();
        Ok(crate::guest::machine_id::MachineIdState::parse(id.as_bytes())
            .id()
            .map_or(Vec::new(), |id| id.0.to_vec()))
    }

    /// The fields of its machine-info(5).
    ///
    /// # Errors
    /// As [`ImageOperation::path`].
    pub async fn machine_info(&self) -> Result<BTreeMap<String, String>, Problem> {
        Ok(fields(&self.look("get_machine_info").await?, "machine_info"))
    }

    /// The fields of its os-release(5).
    ///
    /// # Errors
    /// As [`ImageOperation::path`].
    pub async fn os_release(&self) -> Result<BTreeMap<String, String>, Problem> {
        Ok(fields(&self.look("get_os_release").await?, "os_release"))
    }

    /// What it says of itself, all at once.
    ///
    /// # Errors
    /// As [`ImageOperation::path`].
    pub async fn look(&self, verb: &str) -> Result<Value, Problem> {
        self.found()?;
        self.may(INSPECT, verb, &[]).await?;
        Ok(self.context.work_on_image(self.name, ImageWork::Look).await?.value)
    }

    fn found(&self) -> Result<Found, Problem> {
        find(&Store::system(), self.name)
    }

    async fn change(&self, verb: &str, details: &[(&str, &str)], work: ImageWork) -> Result<(), Problem> {
        self.found()?;
        self.may(MANAGE, verb, details).await?;
        self.context.work_on_image(self.name, work).await?;
        // What is told of from here on is as it is now.
        announce(self.context).await.map(drop)
    }

    async fn may(&self, action: &str, verb: &str, details: &[(&str, &str)]) -> Result<(), Problem> {
        // polkit may ask a person, who takes time.
        let _busy = self.context.busy();
        let about = [("image", self.name), ("verb", verb)];
        let details: Vec<(&str, &str)> = about.iter().chain(details).copied().collect();
        self.caller.check(self.context.connection(), action, &details).await
    }
}

/// Removes what is hidden (`hidden`), or all images too (`all`). Gives what was removed, and the bytes that it took.
///
/// # Errors
/// When the caller may not, or something could not be removed.
pub async fn clean_pool(
    context: &Context,
    caller: &Caller<'_>,
    mode: &str,
) -> Result<Vec<(String, u64)>, Problem> {
    let all = match mode {
        "hidden" => false,
        "all" => true,
        other => {
            let other: String = other.chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(Problem::new(Kind::InvalidArgument, format!("Unknown mode '{other}'.")));
        }
    };
    // polkit may ask a person, who takes time.
    let _busy = context.busy();
    caller.check(context.connection(), MANAGE, &[("verb", "clean_pool"), ("mode", mode)]).await?;
    let done = context.work(&Task::Clean { all }).await?;
    announce(context).await?;
    let removed: Vec<(String, Option<u64>)> = serde_json::from_value(done.value).unwrap_or_default();
    Ok(removed.into_iter().map(|(name, bytes)| (name, bytes.unwrap_or(UNKNOWN))).collect())
}

/// Sets how much images may take together: as with one of them, only quota groups of btrfs could count that.
///
/// # Errors
/// Always, so far: [`Kind::NotSupported`].
pub async fn limit_pool(context: &Context, caller: &Caller<'_>, size: u64) -> Result<(), Problem> {
    access::check(context, caller, "set-pool-limit", "", &[]).await?;
    let text = format!("Images have no limit in common, and get none of {size} bytes.");
    Err(Problem::new(Kind::NotSupported, text))
}

fn named(name: &str) -> Result<&str, Problem> {
    name.parse::<ImageName>().map(|_| name).map_err(|_| invalid_name(name))
}

fn fields(value: &Value, name: &str) -> BTreeMap<String, String> {
    let fields = value.get(name).and_then(Value::as_object).into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polkit_knows_the_actions() {
        let policy = include_str!("../../../units/org.spinney.machine1.policy");
        for action in [MANAGE, INSPECT] {
            assert!(policy.contains(&format!("<action id=\"{action}\">")), "{action}");
        }
    }
}
