//! Machines on a host where the package is: as services, through its upgrade and its removal.

use std::process::Command;

use super::host::Host;
use crate::command::run;
use crate::harness::{Context, TestResult};

pub fn on_a_host(context: &Context, tree: &str) -> TestResult {
    let host = Host::start(context, tree, &[])?;
    let does = |script: &str| host.does(context, script);
    let unit_says = |properties: &str| {
        let options = properties.replace(' ', " -p ");
        does(&format!("systemctl show spinney@demo -p {options} | sort | paste -s -d ' '"))
    };
    // Its own tree of busybox; device nodes come with the machine.
    let busybox = context.tree("busybox")?;
    run(Command::new("cp").args(["-a"]).arg(busybox).arg(context.directory.join("machines/demo"))).ok()?;

    host.install(context, "0.1.0-1")?;
    // With what it recommends.
    let recommended = "dpkg-query -W -f '${db:Status-Status} ' ca-certificates gpgv polkitd dbus";
    assert_eq!(does(recommended)?, "installed installed installed installed");
    units(context, &host)?;
    does("spinney --version | grep '^spinney [0-9.]*$'")?;
    // By way of systemd, since it has the unit.
    let started = does("spinney clone -q demo web && spinney start web 2>&1")?;
    assert_eq!(started, "spinney: web is ready, as spinney@web.service");
    assert_eq!(does("systemctl is-active spinney@web")?, "active");
    let again = host.try_to(
        context,
        "mkdir /var/lib/machines/empty; spinney start web empty; rmdir /var/lib/machines/empty",
    );
    assert!(again.stderr.contains("spinney: error: \"web\" is running already\n"), "{again:#?}");
    let unexplained = "spinney: error: spinney@empty.service did not start\n  hint: journalctl -u spinney@empty.service says why\n";
    assert!(again.stderr.contains(unexplained), "{again:#?}");
    assert_eq!(does("echo hello | spinney exec web -- tr a-z A-Z")?, "HELLO");
    does("spinney terminate web && spinney remove web")?;

    assert_eq!(does("systemctl start spinney@demo && spinney show demo --value -p State")?, "running");
    let leader = does("spinney show demo --value -p Leader")?;
    assert_eq!(
        unit_says("ActiveState SubState Result")?,
        "ActiveState=active Result=success SubState=running"
    );
    let cgroup = does(&format!("grep ^0:: /proc/{leader}/cgroup"))?;
    assert!(cgroup.contains("/machine.slice/spinney@demo.service/machine-demo/payload"), "{cgroup}");

    // It goes on while the package is replaced, can be told things by the new one, and stops as a service does.
    host.install(context, "0.1.0-2")?;
    assert_eq!(does("dpkg-query -W -f '${Version}' spinney")?, "0.1.0-2");
    assert_eq!(
        does("spinney exec demo -- echo alive && spinney show demo --value -p Leader")?,
        format!("alive\n{leader}")
    );
    assert_eq!(unit_says("ActiveState NRestarts")?, "ActiveState=active NRestarts=0");
    does("systemctl stop spinney@demo")?;
    assert_eq!(
        unit_says("ActiveState Result ExecMainStatus")?,
        "ActiveState=inactive ExecMainStatus=0 Result=success"
    );
    assert_eq!(does("ls /run/spinney/machines 2>/dev/null || true")?, "");
    let log = does("journalctl --unit=spinney@demo --output=cat --no-pager")?;
    assert!(log.contains("demo is ready after") && log.contains("demo is off after"), "{log}");

    // A link to where the template was once is in nobody's way.
    let wants = "/etc/systemd/system/machines.target.wants";
    does(&format!("mkdir {wants} && ln -s /usr/local/lib/spinney@.service {wants}/spinney@demo.service"))?;
    // Enabled, it comes with machines.target; that goes with multi-user.target.
    let enable = |verb: &str| does(&format!("spinney {verb} demo 2>&1"));
    assert_eq!(enable("enable")?, "spinney: demo is enabled: systemd starts spinney@demo.service");
    assert_eq!(enable("enable")?, "spinney: demo is enabled already: systemd starts spinney@demo.service");
    assert_eq!(does("systemctl is-enabled spinney@demo")?, "enabled");
    assert_eq!(enable("disable")?, "spinney: demo is disabled");
    assert_eq!(enable("disable")?, "spinney: demo was not enabled");
    enable("enable")?;
    does("systemctl start machines.target")?;
    does(
        "systemctl is-active spinney@demo && systemctl list-dependencies multi-user.target | grep machines.target",
    )?;
    removal(context, &host)?;
    host.0.stop()?;
    Ok(())
}

/// systemd knows what to make of the units, and of those of machines.
fn units(context: &Context, host: &Host) -> TestResult {
    let verified =
        host.try_to(context, "systemd-analyze verify --man=no spinney@demo.service spinneyd.service");
    // systemd 252 says so of what is newer.
    let newer = |line: &&str| line.contains("'DelegateSubgroup'") || line.contains("'CoredumpReceive'");
    let complaints: Vec<&str> = verified.stderr.lines().filter(|line| !newer(line)).collect();
    assert_eq!((verified.status, complaints), (0, vec![]));
    let security = host.does(context, "systemd-analyze security --no-pager spinneyd.service | tail -n 1")?;
    println!("    {security}");
    assert!(security.contains("exposure level for spinneyd.service: 9.0 "), "{security}");
    host.does(context, "systemd-tmpfiles --cat-config | grep -x 'Q /var/lib/machines 0700 - - -'")?;
    assert_eq!(
        host.does(context, "stat -c '%a %n' /run/spinney /var/lib/machines")?,
        "755 /run/spinney\n700 /var/lib/machines"
    );
    Ok(())
}

/// A machine goes on when the package goes; images stay.
fn removal(context: &Context, host: &Host) -> TestResult {
    let does = |script: &str| host.does(context, script);
    let processes = does("spinney show demo --value -p Leader -p Supervisor")?.replace('\n', " ");
    does("DEBIAN_FRONTEND=noninteractive apt-get remove --quiet --yes spinney")?;
    does(&format!(
        "kill -0 {processes} && test ! -e /usr/bin/spinney && test -s /run/spinney/machines/demo/state"
    ))?;
    does("DEBIAN_FRONTEND=noninteractive apt-get purge --quiet --yes spinney")?;
    does(&format!("kill -0 {processes}"))?;
    // As the unit is not known any more: by the supervisor's own means.
    let supervisor = processes.split(' ').next_back().unwrap_or_default();
    does(&format!("kill {supervisor}; while kill -0 {supervisor} 2>/dev/null; do sleep 0.1; done"))?;
    // Its records stayed with it. Without a machine they go; images do not.
    does(
        "test -d /var/log/spinney/demo && dpkg --install /root/spinney_0.1.0-2_*.deb && dpkg --purge spinney",
    )?;
    let ours = "/etc/apparmor.d/spinney /etc/apparmor.d/disable/spinney /etc/spinney /etc/systemd/system/machines.target.wants \
                /run/systemd/generator.late/machines.target /var/log/spinney /var/lib/spinney/network";
    assert_eq!(does(&format!("ls /var/lib/machines; ls -d {ours} 2>/dev/null; true"))?, "demo");
    does("test -x /var/lib/machines/demo/bin/busybox")?;
    Ok(())
}
