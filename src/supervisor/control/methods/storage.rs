//! Volumes that come and go: what a virtual machine has and a container has not. The interface names the methods, so they answer.

use super::{Answer, Arguments, Context, Fault, MACHINE_INSTANCE, Method};

/// Errors of the interface.
pub(super) static ERRORS: [&str; 7] = [
    "# The machine cannot be reached.
error NotConnected()",
    "# Machines of this kind cannot do this.
error NotSupported()",
    "# There is no volume of this name.
error NoSuchStorage()",
    "# There is a volume of this name.
error StorageExists()",
    "# The volume cannot be changed.
error StorageImmutable()",
    "# The configuration makes no sense.
error BadConfig()",
    "# The configuration asks for what is not there.
error ConfigNotSupported()",
];

pub(super) const ADD: Method = Method {
    name: "AddStorage",
    description: "# Not supported: a container takes directories instead.
method AddStorage(fileDescriptorIndex: int, name: string, config: ?string) -> ()",
    streams: false,
    perform,
};

pub(super) const REMOVE: Method = Method {
    name: "RemoveStorage",
    description: "# Not supported.
method RemoveStorage(name: string) -> ()",
    streams: false,
    perform,
};

pub(super) const REPLACE: Method = Method {
    name: "ReplaceStorage",
    description: "# Not supported.
method ReplaceStorage(fileDescriptorIndex: int, name: string) -> ()",
    streams: false,
    perform,
};

fn perform(_: &mut Context<'_, '_, '_>, _: Arguments) -> Result<Answer, Fault> {
    Err(Fault::new(format!("{MACHINE_INSTANCE}.NotSupported")))
}
