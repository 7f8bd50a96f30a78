//! Images as `org.freedesktop.machine1` has them: which there are, what is known of them, and what can be done to them, for all
//! interfaces alike.
//!
//! What is read quickly is read here, at each call: the store is all there is. The rest is done by a process of its own
//! (`worker::image_work`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use zbus::OwnedObjectPath;

use super::image::ImageObject;
use super::{HOST, PATH, access};
use crate::image::properties::Properties;
use crate::image::remove::{HiddenEntry, hidden_entries};
use crate::image::store::SEARCH_PATH;
use crate::image::{Image, ImageKind, ImageName, Store, hidden};
use crate::manager::authority::Caller;
use crate::manager::context::Context;
use crate::manager::object_path::encode;
use crate::manager::own;
use crate::manager::problem::{Kind, Problem};
use crate::manager::worker::task::{ImageWork, Task};
use crate::sys::readiness::watched;
use crate::sys::watch::Watch;

/// How much there is, or may be, where nobody counts.
const UNKNOWN: u64 = u64::MAX;

/// The largest size that there is (off_t).
const LARGEST: u64 = i64::MAX.unsigned_abs();

/// To change images.
const MANAGE: &str = "org.freedesktop.machine1.manage-images";

/// To look into them.
const INSPECT: &str = "org.freedesktop.machine1.inspect-images";

/// What a name is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An image.
    Image(Image),
    /// Something like one, that systemd-importd keeps hidden to make images of.
    Hidden(HiddenEntry),
    /// The host's tree, which systemd-machined counts as one.
    Host,
}

/// What is known of an image without a look into it. Times are in microseconds since 1970, or 0; sizes in bytes, or all ones.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Facts {
    pub name: String,
    pub path: String,
    pub kind: &'static str,
    pub read_only: bool,
    pub created: u64,
    pub modified: u64,
    pub usage: u64,
    pub limit: u64,
}

/// What the image `name` of `store` is.
///
/// # Errors
/// [`Kind::NoSuchImage`].
pub fn find(store: &Store, name: &str) -> Result<Found, Problem> {
    if name == HOST {
        return Ok(Found::Host);
    }
    if name.starts_with('.') {
        let hidden = kept(store)?.into_iter().find(|entry| entry.name == name);
        return hidden.map(Found::Hidden).ok_or_else(|| Problem::no_image(name));
    }
    // What is no name names no image.
    let parsed: ImageName = name.parse().map_err(|_| Problem::no_image(name))?;
    Ok(Found::Image(store.find(&parsed)?))
}

/// What systemd-importd keeps. What is being made is nobody's to see.
fn kept(store: &Store) -> Result<Vec<HiddenEntry>, Problem> {
    let mut entries = hidden_entries(store)?;
    entries
        .retain(|entry| entry.is_ours() && entry.kind.is_some() && !entry.name.starts_with(hidden::PREFIX));
    Ok(entries)
}

impl Facts {
    /// What is known of `found`; `None` if it has gone.
    pub fn of(store: &Store, found: &Found) -> Option<Self> {
        let (name, path, kind) = match found {
            Found::Image(image) => (image.name.to_string(), image.path.clone(), image.kind),
            Found::Hidden(entry) => (entry.name.clone(), store.pool.join(&entry.name), entry.kind?),
            Found::Host => (HOST.to_owned(), PathBuf::from("/"), ImageKind::Directory),
        };
        // Its name has no part in what is looked at.
        let image = Image { name: "image".parse().ok()?, path, kind };
        let properties = Properties::of(&image).ok()?;
        Some(Self {
            name,
            path: image.path.display().to_string(),
            kind: kind.word(),
            read_only: properties.read_only,
            created: properties.created.unwrap_or(0),
            modified: properties.modified.unwrap_or(0),
            usage: properties.usage.unwrap_or(UNKNOWN),
            limit: properties.size.unwrap_or(UNKNOWN),
        })
    }
}

