//! Methods that machinectl does not call so, and what the interfaces have.

use super::{But, Does, Hide, LATER, SERVED, Step, WORDS, but, does, run};

/// Methods that machinectl does not call so, with the names of errors, which it does not print.
#[rustfmt::skip]
pub const CALLS: &[Step] = &[
    run("machine-unknown", "
        call machine1 GetMachine string:nobody
        call machine1 TerminateMachine string:../x
        call machine1 KillMachine string:nobody string:all int32:9
        call machine1 GetMachineAddresses string:nobody
        call machine1 GetMachineOSRelease string:nobody
    "),
    run("machine-by-pid-of-host", "call machine1 GetMachineByPID uint32:1"),
    run("image-unknown", "
        call machine1 GetImage string:nobody
        call machine1 RemoveImage string:nobody
        call machine1 GetImageOSRelease string:nobody
        call machine1 CloneImage string:nobody string:$one boolean:false
    "),
    run("image-bad-name", "
        call machine1 RenameImage string:nobody string:a/b
        call machine1 CloneImage string:nobody string:a/b boolean:false
        call machine1 CloneImage string:nobody string: boolean:false
    "),
    run("image-host", "
        call machine1 RemoveImage string:.host
        call machine1 RenameImage string:.host string:$one
    ").but(&[
        but("Read-only file system", "The host's own tree is no image to be changed", WORDS),
    ]),
    run("map", "
        call machine1 MapToMachineUser uint32:0
        call machine1 MapToMachineUser uint32:1000
        call machine1 MapToMachineGroup uint32:4294900000
        call machine1 MapToMachineUser uint32:4294967295
    "),
    run("register-bad", "
        call machine1 RegisterMachine string:$one array:byte:1,2 string:x string:container uint32:1 string:
        call machine1 RegisterMachine string:a/b array:byte: string:x string:container uint32:1 string:
        call machine1 RegisterMachine string:$one array:byte: string:x string:house uint32:1 string:
        call machine1 RegisterMachine string:$one array:byte: string:x string:container uint32:1 string:
    "),
    run("unregister-unknown", "call machine1 UnregisterMachine string:nobody"),
    run("pool-limit", "call machine1 SetPoolLimit uint64:1000000").but(&[
        but("Quota is only supported on btrfs.", "Images have no limit in common, and get none of 1000000 bytes.", WORDS),
    ]),
    run("clean-bad", "call machine1 CleanPool string:everything"),
    run("transfer-unknown", "
        call import1 CancelTransfer uint32:7
        call import1 CancelTransfer uint32:0
    "),
    run("pull-bad", "
        call import1 PullTar string:ftp://a/b string:$one string:no boolean:false
        call import1 PullTar string:/etc/passwd string:$one string:no boolean:false
        call import1 PullRaw string:$url/x string:a/b string:no boolean:false
        call import1 PullRaw string:$url/x string:$one string:perhaps boolean:false
    ").but(&[
        but("Local name a/b", "Local image name a/b", LATER),
    ]),
    does(Does::Boot("tiny", "busybox")),
    run("machine", "
        call machine1 GetMachine string:$tiny
        call machine1 GetMachineByPID uint32:$(leader $tiny)
        call machine1 GetMachineUIDShift string:$tiny
        call machine1 GetMachineAddresses string:$tiny
    "),
    run("os-release", "
        get machine1 GetMachineOSRelease s $tiny
    "),
    run("list", r#"
        get machine1 ListMachines | grep -o '"[^"]*" "[^"]*" "[^"]*" "/[^"]*"' | sort
    "#).but(SERVED),
    run("kill-bad", "
        call machine1 KillMachine string:$tiny string:everybody int32:9
        call machine1 KillMachine string:$tiny string:leader int32:0
        call machine1 KillMachine string:$tiny string:leader int32:65
    "),
    run("ids", "
        call machine1 MapFromMachineUser string:$tiny uint32:7
        call machine1 MapFromMachineGroup string:$tiny uint32:7
        call machine1 MapFromMachineUser string:nobody uint32:7
    "),
    run("bind-bad", "
        call machine1 BindMountMachine string:$tiny string:etc string:/x boolean:false boolean:false
        call machine1 BindMountMachine string:$tiny string:/etc/../etc string:/x boolean:false boolean:false
        call machine1 BindMountMachine string:$tiny string:/etc string:x boolean:false boolean:false
    "),
    run("copy-bad", "
        call machine1 CopyToMachine string:$tiny string:etc string:/x
        call machine1 CopyFromMachine string:$tiny string:/etc string:x
        call machine1 CopyToMachineWithFlags string:$tiny string:/etc/hostname string:/x uint64:2
    ").but(&[
        but("Invalid argument", "Invalid flags", WORDS),
    ]),
    run("shell-bad", "
        call machine1 OpenMachineShell string:$tiny string: string:bin/sh array:string: array:string:
        call machine1 OpenMachineShell string:$tiny string: string: array:string: array:string:x
    ").but(&[
        but("Invalid environment assignments", "Invalid environment assignment \"x\"", WORDS),
    ]),
    run("host", "
        call machine1 TerminateMachine string:.host
        call machine1 KillMachine string:.host string:leader int32:0
        call machine1 GetMachine string:.host
        call machine1 BindMountMachine string:.host string:/etc string:/x boolean:false boolean:false
        call machine1 GetMachineUIDShift string:.host
    ").but(&[
        but("Operation not supported", "This is not supported on the host itself.", WORDS),
        but("Bind mounting is only supported on container machines.", "This is not supported on the host itself.", WORDS),
    ]),
    run("register-again", "
        call machine1 RegisterMachine string:$tiny array:byte: string:x string:container uint32:$(leader $tiny) string:
    "),
    run("terminate", "call machine1 TerminateMachine string:$tiny"),
    does(Does::Gone("tiny")),
];

const CONSTANT: &str = "a guest that reboots is the same machine with another leader";
const REBOOTED: &[But] = &[
    but("Leader property u  const", "Leader property u  emits-change", CONSTANT),
    but("NetworkInterfaces property ai  const", "NetworkInterfaces property ai  emits-change", CONSTANT),
    but("Timestamp property t  const", "Timestamp property t  emits-change", CONSTANT),
    but("TimestampMonotonic property t  const", "TimestampMonotonic property t  emits-change", CONSTANT),
];

/// What the interfaces have.
#[rustfmt::skip]
pub const INTERFACES: &[Step] = &[
    run("machined", "
        members machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager
    ").may_have_more(),
    run("machine", "
        members machine1 /org/freedesktop/machine1/machine/_2ehost org.freedesktop.machine1.Machine
    ").but(REBOOTED).may_have_more(),
    run("image", "
        members machine1 /org/freedesktop/machine1/image/_2ehost org.freedesktop.machine1.Image
    ").may_have_more(),
    run("importd", "
        members import1 /org/freedesktop/import1 org.freedesktop.import1.Manager
    ").may_have_more(),
    run("transfer", r"
machinectl pull-tar --verify=no $url/slow.tar $one >$dir/out 2>&1 &
until machinectl list-transfers --no-legend | grep -q .; do sleep 0.1; done
id=$(machinectl list-transfers --no-legend | awk '{ print $1 }')
members import1 /org/freedesktop/import1/transfer/_$id org.freedesktop.import1.Transfer
machinectl cancel-transfer $id
wait
    ").hides(&[Hide::Line("The 'machinectl ")]).may_have_more(),
];
