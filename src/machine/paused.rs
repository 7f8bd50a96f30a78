//! A machine stopped for a moment, so that what it writes can be copied as of one point in time.
//!
//! It goes on whatever becomes of us: a child waits for our end and resumes it, so that no signal, SIGKILL neither, leaves it
//! paused.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::Pid;
use serde_json::json;

use super::{Control, Error, MachineHandle};
use crate::image::layers::LayerError;
use crate::image::{self, Image, users};
use crate::sys::fork::fork;
use crate::sys::in_words;
use crate::sys::pipe::pipe;
use crate::sys::process::wait_for_end;
use crate::sys::signal::SignalSet;

/// A machine that is paused, until this is dropped.
#[derive(Debug)]
#[must_use = "dropped, the machine goes on"]
pub struct Paused {
    /// Who resumes it when this is closed; nobody, if it was paused before.
    minder: Option<(OwnedFd, Pid)>,
}

impl Paused {
    /// Pauses the machine that writes to the image at `image`; `None` where there is none.
    ///
    /// # Errors
    /// When its supervisor does not do it.
    pub fn of_image(image: &Path) -> Result<Option<Self>, Error> {
        let key = |path: &Path| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
        let wanted = key(image);
        let runs_from = |machine: &MachineHandle| {
            let state = machine.state();
            !state.ephemeral && (state.tree == image || (wanted.is_some() && key(&state.tree) == wanted))
        };
        let Some(machine) = MachineHandle::all()?.into_iter().find(runs_from) else { return Ok(None) };
        if machine.state().paused {
            return Ok(Some(Self { minder: None }));
        }
        let mut control = Control::connect(&machine)?;
        let paused = Self { minder: Some(minder(&machine)?) };
        control.call("io.systemd.MachineInstance.Pause", json!({}))?;
        Ok(Some(paused))
    }
}

/// Pauses the machine that writes to `image`, for who makes another image of it.
///
/// # Errors
/// When somebody writes to it who cannot be paused.
pub fn pause_writer(image: &Image) -> Result<Box<dyn Any>, LayerError> {
    match Paused::of_image(&image.path) {
        Ok(Some(paused)) => Ok(Box::new(paused)),
        Ok(None) => {
            let by = users::holders(&image.path);
            Err(image::Error::InUse { name: image.name.to_string(), by }.into())
        }
        Err(error) => Err(LayerError::Pause { name: image.name.to_string(), why: in_words(&error) }),
    }
}

/// A child that resumes `machine` when the other end of its pipe is closed.
fn minder(machine: &MachineHandle) -> Result<(OwnedFd, Pid), Error> {
    let failed = || Error::system("watch over a paused machine");
    let (read, write) = pipe(4096).map_err(failed())?;
    let mut ours = Some(write);
    let child = fork(|| {
        drop(ours.take());
        // What is meant for us, ^C for one, is not for it.
        let blocked = SignalSet::all().block();
        while matches!(rustix::io::read(&read, &mut [0; 1]), Ok(1) | Err(rustix::io::Errno::INTR)) {}
        drop(blocked);
        // It may have ended meanwhile.
        let resumed = Control::connect(machine)
            .and_then(|mut control| control.call("io.systemd.MachineInstance.Resume", json!({})));
        i32::from(resumed.is_err())
    })
    .map_err(failed())?;
    let ours =
        ours.ok_or_else(|| failed()(crate::sys::SysError::new("pipe2", "", rustix::io::Errno::BADF)))?;
    Ok((ours, child))
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Some((pipe, child)) = self.minder.take() {
            drop(pipe);
            let _ = wait_for_end(child);
        }
    }
}
