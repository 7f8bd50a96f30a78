//! Images at rest: listed, looked at, renamed, marked, removed, never seen half; who uses one is told.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};
use spinney::image::origin::{self, Origin};
use spinney::image::{Finish, ImageKind, NewImage, Store};

use crate::command::{Ended, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::image_locks::Run;
use crate::machine::Machine;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 11] = [
        ("listed", listed),
        ("looked_at", looked_at),
        ("removed", removed),
        ("in_use", in_use),
        ("renamed", renamed),
        ("read_only", read_only),
        ("cleaned", cleaned),
        ("killed", killed),
        ("mounted_over", mounted_over),
        ("replaced", replaced),
        ("btrfs", btrfs),
    ];
    rows.map(|(name, test)| Test::new(format!("image_store::{name}"), test)).into()
}

/// A pool of the test's own.
struct Pool<'a> {
    context: &'a Context,
    path: PathBuf,
}

impl<'a> Pool<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, path: context.subdirectory("pool") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn store(&self) -> Store {
        Store::at(&self.path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.context.spinney();
        command.args(arguments).arg("--image-root").arg(&self.path);
        command
    }

    fn spinney(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Result<Value, Stop> {
        Ok(serde_json::from_str(&self.spinney(arguments).ok()?)?)
    }

    /// What is in it, by name.
    fn entries(&self) -> Vec<String> {
        entries(&self.path)
    }

    /// A small tree.
    fn tree(&self, name: &str) -> TestResult {
        fs::create_dir_all(self.path(name).join("usr/lib"))?;
        fs::write(self.path(name).join("usr/lib/os-release"), "PRETTY_NAME=\"Small \\033[31mone\"\n")?;
        Ok(())
    }

    /// It is refused with `message`, exit status 125, a hint, and nothing is changed.
    fn refuses(&self, arguments: &[&str], message: &str) {
        let before = self.entries();
        let ended = self.spinney(arguments);
        assert_eq!(ended.status, 125, "{ended:#?}");
        let mut lines = ended.stderr.lines();
        assert_eq!(lines.next(), Some(format!("spinney: error: {message}").as_str()), "{ended:#?}");
        assert!(lines.next().is_some_and(|line| line.starts_with("  hint: ")), "{ended:#?}");
        assert_eq!((lines.next(), ended.stdout.as_str()), (None, ""), "{ended:#?}");
        assert_eq!(self.entries(), before);
    }

    fn says(&self, arguments: &[&str], message: &str) {
        let ended = self.spinney(arguments);
        let expected = Ended { status: 0, stdout: String::new(), stderr: format!("spinney: {message}\n") };
        assert_eq!(ended, expected, "{arguments:?}");
    }
}

