use super::*;

fn record(environment: &[&str]) -> LaunchRecord {
    LaunchRecord {
        namespaces: 0,
        bounding: 0b1010,
        no_new_privileges: false,
        personality: None,
        environment: environment.iter().map(|variable| variable.as_bytes().to_vec()).collect(),
    }
}

fn alice() -> User {
    User {
        name: "alice".to_owned(),
        uid: 1000,
        gid: 1000,
        groups: vec![27],
        home: "/home/alice".to_owned(),
        shell: "/bin/zsh".to_owned(),
    }
}

fn facts(user: User) -> GuestFacts {
    GuestFacts { user, group: None, session_opener: None, login: None }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn strings(list: &[Vec<u8>]) -> Vec<String> {
    list.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
}

#[test]
fn the_environment_is_the_machines_and_the_users() {
    let record = record(&[
        "PATH=/opt/bin:/bin",
        "container=systemd-nspawn",
        "TERM=dumb",
        "HOME=/root",
        "NOTIFY_SOCKET=/run/host/notify",
        "LISTEN_FDS=3",
        "http_proxy=http://p=1",
        "broken",
    ]);
    let mut request = Request::command(words(&["ls"]));
    let plan = |request: &Request| strings(&plan(request, &record, &facts(alice())).unwrap().environment);
    let base = [
        "PATH=/opt/bin:/bin",
        "container=systemd-nspawn",
        "http_proxy=http://p=1",
        "LANG=C.UTF-8",
        "HOME=/home/alice",
        "USER=alice",
        "LOGNAME=alice",
    ];
    assert_eq!(plan(&request), base);
    request.terminal = Some("xterm".to_owned());
    request.environment = vec![("HOME".into(), "/h".into()), ("A".into(), "b=c".into())];
    let expected: Vec<&str> = base
        .into_iter()
        .filter(|variable| !variable.starts_with("HOME"))
        .chain(["TERM=xterm", "HOME=/h", "A=b=c"])
        .collect();
    let found = plan(&request);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    assert!(expected.iter().all(|variable| found.iter().any(|found| found == variable)), "{found:?}");
}

#[test]
fn users_and_capabilities() {
    let request = Request::command(words(&["ls"]));
    let plan_of = |facts: &GuestFacts| plan(&request, &record(&[]), facts).unwrap();
    let root = plan_of(&facts(User::root()));
    assert_eq!((root.capabilities.bounding, root.capabilities.effective), (0b1010, 0b1010));
    let user = plan_of(&facts(alice()));
    assert_eq!((user.capabilities.bounding, user.capabilities.effective), (0b1010, 0));
    assert_eq!((user.user.uid, user.user.gid, user.user.groups), (1000, 1000, vec![27]));
    let grouped = plan_of(&GuestFacts { group: Some(5), ..facts(alice()) });
    assert_eq!((grouped.user.uid, grouped.user.gid, grouped.user.groups), (1000, 5, vec![]));
}

#[test]
fn directories() {
    let table: [(Payload, Option<&str>, &str, bool); 4] = [
        (Payload::Command(words(&["ls"])), None, "/", true),
        (Payload::Command(words(&["ls"])), Some("/srv"), "/srv", false),
        (Payload::Shell(Vec::new()), None, "/home/alice", true),
        (Payload::Shell(Vec::new()), Some("/srv"), "/srv", false),
    ];
    for (payload, directory, expected, wish) in table {
        let mut request = Request::command(Vec::new());
        request.payload = payload;
        request.directory = directory.map(PathBuf::from);
        let plan = plan(&request, &record(&[]), &facts(alice())).unwrap();
        assert_eq!((plan.directory, plan.directory_is_a_wish), (PathBuf::from(expected), wish));
    }
}

#[test]
fn programs() {
    let su = GuestFacts { session_opener: Some("/bin/su".into()), ..facts(alice()) };
    let agetty = GuestFacts { login: Some("/sbin/agetty".into()), ..facts(User::root()) };
    let login = GuestFacts { login: Some("/bin/login".into()), ..facts(User::root()) };
    let own: &[(&str, &str)] = &[("A", "1"), ("B", "2")];
    type Row<'a> = (Payload, &'a GuestFacts, &'a [(&'a str, &'a str)], &'a str, &'a [&'a str], u32);
    let plain = facts(alice());
    let daemon = facts(User { shell: "/usr/sbin/nologin".into(), ..alice() });
    let su_daemon = GuestFacts { session_opener: Some("/bin/su".into()), ..daemon.clone() };
    let table: [Row<'_>; 10] = [
        (Payload::Command(words(&["a", "b c"])), &plain, own, "a", &["a", "b c"], 1000),
        (Payload::Shell(vec![]), &plain, own, "/bin/zsh", &["-zsh"], 1000),
        (
            Payload::Shell(words(&["echo", "it's"])),
            &plain,
            &[],
            "/bin/zsh",
            &["-zsh", "-c", "exec 'echo' 'it'\\''s'"],
            1000,
        ),
        (Payload::Shell(vec![]), &su, &[], "/bin/su", &["su", "-l", "alice"], 0),
        (
            Payload::Shell(words(&["id"])),
            &su,
            own,
            "/bin/su",
            &["su", "-l", "-w", "A,B", "-c", "exec 'id'", "alice"],
            0,
        ),
        (Payload::Shell(words(&["id"])), &daemon, &[], "/bin/sh", &["-sh", "-c", "exec 'id'"], 1000),
        (
            Payload::Shell(words(&["id"])),
            &su_daemon,
            &[],
            "/bin/su",
            &["su", "-l", "-s", "/bin/sh", "-c", "exec 'id'", "alice"],
            0,
        ),
        (Payload::Shell(vec![]), &su_daemon, &[], "/bin/su", &["su", "-l", "alice"], 0),
        (
            Payload::Login,
            &agetty,
            &[],
            "/sbin/agetty",
            &["/sbin/agetty", "--noreset", "--noclear", "-", "vt220"],
            0,
        ),
        (Payload::Login, &login, &[], "/bin/login", &["/bin/login"], 0),
    ];
    for (payload, facts, environment, file, argv, uid) in table {
        let mut request = Request::command(Vec::new());
        request.payload = payload.clone();
        request.environment =
            environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        let plan = plan(&request, &record(&[]), facts).unwrap();
        assert_eq!(String::from_utf8_lossy(&plan.file), file, "{payload:?}");
        assert_eq!(strings(&plan.argv), argv, "{payload:?}");
        assert_eq!(plan.user.uid, uid, "{payload:?}");
    }
}

#[test]
fn refusals() {
    let none = Request::command(Vec::new());
    assert_eq!(plan(&none, &record(&[]), &facts(alice())), Err(PlanError::NoCommand));
    let login = Request { payload: Payload::Login, ..none };
    assert_eq!(plan(&login, &record(&[]), &facts(alice())), Err(PlanError::NoLogin));
}
