//! Which verbs there are, and which file does each.

use super::arguments::RunArguments;
use super::image_verbs::{
    cancel_transfer, clean, clone, commit, diff, export, image_status, images, import, inspect,
    list_transfers, pull, read_only, remove, rename, rollback, search, show_image, snapshot,
};
use super::nspawn::NspawnArguments;
use super::verbs::{
    attach, bind, completions, copy_from, copy_to, disable, doctor, enable, events, exec, explain, gc, kill,
    list, login, logs, man, net, pause, ports, publish, reboot, resume, set, shell, show, start, status,
    stop, terminate, top, unbind, wait,
};

/// A verb with its options.
#[derive(Debug, clap::Subcommand)]
#[allow(missing_docs, reason = "each verb's own file says what it does")]
pub enum Verb {
    Run(Box<RunArguments>),
    Nspawn(NspawnArguments),
    #[command(visible_aliases = ["ls"])]
    List(list::ListArguments),
    Status(status::StatusArguments),
    Show(show::ShowArguments),
    Start(start::StartArguments),
    #[command(visible_aliases = ["poweroff"])]
    Stop(stop::StopArguments),
    #[command(visible_aliases = ["restart"])]
    Reboot(reboot::RebootArguments),
    Terminate(terminate::TerminateArguments),
    Kill(kill::KillArguments),
    #[command(visible_aliases = ["freeze"])]
    Pause(pause::PauseArguments),
    #[command(visible_aliases = ["thaw", "unpause"])]
    Resume(resume::ResumeArguments),
    Wait(wait::WaitArguments),
    Exec(exec::ExecArguments),
    Shell(shell::ShellArguments),
    Login(login::LoginArguments),
    Attach(attach::AttachArguments),
    Logs(logs::LogsArguments),
    #[command(name = "copy-to")]
    CopyTo(copy_to::CopyToArguments),
    #[command(name = "copy-from")]
    CopyFrom(copy_from::CopyFromArguments),
    Bind(bind::BindArguments),
    Unbind(unbind::UnbindArguments),
    #[command(visible_aliases = ["port"])]
    Ports(ports::PortsArguments),
    Publish(publish::PublishArguments),
    Unpublish(publish::UnpublishArguments),
    Net(net::NetArguments),
    Top(top::TopArguments),
    Set(set::SetArguments),
    Enable(enable::EnableArguments),
    Disable(disable::DisableArguments),
    Events(events::EventsArguments),
    Explain(explain::ExplainArguments),
    Doctor(doctor::DoctorArguments),
    Gc(gc::GcArguments),
    #[command(name = "images", visible_aliases = ["list-images"])]
    Images(images::ImagesArguments),
    #[command(name = "image-status")]
    ImageStatus(image_status::ImageStatusArguments),
    #[command(name = "show-image")]
    ShowImage(show_image::ShowImageArguments),
    #[command(name = "clone")]
    Clone(clone::CloneArguments),
    #[command(name = "rename")]
    Rename(rename::RenameArguments),
    #[command(name = "remove", visible_aliases = ["rm"])]
    Remove(remove::RemoveArguments),
    #[command(name = "read-only")]
    ReadOnly(read_only::ReadOnlyArguments),
    #[command(name = "clean")]
    Clean(clean::CleanArguments),
    #[command(name = "snapshot")]
    Snapshot(snapshot::SnapshotArguments),
    #[command(name = "rollback")]
    Rollback(rollback::RollbackArguments),
    #[command(name = "diff")]
    Diff(diff::DiffArguments),
    #[command(name = "commit")]
    Commit(commit::CommitArguments),
    #[command(name = "inspect")]
    Inspect(inspect::InspectArguments),
    #[command(name = "search")]
    Search(search::SearchArguments),
    #[command(name = "pull")]
    Pull(pull::PullArguments),
    // importctl's names for parts of these: known, but no news to who reads the list.
    #[command(name = "pull-tar", hide = true)]
    PullTar(pull::PullTarArguments),
    #[command(name = "pull-raw", hide = true)]
    PullRaw(pull::PullRawArguments),
    #[command(name = "pull-oci", hide = true)]
    PullOci(pull::PullOciArguments),
    #[command(name = "import")]
    Import(import::ImportArguments),
    #[command(name = "import-tar", hide = true)]
    ImportTar(import::ImportTarArguments),
    #[command(name = "import-raw", hide = true)]
    ImportRaw(import::ImportRawArguments),
    #[command(name = "import-fs", hide = true)]
    ImportFs(import::ImportFsArguments),
    #[command(name = "export")]
    Export(export::ExportArguments),
    #[command(name = "export-tar", hide = true)]
    ExportTar(export::ExportTarArguments),
    #[command(name = "export-raw", hide = true)]
    ExportRaw(export::ExportRawArguments),
    #[command(name = "list-transfers")]
    ListTransfers(list_transfers::ListTransfersArguments),
    #[command(name = "cancel-transfer")]
    CancelTransfer(cancel_transfer::CancelTransferArguments),
    // For packages and shells.
    #[command(hide = true)]
    Completions(completions::CompletionsArguments),
    #[command(hide = true)]
    Complete(completions::CompleteArguments),
    #[command(hide = true)]
    Man(man::ManArguments),
}