fn entries(path: &Path) -> Vec<String> {
    let list = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = list.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn listed(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let empty = pool.spinney(&["images"]);
    assert_eq!((empty.status, empty.stdout.as_str()), (0, "No images.\n"));
    for directory in [
        "web",
        "lay.mstack",
        "ver.v/ver_1",
        "ver.v/ver_2",
        "ver.v/other_3",
        "vraw.raw.v",
        ".hidden",
        "old.raw",
    ] {
        fs::create_dir_all(pool.path(directory))?;
    }
    for file in
        ["disk.raw", "web.raw", "vraw.raw.v/vraw_1.raw", "vraw.raw.v/vraw_2+0.raw", "notes", "web.nspawn"]
    {
        fs::write(pool.path(file), "")?;
    }
    symlink("web", pool.path("alias"))?;
    symlink("nowhere", pool.path("dangling"))?;
    symlink("/dev/null", pool.path("null"))?;
    symlink("self", pool.path("self"))?;
    run(Command::new("truncate").args(["-s", "1M"]).arg(pool.path("disk.raw"))).ok()?;
    fs::set_permissions(pool.path("disk.raw"), std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
    let of = |value: &Value| -> Vec<String> {
        let images = value.as_array().into_iter().flatten();
        let word = |image: &Value, key: &str| image[key].as_str().unwrap_or("?").to_owned();
        images
            .map(|image| {
                let path = word(image, "path").replace(&format!("{}/", pool.path.display()), "");
                format!("{} {} {} {path}", word(image, "name"), word(image, "type"), image["read-only"])
            })
            .collect()
    };
    let all = [
        "alias directory false alias",
        "disk raw true disk.raw",
        "lay mstack false lay.mstack",
        // A directory may be called so.
        "old.raw directory false old.raw",
        "ver directory false ver.v/ver_2",
        "vraw raw false vraw.raw.v/vraw_1.raw",
        "web directory false web",
    ];
    assert_eq!(of(&pool.json(&["images", "--json"])?), all);
    let hidden = of(&pool.json(&["list-images", "-a", "-o", "json"])?);
    assert_eq!(hidden[7..], [".hidden directory false .hidden"]);
    let disk = &pool.json(&["images", "--json", "disk"])?[0];
    assert_eq!((&disk["usage"], &disk["size"]), (&json!(0), &json!(1 << 20)));
    let table = pool.spinney(&["images"]).ok()?;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "TYPE", "RO", "USAGE", "CREATED", "MODIFIED"]);
    assert_eq!(lines[2][..4], ["disk", "raw", "ro", "0B"], "{table}");
    assert!(table.ends_with("\n\n7 images listed.\n"), "{table}");
    let names = pool.spinney(&["images", "-q"]).ok()?;
    assert_eq!(names, "alias\ndisk\nlay\nold.raw\nver\nvraw\nweb\n");
    pool.refuses(&["images", "dsk"], "no image \"dsk\"; did you mean \"disk\"?");
    pool.refuses(&["images", "disk.raw"], "no image \"disk.raw\"; did you mean \"disk\"?");
    pool.refuses(&["images", "notes"], "no image \"notes\"");
    pool.refuses(&["images", ".hidden"], "\".hidden\" would be hidden");
    pool.refuses(&["images", "../pool"], "\"../pool\" would be hidden");
    // What nobody can read is an error, not an empty list.
    let missing = context.directory.join("missing");
    let ended = run(context.spinney().args(["images", "--image-root"]).arg(&missing));
    assert_eq!((ended.status, ended.stdout.as_str()), (0, "No images.\n"), "{ended:#?}");
    Ok(())
}

fn looked_at(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    pool.tree("web")?;
    fs::write(pool.path("web.nspawn"), "")?;
    let image = pool.store().find(&"web".parse()?)?;
    let origin = Origin {
        reference: Some("small:one".to_owned()),
        source: Some("https://example.org/\x1b[31m".to_owned()),
        digest: Some("sha256:00".to_owned()),
        ..Origin::new("pull")
    };
    origin::write(&pool.store(), &image, &origin)?;
    let show = |property: &str| pool.spinney(&["show-image", "-P", property, "web"]).ok();
    let path = format!("{}\n", pool.path("web").display());
    for (property, expected) in [
        ("Name", "web\n"),
        ("Type", "directory\n"),
        ("ReadOnly", "no\n"),
        ("Path", path.as_str()),
        ("OriginReference", "small:one\n"),
        ("OriginSource", "https://example.org/\\u{1b}[31m\n"),
        ("Usage", "\n"),
        ("UsedBy", "\n"),
    ] {
        let shown = show(property)?;
        assert!(!shown.contains('\x1b'), "{shown:?}");
        if property != "OriginSource" {
            assert_eq!(shown, expected, "{property}");
        }
    }
    let values: Value = pool.json(&["show-image", "--json", "-p", "Type,OriginDigest"])?;
    assert_eq!(values, json!([{ "Type": "directory", "OriginDigest": "sha256:00" }]));
    pool.refuses(&["show-image", "-p", "Tpye", "web"], "there is no property \"Tpye\"");
    let status = pool.json(&["image-status", "--json", "web"])?;
    assert_eq!(status[0]["usage"]["files"], 3);
    assert_eq!(status[0]["settings"], json!([pool.path("web.nspawn")]));
    assert_eq!(status[0]["used-by"], json!([]));
    let text = pool.spinney(&["image-status"]).ok()?;
    for line in
        ["● web - Small ", "      Type: directory\n", "      From: small:one (pull)\n", " in 3 files\n"]
    {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains('\x1b'), "{text:?}");
    pool.refuses(&["image-status", "wbe"], "no image \"wbe\"; did you mean \"web\"?");
    Ok(())
}

