//! Which capabilities a machine's PID 1 has, and taking the others away.
//!
//! The plan is pure. It is carried out in two steps around the change of user: [`CapabilityPlan::before_user`] while
//! still root of the user namespace, [`CapabilityPlan::after_user`] as the payload's user.

use crate::settings::{Capability, CapabilitySettings, capability_names};
use crate::sys::SysResult;
use crate::sys::capability::{
    CapabilitySets, capabilities, clear_ambient_set, limit_bounding_set, raise_ambient, set_capabilities,
    set_keep_capabilities,
};

/// What a machine keeps, as systemd-nspawn(1) lists it for `--capability=`, without CAP_NET_ADMIN.
///
/// CAP_SYS_RAWIO in particular is not in it: a systemd that holds it tries to mount debugfs and tracefs, which fails
/// in a user namespace.
const KEPT: &[Capability] = &[
    Capability::AUDIT_CONTROL,
    Capability::AUDIT_WRITE,
    Capability::CHOWN,
    Capability::DAC_OVERRIDE,
    Capability::DAC_READ_SEARCH,
    Capability::FOWNER,
    Capability::FSETID,
    Capability::IPC_OWNER,
    Capability::KILL,
    Capability::LEASE,
    Capability::LINUX_IMMUTABLE,
    Capability::MKNOD,
    Capability::NET_BIND_SERVICE,
    Capability::NET_BROADCAST,
    Capability::NET_RAW,
    Capability::SETFCAP,
    Capability::SETGID,
    Capability::SETPCAP,
    Capability::SETUID,
    Capability::SYS_ADMIN,
    Capability::SYS_BOOT,
    Capability::SYS_CHROOT,
    Capability::SYS_NICE,
    Capability::SYS_PTRACE,
    Capability::SYS_RESOURCE,
    Capability::SYS_TTY_CONFIG,
];

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityPlanError {
    /// Ambient capabilities that the machine does not keep.
    #[error("only capabilities that the machine keeps can be ambient; keep with --capability={}", names.join(","))]
    AmbientNotKept {
        /// Their names.
        names: Vec<&'static str>,
    },
}

/// The capability sets of PID 1 before its execve(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityPlan {
    /// The most that anything in the machine can have.
    pub bounding: u64,
    /// The effective set: all of `bounding` for root, else the ambient ones.
    pub effective: u64,
    /// The permitted set, the same.
    pub permitted: u64,
    /// The inheritable set: the ambient ones alone. A full one, as nspawn's, would hand capabilities to whoever runs a
    /// file with inheritable capabilities (what container engines mended as CVE-2022-24769), and root needs none.
    pub inheritable: u64,
    /// The ambient set.
    pub ambient: u64,
    /// Names of capabilities that belong to the machine but that the host process lacks: worth a warning.
    pub lost: Vec<&'static str>,
    keep_across_user: bool,
}

impl CapabilityPlan {
    /// The plan of a machine. `host_bounding` is what this process could hand on: what its bounding and its permitted
    /// set have in common. In a user namespace (`private_users`) it is no limit, since the kernel gives all
    /// capabilities there. `user_is_root` is about the payload.
    ///
    /// What is asked for wins over the default set, and what is to be dropped over both.
    pub fn for_machine(
        settings: &CapabilitySettings,
        private_network: bool,
        private_users: bool,
        host_bounding: u64,
        user_is_root: bool,
    ) -> Result<Self, CapabilityPlanError> {
        let wanted = (kept_by_default(private_network, private_users) | settings.add) & !settings.drop;
        let bounding = if private_users { wanted } else { wanted & host_bounding };
        let not_kept = settings.ambient & !wanted;
        if not_kept != 0 {
            return Err(CapabilityPlanError::AmbientNotKept { names: capability_names(not_kept) });
        }
        let ambient = settings.ambient & bounding;
        let own = if user_is_root { bounding } else { ambient };
        Ok(Self {
            bounding,
            effective: own,
            permitted: own,
            inheritable: ambient,
            ambient,
            lost: capability_names(wanted & !bounding),
            keep_across_user: !user_is_root && ambient != 0,
        })
    }

    /// The plan of a process that joins a machine with the bounding set `bounding`: root has all of it, others nothing.
    pub fn for_joining(bounding: u64, user_is_root: bool) -> Self {
        let own = if user_is_root { bounding } else { 0 };
        Self {
            bounding,
            effective: own,
            permitted: own,
            inheritable: 0,
            ambient: 0,
            lost: Vec::new(),
            keep_across_user: false,
        }
    }

    /// Limits the bounding set, and lets the ambient capabilities live through the change of user.
    pub fn before_user(&self) -> SysResult<()> {
        limit_bounding_set(self.bounding)?;
        if self.keep_across_user {
            set_keep_capabilities(true)?;
        }
        Ok(())
    }

    /// Sets the other sets. Nothing after it may need a capability that the plan leaves out.
    pub fn after_user(&self) -> SysResult<()> {
        clear_ambient_set()?;
        set_capabilities(CapabilitySets {
            effective: self.effective,
            permitted: self.permitted,
            inheritable: self.inheritable,
        })?;
        raise_ambient(self.ambient)
    }

    /// Takes from our stub init what it needs neither for its guest nor for itself.
    pub fn limit_stub(&self) -> SysResult<()> {
        limit_bounding_set(self.bounding)?;
        let held = capabilities()?.permitted & (self.bounding | STUB);
        set_capabilities(CapabilitySets { effective: held, permitted: held, inheritable: 0 })
    }
}

/// To signal processes of any user, and to end the machine.
const STUB: u64 = Capability::KILL.bit() | Capability::SYS_BOOT.bit();