/// All images, those of systemd-importd and the host among them.
///
/// # Errors
/// When a directory of images cannot be read.
pub fn all() -> Result<Vec<Facts>, Problem> {
    let store = Store::system();
    let images = store.all()?.into_iter().map(Found::Image);
    let kept = kept(&store)?.into_iter().map(Found::Hidden);
    let found = std::iter::once(Found::Host).chain(images).chain(kept);
    // One that is broken, or has just gone, is no reason not to see the others.
    Ok(found.filter_map(|found| Facts::of(&store, &found)).collect())
}

/// A name that no image can have.
pub fn invalid_name(name: &str) -> Problem {
    let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    Problem::new(Kind::InvalidArgument, format!("Image name '{name}' is invalid."))
}

/// The object of the image called `name`.
pub fn image_path(name: &str) -> OwnedObjectPath {
    // An encoded name is an element of a path.
    OwnedObjectPath::try_from(format!("{PATH}/image/{}", encode(name))).unwrap_or_default()
}

/// The images that have objects.
#[derive(Debug, Default)]
pub struct Images(Mutex<BTreeSet<String>>);

/// One at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Makes the objects of images that came, and removes those of images that went.
///
/// # Errors
/// When a directory of images cannot be read.
pub async fn announce(context: &Context) -> Result<Vec<Facts>, Problem> {
    let _turn = TURN.lock().await;
    let facts = all()?;
    let now: BTreeSet<String> = facts.iter().map(|facts| facts.name.clone()).collect();
    let before = {
        let mut names = context.images().0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *names, now.clone())
    };
    let server = context.connection().object_server();
    for name in before.difference(&now) {
        // A connection that is gone is seen by who waits for its end.
        let _ = server.remove::<ImageObject, _>(&image_path(name)).await;
        own::image_went(context, name).await;
    }
    for name in now.difference(&before) {
        let _ = server.at(&image_path(name), ImageObject::new(context.clone(), name)).await;
        own::image_came(context, name).await;
    }
    Ok(facts)
}

/// Has objects come and go with the images for as long as the manager runs.
///
/// # Errors
/// When directories cannot be watched.
pub async fn watch(context: Context) -> Result<(), Problem> {
    use std::os::fd::AsFd;
    let failed = |error: &dyn std::error::Error| Problem::of(Kind::Failed, error, None);
    let watch = Watch::new().map_err(|error| failed(&error))?;
    let told = watch.as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
    let told = watched(told).map_err(|error| failed(&error))?;
    loop {
        watch.clear().map_err(|error| failed(&error))?;
        for directory in SEARCH_PATH.map(Path::new) {
            // One that is not there may come.
            if !watch.add(directory).map_err(|error| failed(&error))?
                && let Some(parent) = directory.parent()
            {
                watch.add(parent).map_err(|error| failed(&error))?;
            }
        }
        announce(&context).await?;
        let mut ready = told.readable().await.map_err(|error| failed(&error))?;
        ready.clear_ready();
    }
}

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
    fn what_names_are_of() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::at(temporary.path());
        for name in ["web", ".tar-https:x", ".#web.0123456789abcdef", ".mine", "layers.mstack"] {
            std::fs::create_dir(temporary.path().join(name)).unwrap();
        }
        std::fs::write(temporary.path().join("disk.raw"), "").unwrap();
        let table = [
            ("web", Some("directory")),
            ("disk", Some("raw")),
            ("layers", Some("mstack")),
            (".tar-https:x", Some("directory")),
            (".host", Some("directory")),
            (".#web.0123456789abcdef", None),
            (".mine", None),
            ("none", None),
            ("../web", None),
            ("", None),
            ("a\nb", None),
        ];
        for (name, expected) in table {
            let found = find(&store, name);
            let facts = found.as_ref().ok().and_then(|found| Facts::of(&store, found));
            assert_eq!(facts.as_ref().map(|facts| facts.kind), expected, "{name:?}");
            match found {
                Ok(_) => assert_eq!(facts.map(|facts| facts.name).as_deref(), Some(name)),
                Err(problem) => assert_eq!(problem.kind, Kind::NoSuchImage, "{name:?}"),
            }
        }
    }

    #[test]
    fn polkit_knows_the_actions() {
        let policy = include_str!("../../../units/org.spinney.machine1.policy");
        for action in [MANAGE, INSPECT] {
            assert!(policy.contains(&format!("<action id=\"{action}\">")), "{action}");
        }
    }
}