fn removed(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    for name in ["web", "db"] {
        pool.tree(name)?;
    }
    for file in ["web.nspawn", "web.roothash", "web2.nspawn", "disk.raw", "disk.toml"] {
        fs::write(pool.path(file), "")?;
    }
    let elsewhere = context.subdirectory("elsewhere");
    symlink(&elsewhere, pool.path("link"))?;
    for version in ["ver.v/ver_1", "ver.v/ver_2"] {
        fs::create_dir_all(pool.path(version))?;
    }
    let web = pool.store().find(&"web".parse()?)?;
    origin::write(&pool.store(), &web, &Origin::new("pull"))?;
    // One that is not there is told, and the others go.
    let ended = pool.spinney(&["remove", "web", "wbe", "disk"]);
    assert_eq!(ended.status, 125, "{ended:#?}");
    assert_eq!(
        ended.stderr,
        "spinney: removed image web\nspinney: error: no image \"wbe\"\n  hint: spinney images lists those that there \
         are; spinney search finds others to pull\nspinney: removed image disk\n"
    );
    assert_eq!(pool.entries(), [".#spinney", "db", "link", "ver.v", "web2.nspawn"]);
    assert_eq!(entries(&pool.path(".#spinney/images")), [""; 0]);
    pool.says(&["remove", "link"], "removed image link");
    assert!(elsewhere.is_dir());
    let (one, two) = (pool.path("ver.v/ver_1"), pool.path("ver.v/ver_2"));
    pool.says(&["rm", "ver"], &format!("removed {}; ver is {} now", two.display(), one.display()));
    pool.says(&["rm", "ver"], "removed image ver");
    pool.refuses(&["remove", "ver"], "no image \"ver\"");
    // A tree below /usr is the distribution's.
    let vendor = Path::new("/usr/lib/machines");
    if !vendor.exists() {
        let name = context.machine_name();
        fs::create_dir_all(vendor.join(&name))?;
        let ended = run(context.spinney().args(["remove", &name]));
        fs::remove_dir_all(vendor)?;
        let expected =
            format!("image {name:?} is read-only: {} cannot be written to", vendor.join(&name).display());
        assert!(ended.status == 125 && ended.stderr.contains(&expected), "{ended:#?}");
    }
    Ok(())
}

/// Whoever has an image is named, and it stays.
fn in_use(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let _run = Run::of(context);
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(pool.path("web"))).ok()?;
    let mut machine = Machine::start(context, &pool.path("web"), &[]);
    machine.ready()?;
    let in_use = format!("image \"web\" is in use: machine {}", machine.name);
    for arguments in
        [&["remove", "web"] as &[&str], &["rename", "web", "other"], &["remove", "--force", "web"]]
    {
        pool.refuses(arguments, &in_use);
    }
    assert_eq!(
        pool.spinney(&["show-image", "-P", "UsedBy", "web"]).ok()?,
        format!("machine {}\n", machine.name)
    );
    machine.stop()?;
    // A lock of systemd-nspawn's.
    let mut nspawn = Command::new("systemd-nspawn");
    nspawn.args([
        "-q",
        "--register=no",
        "--keep-unit",
        "--pipe",
        "--timezone=off",
        "--resolv-conf=off",
        "-D",
    ]);
    nspawn.arg(pool.path("web")).args(["/bin/sh", "-c", "echo up; read x"]);
    let started = nspawn.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    if let Ok(mut child) = started {
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        let locked = format!("image \"web\" is in use: systemd-nspawn (PID {})", child.id());
        for arguments in [&["remove", "web"] as &[&str], &["rename", "web", "other"], &["read-only", "web"]] {
            pool.refuses(arguments, &locked);
        }
        drop(child.stdin.take());
        child.wait()?;
    }
    // A layer of another one.
    fs::create_dir(pool.path("child.mstack"))?;
    symlink("../web", pool.path("child.mstack/layer@0"))?;
    pool.refuses(&["remove", "web"], "image \"web\" is in use: image child");
    pool.refuses(&["rename", "web", "other"], "image \"web\" is in use: image child");
    pool.says(&["remove", "child"], "removed image child");
    pool.says(&["remove", "web"], "removed image web");
    Ok(())
}