fn kept_by_default(private_network: bool, private_users: bool) -> u64 {
    let kept = KEPT.iter().fold(0, |mask, capability| mask | capability.bit());
    match (private_network, private_users) {
        (true, _) => kept | Capability::NET_ADMIN.bit(),
        // Low ports of the host's network are not the user namespace's to give: with the capability, programs would
        // try and fail.
        (false, true) => kept & !Capability::NET_BIND_SERVICE.bit(),
        (false, false) => kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ALL_CAPABILITIES, parse_capability_list};
    use crate::sys::capability::{ambient_set, bounding_set};

    const NONE: CapabilitySettings = CapabilitySettings { add: 0, drop: 0, ambient: 0 };

    fn mask(list: &str) -> u64 {
        parse_capability_list(list).unwrap()
    }

    fn plan(settings: CapabilitySettings, network: bool, users: bool, host: u64) -> CapabilityPlan {
        CapabilityPlan::for_machine(&settings, network, users, host, true).unwrap()
    }

    #[test]
    fn bounding_sets() {
        let default = mask(
            "audit_control,audit_write,chown,dac_override,dac_read_search,fowner,fsetid,ipc_owner,kill,lease,
             linux_immutable,mknod,net_bind_service,net_broadcast,net_raw,setfcap,setgid,setpcap,setuid,sys_admin,
             sys_boot,sys_chroot,sys_nice,sys_ptrace,sys_resource,sys_tty_config",
        );
        let (net_admin, bind, rawio) = (mask("net_admin"), mask("net_bind_service"), mask("sys_rawio"));
        let add = |add| CapabilitySettings { add, ..NONE };
        let drop = |drop| CapabilitySettings { drop, ..NONE };
        let table = [
            ("plain", NONE, false, false, default),
            ("network", NONE, true, false, default | net_admin),
            ("users", NONE, false, true, default & !bind),
            ("both", NONE, true, true, default | net_admin),
            ("add", add(rawio), false, false, default | rawio),
            ("add a dropped default", add(bind), false, true, default),
            ("add all", add(ALL_CAPABILITIES), true, true, ALL_CAPABILITIES),
            ("drop", drop(bind | rawio), true, true, (default | net_admin) & !bind),
            ("drop the network's", drop(net_admin), true, false, default),
            ("drop all", drop(ALL_CAPABILITIES), true, true, 0),
            ("drop wins", CapabilitySettings { add: rawio, drop: rawio, ambient: 0 }, false, false, default),
        ];
        for (name, settings, network, users, expected) in table {
            let plan = plan(settings, network, users, ALL_CAPABILITIES);
            assert_eq!(capability_names(plan.bounding), capability_names(expected), "{name}");
            assert_eq!((plan.effective, plan.permitted), (expected, expected), "{name}");
            assert_eq!((plan.inheritable, plan.ambient), (0, 0), "{name}");
            assert!(plan.lost.is_empty(), "{name}");
        }
    }

    #[test]
    fn what_the_host_lacks_is_lost_without_a_user_namespace() {
        let host = ALL_CAPABILITIES & !mask("sys_resource,sys_rawio,wake_alarm");
        let settings = CapabilitySettings { add: mask("sys_rawio"), ..NONE };
        let shared = plan(settings, true, false, host);
        assert_eq!(shared.lost, ["CAP_SYS_RAWIO", "CAP_SYS_RESOURCE"]);
        assert_eq!(shared.bounding & mask("sys_resource,sys_rawio"), 0);
        let own = plan(settings, true, true, host);
        assert!(own.lost.is_empty());
        assert_eq!(own.bounding & mask("sys_resource,sys_rawio"), mask("sys_resource,sys_rawio"));
    }

    #[test]
    fn a_command_of_a_user_has_the_ambient_ones_alone() {
        let settings = CapabilitySettings { ambient: mask("net_raw,kill"), ..NONE };
        let plan = CapabilityPlan::for_machine(&settings, true, true, 0, false).unwrap();
        let ambient = mask("net_raw,kill");
        assert_eq!(
            [plan.effective, plan.permitted, plan.inheritable, plan.ambient],
            [ambient, ambient, ambient, ambient]
        );
        assert!(plan.bounding & mask("sys_admin") != 0);
    }

    #[test]
    fn ambient_ones_must_be_kept() {
        let settings = CapabilitySettings { ambient: mask("sys_rawio,bpf,kill"), ..NONE };
        let error = CapabilityPlan::for_machine(&settings, true, true, ALL_CAPABILITIES, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "only capabilities that the machine keeps can be ambient; keep with --capability=CAP_SYS_RAWIO,CAP_BPF"
        );
    }

    #[test]
    fn plans_are_carried_out() {
        let held = capabilities().unwrap().effective;
        if held & mask("setpcap,setuid") != mask("setpcap,setuid") {
            println!("skipped: needs CAP_SETPCAP and CAP_SETUID");
            return;
        }
        let settings = CapabilitySettings { ambient: mask("kill"), ..NONE };
        for user_is_root in [true, false] {
            let plan = CapabilityPlan::for_machine(&settings, false, false, held, user_is_root).unwrap();
            // Capabilities and, by the raw call, user ids are a thread's own.
            std::thread::spawn(move || {
                plan.before_user().unwrap();
                if !user_is_root {
                    rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(65534)).unwrap();
                }
                plan.after_user().unwrap();
                let sets = capabilities().unwrap();
                assert_eq!(
                    (sets.effective, sets.permitted, sets.inheritable),
                    (plan.effective, plan.permitted, plan.inheritable)
                );
                assert_eq!((ambient_set().unwrap(), bounding_set().unwrap()), (plan.ambient, plan.bounding));
            })
            .join()
            .unwrap();
        }
    }
}
