//! The journal of resources where /run is full: what cannot be noted is not made, and what is noted afterwards is understood.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use spinney::settings::MachineName;
use spinney::supervisor::journal::{self, Journal, Written};
use spinney::supervisor::registry::{Claim, MACHINES, MachineDirectory};
use spinney::supervisor::resources::Resource;

use crate::harness::{Context, Stop, Test, TestResult};

pub fn tests() -> Vec<Test> {
    vec![Test::new("noted::half_a_line_in_a_full_run", half_a_line)]
}

/// A small file system in the place of the machines' directories, until this goes.
struct Small;

impl Small {
    fn mount() -> Result<Self, Stop> {
        fs::create_dir_all(MACHINES)?;
        mount("tmpfs", MACHINES, "tmpfs", MountFlags::empty(), Some(c"size=64k,mode=0755"))?;
        Ok(Self)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(MACHINES, UnmountFlags::DETACH);
        let _ = fs::remove_dir(MACHINES);
        if let Some(above) = Path::new(MACHINES).parent() {
            let _ = fs::remove_dir(above);
        }
    }
}

fn half_a_line(context: &Context) -> TestResult {
    if context.on_host && Path::new(MACHINES).exists() {
        return Err(Stop::Skip("machines of others run on this host".to_owned()));
    }
    let _small = Small::mount()?;
    let name: MachineName = context.machine_name().parse()?;
    let Claim::Ours { directory, .. } = MachineDirectory::claim(&name)? else {
        return Err("it is somebody's".into());
    };
    let journal = Journal::open(&directory)?;
    let digits = 34 - name.as_str().len();
    let resource = |number: usize| Resource::Scratch(format!("{name}-{number:0>digits$}"));
    journal.note(&resource(0))?;
    let line = fs::metadata(directory.path().join(journal::NAME))?.len();
    // So that one ends in the middle of the next page.
    assert!(4096 % line != 0, "{line}");
    let filling = Path::new(MACHINES).join("filling");
    let mut file = File::create(&filling)?;
    while file.write(&[7; 4096]).is_ok() {}
    // What the journal has of its page is filled, and then a line does not fit.
    let mut noted = 1;
    while journal.note(&resource(noted)).is_ok() {
        noted += 1;
        assert!(noted < 4096, "/run does not get full");
    }
    let length = || fs::metadata(directory.path().join(journal::NAME)).map(|file| file.len());
    assert_eq!(length()?, noted as u64 * line, "half a line is left");
    drop(file);
    fs::remove_file(filling)?;
    journal.note(&resource(noted + 1))?;
    let resources: Vec<Resource> = (0..noted).chain([noted + 1]).map(resource).collect();
    assert_eq!(journal.resources(), resources);
    assert_eq!(journal::read(&directory)?, Written { resources, unknown: Vec::new() });
    directory.remove()?;
    Ok(())
}