fn renamed(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    pool.tree("web")?;
    for file in ["web.nspawn", "disk.raw"] {
        fs::write(pool.path(file), file)?;
    }
    fs::create_dir_all(pool.path("ver.v/ver_1"))?;
    let web = pool.store().find(&"web".parse()?)?;
    origin::write(&pool.store(), &web, &Origin { reference: Some("x:y".to_owned()), ..Origin::new("pull") })?;
    pool.says(&["rename", "web", "new"], "image web is called new now");
    pool.says(&["rename", "disk", "other"], "image disk is called other now");
    assert_eq!(pool.entries(), [".#spinney", "new", "new.nspawn", "other.raw", "ver.v"]);
    assert_eq!(pool.spinney(&["show-image", "-P", "OriginReference", "new"]).ok()?, "x:y\n");
    pool.refuses(&["rename", "new", "other"], "there is an image \"other\" already");
    pool.refuses(&["rename", "new", ".x"], "\".x\" would be hidden");
    pool.refuses(&["rename", "nwe", "x"], "no image \"nwe\"; did you mean \"new\"?");
    let versions = format!(
        "image \"ver\" has versions, of which this would be one: {}",
        pool.path("ver.v/ver_1").display()
    );
    pool.refuses(&["rename", "ver", "x"], &versions);
    // A read-only one is so under its new name.
    pool.says(&["read-only", "new"], "image new is read-only now");
    pool.says(&["rename", "new", "again"], "image new is called again now");
    assert_eq!(pool.spinney(&["show-image", "-P", "ReadOnly", "again"]).ok()?, "yes\n");
    pool.says(&["read-only", "again", "no"], "image again is writable now");
    Ok(())
}

fn read_only(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    pool.tree("web")?;
    fs::write(pool.path("disk.raw"), "")?;
    for name in ["web", "disk"] {
        pool.says(&["read-only", name], &format!("image {name} is read-only now"));
        pool.refuses(&["remove", name], &format!("image {name:?} is read-only"));
        assert_eq!(pool.spinney(&["show-image", "-P", "ReadOnly", name]).ok()?, "yes\n");
        pool.says(&["read-only", name, "false"], &format!("image {name} is writable now"));
        assert_eq!(pool.spinney(&["show-image", "-P", "ReadOnly", name]).ok()?, "no\n");
        pool.says(&["read-only", name, "yes"], &format!("image {name} is read-only now"));
    }
    assert!(fs::metadata(pool.path("disk.raw"))?.permissions().readonly());
    assert!(fs::write(pool.path("web/file"), "").is_err(), "the top directory can be written to");
    let attributes = run(Command::new("lsattr").arg("-d").arg(pool.path("web"))).ok()?;
    assert!(attributes.split(' ').next().is_some_and(|flags| flags.contains('i')), "{attributes}");
    let maybe = pool.spinney(&["read-only", "web", "maybe"]);
    assert_eq!(maybe.status, 125, "{maybe:#?}");
    pool.says(&["remove", "--force", "web"], "removed image web");
    pool.says(&["remove", "--force", "disk"], "removed image disk");
    Ok(())
}

