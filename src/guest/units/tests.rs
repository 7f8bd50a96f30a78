use super::*;

fn unit(name: &str) -> Wanted {
    Wanted::Unit(name.to_owned())
}

fn target(name: &str) -> Wanted {
    Wanted::Target(name.to_owned())
}

#[test]
fn each_init_is_asked_its_own_way() {
    let scripts = Init::Sysvinit { rc: Rc::Scripts };
    let busybox = Init::Busybox { rc: Rc::Scripts };
    let alpine = Init::Busybox { rc: Rc::Openrc };
    let table: [(Init, Wanted, Result<&str, &str>); 19] = [
        (Init::Systemd, unit("ssh"), Ok("systemctl ssh.service")),
        (Init::Systemd, unit("a@b.socket"), Ok("systemctl a@b.socket")),
        (Init::Systemd, unit("dbus-1.5"), Ok("systemctl dbus-1.5.service")),
        (Init::Systemd, target("basic"), Ok("systemctl basic.target")),
        (Init::Systemd, target("basic.target"), Ok("systemctl basic.target")),
        (Init::Openrc, unit("sshd"), Ok("OpenrcService(\"sshd\")")),
        (alpine, target("default"), Ok("OpenrcLevel(\"default\")")),
        (Init::Runit, unit("sshd"), Ok("Runit(\"sshd\")")),
        (Init::Finit, unit("sshd"), Ok("initctl sshd")),
        (Init::Finit, target("2"), Ok("Runlevel('2')")),
        (scripts, unit("ssh"), Ok("/etc/init.d/ssh status")),
        (scripts, target("multi-user"), Err("\"multi-user\" is no name of a runlevel")),
        (Init::Runit, target("default"), Err("runit has no targets")),
        (busybox, unit("x"), Err("busybox init has no units")),
        (Init::Unknown, target("x"), Err("unknown init has no targets")),
        (Init::Systemd, unit("../x"), Err("\"../x\" is no name of a unit")),
        (Init::Systemd, unit("-x"), Err("\"-x\" is no name of a unit")),
        (scripts, unit(""), Err("\"\" is no name of a unit")),
        (scripts, unit(".."), Err("\"..\" is no name of a unit")),
    ];
    for (init, wanted, expected) in table {
        let found = match look(init, &wanted) {
            Ok(Look::Program { argv, .. }) => Ok(format!("{} {}", argv[0], argv[argv.len() - 1])),
            Ok(Look::Files(files)) => Ok(format!("{files:?}")),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{init}, {wanted:?}");
    }
}

#[test]
fn systemctl() {
    let inactive = "LoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\n";
    let table = [
        (1, String::new(), "NotYet(\"systemd does not answer\")"),
        (0, "LoadState=not-found\nActiveState=inactive\n".to_owned(), "Never(\"there is no such unit\")"),
        (0, "LoadState=masked\nActiveState=inactive\n".to_owned(), "Never(\"the unit is masked\")"),
        (0, "LoadState=loaded\nActiveState=active\nSubState=running\n".to_owned(), "Holds"),
        (
            0,
            "LoadState=loaded\nActiveState=failed\nResult=exit-code\n".to_owned(),
            "Never(\"the unit has failed: exit-code\")",
        ),
        (
            0,
            "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n".to_owned(),
            "NotYet(\"the unit is activating (auto-restart)\")",
        ),
        (0, inactive.to_owned(), "NotYet(\"the unit is inactive (dead)\")"),
        (
            0,
            format!("{inactive}ConditionResult=no\nConditionTimestampMonotonic=0\n"),
            "NotYet(\"the unit is inactive (dead)\")",
        ),
        (
            0,
            format!("{inactive}ConditionResult=no\nConditionTimestampMonotonic=5\n"),
            "Never(\"the unit was skipped: a condition of it does not hold\")",
        ),
        (0, format!("{inactive}Type=oneshot\nInactiveEnterTimestampMonotonic=7\n"), "Holds"),
        (
            0,
            format!("{inactive}Type=simple\nInactiveEnterTimestampMonotonic=7\n"),
            "NotYet(\"the unit is inactive (dead)\")",
        ),
    ];
    for (status, output, expected) in table {
        assert_eq!(format!("{:?}", Reader::Systemctl.read(status, &output)), expected, "{output}");
    }
}

#[test]
fn initctl_and_scripts() {
    let table = [
        (Reader::Initctl, 0, "{\"status\": \"running\"}", "Holds"),
        (Reader::Initctl, 0, "{\"status\": \"crashed\"}", "Never(\"the service has failed\")"),
        (Reader::Initctl, 0, "{\"status\": \"halted\"}", "NotYet(\"the service is halted\")"),
        (Reader::Initctl, 69, "", "Never(\"there is no such service\")"),
        (Reader::Initctl, 1, "nonsense", "NotYet(\"finit does not answer\")"),
        (Reader::Script, 0, "", "Holds"),
        (Reader::Script, 1, "", "Never(\"the service is dead, and its pid or lock file is there\")"),
        (Reader::Script, 3, "", "NotYet(\"the service is not running\")"),
        (Reader::Script, 127, "", "Never(\"there is no such service\")"),
    ];
    for (reader, status, output, expected) in table {
        assert_eq!(format!("{:?}", reader.read(status, output)), expected, "{reader:?} {status} {output}");
    }
}

#[test]
fn files() {
    let tree = tempfile::tempdir().unwrap();
    let make = |path: &str, contents: &[u8]| {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    };
    make("run/openrc/started/sshd", b"");
    make("run/openrc/failed/web", b"");
    make("run/openrc/starting/slow", b"");
    make("run/openrc/softlevel", b"default\n");
    make("etc/init.d/idle", b"");
    let mut status = [0; 20];
    status[..8].copy_from_slice(&(1_u64 << 62).wrapping_add(100).to_be_bytes());
    status[17] = b'u';
    make("etc/service/down/supervise/status", &status);
    status[19] = 1;
    make("etc/service/up/supervise/status", &status);
    make("etc/service/new/run", b"");
    let table = [
        (Files::OpenrcService("sshd".into()), "Holds"),
        (Files::OpenrcService("web".into()), "Never(\"the service has failed\")"),
        (Files::OpenrcService("slow".into()), "NotYet(\"the service is starting\")"),
        (Files::OpenrcService("idle".into()), "NotYet(\"the service is stopped\")"),
        (Files::OpenrcService("none".into()), "Never(\"there is no such service\")"),
        (Files::OpenrcLevel("default".into()), "Holds"),
        (Files::OpenrcLevel("x".into()), "NotYet(\"OpenRC is in runlevel default\")"),
        (Files::Runit("up".into()), "Holds"),
        (Files::Runit("down".into()), "NotYet(\"the service is down\")"),
        (Files::Runit("new".into()), "NotYet(\"runsv has not begun with the service\")"),
        (Files::Runit("none".into()), "Never(\"there is no such service\")"),
        (Files::Runlevel('2'), "NotYet(\"it has recorded no runlevel\")"),
    ];
    let root = Root::open(tree.path()).unwrap();
    for (files, expected) in table {
        assert_eq!(format!("{:?}", files.read(&root)), expected, "{files:?}");
    }
}