impl Verb {
    /// Does it, gives the exit status. `spinney run` is not done here: see [`super::invocation`].
    pub(super) fn perform(&self) -> u8 {
        match self {
            Self::Run(_) => super::EXIT_FAILURE,
            Self::Nspawn(arguments) => arguments.perform(),
            Self::List(arguments) => list::list(arguments),
            Self::Status(arguments) => status::status(arguments),
            Self::Show(arguments) => show::show(arguments),
            Self::Start(arguments) => start::start(arguments),
            Self::Stop(arguments) => stop::stop(arguments),
            Self::Reboot(arguments) => reboot::reboot(arguments),
            Self::Terminate(arguments) => terminate::terminate(arguments),
            Self::Kill(arguments) => kill::kill(arguments),
            Self::Pause(arguments) => pause::pause(arguments),
            Self::Resume(arguments) => resume::resume(arguments),
            Self::Wait(arguments) => wait::wait(arguments),
            Self::Exec(arguments) => exec::exec(arguments),
            Self::Shell(arguments) => shell::shell(arguments),
            Self::Login(arguments) => login::login(arguments),
            Self::Attach(arguments) => attach::attach(arguments),
            Self::Logs(arguments) => logs::logs(arguments),
            Self::CopyTo(arguments) => copy_to::copy_to(arguments),
            Self::CopyFrom(arguments) => copy_from::copy_from(arguments),
            Self::Bind(arguments) => bind::bind(arguments),
            Self::Unbind(arguments) => unbind::unbind(arguments),
            Self::Ports(arguments) => ports::ports(arguments),
            Self::Publish(arguments) => publish::publish(arguments),
            Self::Unpublish(arguments) => publish::unpublish(arguments),
            Self::Net(arguments) => net::net(arguments),
            Self::Top(arguments) => top::top(arguments),
            Self::Set(arguments) => set::set(arguments),
            Self::Enable(arguments) => enable::enable(arguments),
            Self::Disable(arguments) => disable::disable(arguments),
            Self::Events(arguments) => events::events(arguments),
            Self::Explain(arguments) => explain::explain(arguments),
            Self::Doctor(arguments) => doctor::doctor(arguments),
            Self::Gc(arguments) => gc::gc(arguments),
            Self::Images(arguments) => images::images(arguments),
            Self::ImageStatus(arguments) => image_status::image_status(arguments),
            Self::ShowImage(arguments) => show_image::show_image(arguments),
            Self::Clone(arguments) => clone::clone(arguments),
            Self::Rename(arguments) => rename::rename(arguments),
            Self::Remove(arguments) => remove::remove(arguments),
            Self::ReadOnly(arguments) => read_only::read_only(arguments),
            Self::Clean(arguments) => clean::clean(arguments),
            Self::Snapshot(arguments) => snapshot::snapshot(arguments),
            Self::Rollback(arguments) => rollback::rollback(arguments),
            Self::Diff(arguments) => diff::diff(arguments),
            Self::Commit(arguments) => commit::commit(arguments),
            Self::Inspect(arguments) => inspect::inspect(arguments),
            Self::Search(arguments) => search::search(arguments),
            Self::Pull(arguments) => pull::pull(arguments),
            Self::PullTar(arguments) => pull::pull_tar(arguments),
            Self::PullRaw(arguments) => pull::pull_raw(arguments),
            Self::PullOci(arguments) => pull::pull_oci_image(arguments),
            Self::Import(arguments) => import::import(arguments),
            Self::ImportTar(arguments) => import::import_tar(arguments),
            Self::ImportRaw(arguments) => import::import_raw(arguments),
            Self::ImportFs(arguments) => import::import_fs(arguments),
            Self::Export(arguments) => export::export(arguments),
            Self::ExportTar(arguments) => export::export_tar(arguments),
            Self::ExportRaw(arguments) => export::export_raw(arguments),
            Self::ListTransfers(arguments) => list_transfers::list_transfers(arguments),
            Self::CancelTransfer(arguments) => cancel_transfer::cancel_transfer(arguments),
            Self::Completions(arguments) => completions::completions(arguments),
            Self::Complete(arguments) => completions::complete(arguments),
            Self::Man(arguments) => man::man(arguments),
        }
    }
}
