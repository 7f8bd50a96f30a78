//! A layered image as a machine has it: its overlay, mounted for a while without a machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use spinney::image::layers::LayeredImage;

use crate::command::run;

/// A mounted root; unmounted when dropped.
pub struct MachineRoot {
    pub path: PathBuf,
    mounted: bool,
}

impl MachineRoot {
    /// Mounts the image at `image` on `point`, with the options that machines have (docs/boot.md).
    pub fn mount(image: &Path, point: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(point).unwrap();
        let layered = LayeredImage::open(image).map_err(|error| error.to_string())?;
        let layers: Vec<String> =
            layered.layers().iter().rev().map(|layer| layer.path.to_string_lossy().into_owned()).collect();
        let writable = image.join("rw");
        let options = format!(
            "lowerdir={},upperdir={},workdir={},userxattr,index=off",
            layers.join(":"),
            writable.join("data").display(),
            writable.join("work").display()
        );
        run(Command::new("mount").args(["-t", "overlay", "-o", &options, "overlay"]).arg(point)).ok()?;
        Ok(Self { path: point.to_owned(), mounted: true })
    }

    /// Unmounts it.
    pub fn unmount(mut self) -> Result<(), String> {
        self.mounted = false;
        run(Command::new("umount").arg(&self.path)).ok().map(drop)
    }
}

impl Drop for MachineRoot {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
    }
}
