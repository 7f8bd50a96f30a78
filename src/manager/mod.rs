//! Machines and images for programs: D-Bus interfaces over what [`crate::machine`], [`crate::image`] and [`crate::transfer`] do.
//!
//! `spinneyd` is started by the bus when somebody asks, keeps nothing that files do not say, and ends when nothing is left to tell.
//! Killing it harms no machine, and no transfer. It has one thread, a tokio loop: what enters a machine, changes an image or takes
//! time is done by a process of its own (`worker`, or a verb of ours), and only what is read quickly is read here.
//!
//! | file | what it owns |
//! |---|---|
//! | [`daemon`] | the process: its connection, its names, its end |
//! | [`context`] | what all objects share |
//! | [`machines`] | the machines there are, as properties |
//! | [`registered`] | machines of other programs |
//! | [`lifeline`] | the process that a machine goes with |
//! | [`announcer`] | objects and signals for machines that come, change and go |
//! | [`bus`] | the connection, with what systemd's clients expect of it |
//! | [`introspection`] | what an object says of itself, without what is below it |
//! | [`authority`] | who may do what: root, and whom polkit allows |
//! | [`departure`] | clients that leave the bus |
//! | [`problem`] | why not, under the names that each interface has for it |
//! | [`object_path`] | names as elements of object paths |
//! | [`child`] | processes of our own executable |
//! | [`worker`] | tasks in processes of their own |
//! | [`systemd`] | machines as services of systemd: enabled, started |
//! | [`varlink`] | Varlink interfaces, in the same loop |
//! | [`machined`] | `org.freedesktop.machine1` |
//! | [`own`] | `org.spinney` |
//! | [`importd`] | `org.freedesktop.import1` |

pub mod announcer;
pub mod authority;
pub mod bus;
pub mod child;
pub mod context;
pub mod daemon;
pub mod departure;
pub mod importd;
pub mod introspection;
pub mod lifeline;
pub mod machined;
pub mod machines;
pub mod object_path;
pub mod own;
pub mod problem;
pub mod registered;
pub mod systemd;
pub mod varlink;
pub mod worker;