fn cleaned(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    pool.says(&["clean"], "there is nothing to clean");
    for name in ["web", "kept", "used"] {
        pool.tree(name)?;
    }
    for directory in [".#machine.f00", ".tar-x", ".#spinney/images"] {
        fs::create_dir_all(pool.path(directory))?;
    }
    for file in [".raw-x.raw", ".#gone.lck", ".#used.lck"] {
        fs::write(pool.path(file), "")?;
    }
    // Neither ours nor systemd's.
    fs::create_dir(pool.path(".ssh"))?;
    fs::write(pool.path(".profile"), "")?;
    run(Command::new("chattr").arg("+i").arg(pool.path(".tar-x"))).ok()?;
    pool.spinney(&["read-only", "-q", "kept"]).ok()?;
    fs::create_dir(pool.path(".#web.0123456789abcdef"))?;
    let using = spinney::image::lock::lock_path(&pool.path("used"), spinney::image::lock::Hold::Shared)?;
    let making = NewImage::directory(&pool.store(), &"making".parse()?)?;
    let dry = pool.json(&["clean", "--dry-run", "--json"])?;
    let hidden = json!([".#gone.lck", ".#machine.f00", ".#web.0123456789abcdef", ".raw-x.raw", ".tar-x"]);
    assert_eq!(dry["removed"], hidden, "{dry}");
    assert!(pool.path(".#web.0123456789abcdef").exists());
    let done = pool.json(&["clean", "--json"])?;
    assert_eq!(done["removed"], hidden, "{done}");
    let mut kept = pool.entries();
    kept.retain(|name| !name.starts_with(".#making."));
    assert_eq!(kept, [".#spinney", ".#used.lck", ".profile", ".ssh", "kept", "used", "web"]);
    let all = pool.json(&["clean", "--all", "--json"])?;
    assert_eq!(all["removed"], json!(["web"]), "{all}");
    let whys: Vec<&str> =
        all["kept"].as_array().into_iter().flatten().filter_map(|kept| kept["name"].as_str()).collect();
    assert_eq!(whys[whys.len() - 2..], ["kept", "used"], "{all}");
    drop((using, making));
    let rest = pool.json(&["clean", "--all", "--force", "--json"])?;
    assert_eq!(rest["removed"], json!(["kept", "used"]), "{rest}");
    assert_eq!(pool.entries(), [".#spinney", ".profile", ".ssh"]);
    Ok(())
}

/// A removal that is killed leaves nothing that looks like an image, and the next command goes on with it.
fn killed(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let _run = Run::of(context);
    pool.tree("web")?;
    pool.tree("db")?;
    let ended = run(pool.command(&["remove", "web"]).env("SPINNEY_FAULT", "remove-hidden"));
    assert_eq!(ended.status, 128 + libc::SIGKILL, "{ended:#?}");
    assert_eq!(pool.spinney(&["images", "-q"]).ok()?, "db\n");
    assert!(pool.entries().iter().any(|name| name.starts_with(".#web.")), "{:?}", pool.entries());
    let next = pool.spinney(&["rename", "db", "new"]);
    assert_eq!(
        next.stderr,
        "spinney: removed what a command that was killed left of image \"web\"\nspinney: image db is called new now\n"
    );
    // The killed one's lock files are in nobody's way, and go when they are older.
    let left: Vec<String> = pool.entries().into_iter().filter(|name| name.contains("web")).collect();
    assert_eq!(left, [".#web.lck"]);
    pool.tree("web")?;
    pool.says(&["remove", "web"], "removed image web");
    assert_eq!(pool.entries(), ["new"]);
    Ok(())
}

/// While something is mounted over the images, nobody sees who has which layer.
fn mounted_over(context: &Context) -> TestResult {
    use spinney::image::layers::{LayersLock, collect};
    let (pool, state) = (context.subdirectory("images"), context.subdirectory("state"));
    let store = Store { search: vec![pool.clone()], pool: pool.clone(), state: state.clone() };
    fs::create_dir_all(state.join("layers/1"))?;
    fs::create_dir(pool.join("web.mstack"))?;
    std::os::unix::fs::symlink(state.join("layers/1"), pool.join("web.mstack/layer@0"))?;
    let collected = || collect(&store, &LayersLock::take(&store).unwrap()).unwrap();
    mount("tmpfs", &pool, "tmpfs", MountFlags::empty(), None)?;
    let over = Mounted(&pool);
    assert_eq!((collected(), state.join("layers/1").exists()), (0, true));
    drop(over);
    assert_eq!(collected(), 0);
    fs::remove_dir_all(pool.join("web.mstack"))?;
    assert_eq!((collected(), state.join("layers/1").exists()), (1, false));
    Ok(())
}

/// What replaces an image does so in one step, and only what nobody uses.
fn replaced(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let (store, name) = (pool.store(), "web".parse()?);
    let make = |content: &str| -> Result<NewImage, Stop> {
        let new = NewImage::directory(&store, &name)?;
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        let file = rustix::fs::openat(new.content(), "file", flags, rustix::fs::Mode::from_raw_mode(0o644))?;
        rustix::io::write(file, content.as_bytes())?;
        Ok(new)
    };
    let content = || fs::read_to_string(pool.path("web/file"));
    let replace = Finish { replace: true, read_only: false };
    let mut new = make("one")?;
    new.set_origin(Origin { reference: Some("a:b".to_owned()), ..Origin::new("pull") });
    let image = new.finish(Finish { read_only: true, ..replace })?;
    assert_eq!((content()?.as_str(), image.kind), ("one", ImageKind::Directory));
    assert_eq!(origin::of(&store, &image).and_then(|origin| origin.reference), Some("a:b".to_owned()));
    let refused = make("two")?.finish(Finish::default()).err().ok_or("replaced")?.to_string();
    assert_eq!(refused, "there is an image \"web\" already");
    let using = spinney::image::lock::lock(&image, spinney::image::lock::Hold::Shared)?;
    let refused = make("two")?.finish(replace).err().ok_or("replaced")?.to_string();
    assert!(refused.starts_with("image \"web\" is in use: "), "{refused}");
    drop(using);
    assert_eq!(pool.entries(), [".#spinney", "web"]);
    // Read-only as it is: who asks for it to be replaced has said so.
    let image = make("two")?.finish(replace)?;
    assert_eq!(content()?, "two");
    assert_eq!(origin::of(&store, &image), None);
    let disk = NewImage::raw(&store, &name)?.finish(replace)?;
    assert_eq!(
        (disk.kind, pool.entries()),
        (ImageKind::Raw, vec![".#spinney".to_owned(), "web.raw".to_owned()])
    );
    drop(make("three")?);
    assert_eq!(pool.entries(), [".#spinney", "web.raw"]);
    Ok(())
}

/// On btrfs directories are subvolumes, which go with those in them.
fn btrfs(context: &Context) -> TestResult {
    let file = context.directory.join("btrfs");
    fs::File::create(&file)?.set_len(128 << 20)?;
    run(Command::new("mkfs.btrfs").arg("-q").arg(&file)).ok()?;
    let device = run(Command::new("losetup").args(["--find", "--show"]).arg(&file)).ok()?.trim().to_owned();
    let pool = Pool::new(context);
    let mounted = mount(device.as_str(), &pool.path, "btrfs", MountFlags::empty(), None);
    run(Command::new("losetup").arg("-d").arg(&device)).ok()?;
    if let Err(errno) = mounted {
        return Err(Stop::Skip(format!("no btrfs: {errno}")));
    }
    let _mounted = Mounted(&pool.path);
    on_btrfs(&pool)
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

fn on_btrfs(pool: &Pool) -> TestResult {
    let (store, name) = (pool.store(), "web".parse()?);
    drop(NewImage::directory(&store, &name)?);
    assert_eq!(pool.entries(), [""; 0]);
    let image = NewImage::directory(&store, &name)?.finish(Finish { replace: false, read_only: true })?;
    assert_eq!(image.kind, ImageKind::Subvolume);
    assert_eq!(store.find(&name)?, image);
    let property =
        |name: &str| run(Command::new("btrfs").args(["property", "get"]).arg(pool.path(name)).arg("ro")).ok();
    assert_eq!(property("web")?, "ro=true\n");
    pool.says(&["read-only", "web", "no"], "image web is writable now");
    assert_eq!(property("web")?, "ro=false\n");
    fs::write(pool.path("web/file"), "")?;
    let inner = pool.path("web/inner");
    run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&inner)).ok()?;
    fs::create_dir(inner.join("directory"))?;
    run(Command::new("btrfs").args(["property", "set"]).arg(&inner).args(["ro", "true"])).ok()?;
    pool.says(&["rename", "web", "db"], "image web is called db now");
    pool.spinney(&["clone", "--read-only", "db", "copy"]).ok()?;
    assert_eq!(property("copy")?, "ro=true\n");
    assert_eq!(
        origin::of(&store, &store.find(&"copy".parse()?)?).and_then(|origin| origin.parent),
        Some("db".into())
    );
    pool.says(&["remove", "-f", "copy"], "removed image copy");
    pool.says(&["read-only", "db"], "image db is read-only now");
    pool.refuses(&["remove", "db"], "image \"db\" is read-only");
    pool.says(&["remove", "-f", "db"], "removed image db");
    let left = run(Command::new("btrfs").args(["subvolume", "list"]).arg(&pool.path)).ok()?;
    assert_eq!(left, "");
    Ok(())
}
