//! What is seen and made of images.

use super::{But, Does, Hide, Step, WORDS, but, does, run};

const TIMES: &[Hide] = &[Hide::Shape("AAA 9999-99-99 99:99:99 AAA"), Hide::Shape("9999999999999999")];

const IMAGE_SHOWN: &[Hide] = &[
    Hide::Shape("AAA 9999-99-99 99:99:99 AAA"),
    Hide::After("Created: "),
    Hide::After("Modified: "),
    Hide::Order,
];

const A_TREE: &str = r#"
mkdir -p $pool/$one/etc $pool/$one/usr
printf 'ID=acme\nPRETTY_NAME="Acme 1"\n' >$pool/$one/etc/os-release
echo 00112233445566778899aabbccddeeff >$pool/$one/etc/machine-id
echo web >$pool/$one/etc/hostname
head -c 65536 /dev/zero | tr '\0' x >$pool/$raw.raw
sync
"#;

/// What is seen and made of images.
#[rustfmt::skip]
pub const IMAGES: &[Step] = &[
    run("none", "
        machinectl list-images
        machinectl list-images --no-legend
    "),
    run("image-status-unknown", "machinectl image-status nobody"),
    run("show-image-unknown", "machinectl show-image nobody"),
    run("clone-unknown", "machinectl clone nobody $two"),
    run("rename-unknown", "machinectl rename nobody $two"),
    run("read-only-unknown", "machinectl read-only nobody"),
    run("remove-unknown", "machinectl remove nobody"),
    run("set-limit-unknown", "machinectl set-limit nobody 1G"),
    run("made", A_TREE),
    run("list", "machinectl list-images").hides(TIMES),
    run("list-bare", "machinectl list-images --no-legend").hides(TIMES),
    run("list-all", "machinectl list-images --all | awk '{ print $1, $2, $3 }'"),
    run("list-json", "machinectl list-images -o json").hides(TIMES),
    run("image-status", "machinectl image-status $one").hides(IMAGE_SHOWN),
    run("image-status-raw", "machinectl image-status $raw").hides(IMAGE_SHOWN),
    run("show-image", "machinectl show-image $one").hides(IMAGE_SHOWN),
    run("show-image-raw", "machinectl show-image $raw").hides(IMAGE_SHOWN),
    run("show-image-property", "
        machinectl show-image $one -p Name -p Type | sort
        machinectl show-image --value -p ReadOnly $one $raw
    "),
    run("show-image-host", "machinectl show-image .host -p Name -p Path -p Type").hides(&[Hide::Order]),
    run("clone", "
        machinectl clone $one $two
        cat $pool/$two/etc/hostname
    "),
    run("clone-raw", "
        machinectl clone $raw $raw2
        cmp $pool/$raw.raw $pool/$raw2.raw
    "),
    run("clone-exists", "machinectl clone $one $two").but(&[
        but("File exists", "there is an image \"two.....................\" already (it is /var/lib/machines/two.....................; give another name, or --force to replace it)", WORDS),
    ]),
    run("clone-bad-name", "
        machinectl clone $one a/b
        machinectl clone $one ''
    "),
    run("clone-hidden", "
        machinectl clone $one .x
        machinectl clean
    ").but(&[but("2| Removed image '.x'\n2| Removed 1 images in total.\n= 0", "2| Could not clone image: Image name '.x' is invalid.\n2| exit status 1\n2| Removed 0 images in total. Total freed exclusive disk space: 0B.\n= 0", "names that begin with a dot are what is being made")]),
    run("clone-read-only", "
        machinectl clone --read-only $one $three
        machinectl show-image $three -p ReadOnly
    "),
    run("rename", "
        machinectl rename $two $four
        machinectl show-image $four -p Name -p Path | sort
    "),
    run("rename-exists", "machinectl rename $four $one").but(&[
        but("File exists", "there is an image \"one.....................\" already (it is /var/lib/machines/one.....................; give another name, or --force to replace it)", WORDS),
    ]),
    run("rename-bad-name", "machinectl rename $four a/b"),
    run("read-only", "
        machinectl read-only $four
        machinectl show-image $four -p ReadOnly
    "),
    run("read-only-not", "
        machinectl read-only $four no
        machinectl show-image $four -p ReadOnly
        machinectl read-only $four perhaps
    "),
    run("read-only-raw", "
        machinectl read-only $raw
        machinectl show-image $raw -p ReadOnly
        stat -c %A $pool/$raw.raw
        machinectl read-only $raw false
    "),
    run("clone-of-read-only", "
        machinectl read-only $four
        machinectl clone $four $two
        machinectl show-image $two -p ReadOnly
    "),
    run("rename-read-only", "
        machinectl rename $four $used
        machinectl rename $used $four
    "),
    run("set-limit", "
        machinectl set-limit $one 1G
        machinectl set-limit $raw 1G
    ").but(&[
        but("Could not set limit: Operation not supported\n2| exit status 1\n2| Could not set limit: Operation not supported", "Could not set limit: Image one..................... cannot be limited\n2| exit status 1\n2| Could not set limit: Image raw..................... cannot be limited", WORDS),
    ]),
    run("set-limit-pool", "machinectl set-limit 1G").but(&[
        but("Quota is only supported on btrfs.", "Images have no limit in common, and get none of 1073741824 bytes.", WORDS),
    ]),
    run("set-limit-bad", "machinectl set-limit $one much"),
    run("set-limit-name", "
        call machine1 SetImageLimit string:$one uint64:1000
        call machine1 SetPoolLimit uint64:1000
    ").but(&[
        but("Operation not supported", "Image one..................... cannot be limited", WORDS),
        but("Quota is only supported on btrfs.", "Images have no limit in common, and get none of 1000 bytes.", WORDS),
    ]),
    run("exists-name", "
        call machine1 CloneImage string:$one string:$two boolean:false
        call machine1 RenameImage string:$one string:$two
    ").but(&[
        but("File exists", "there is an image \"two.....................\" already (it is /var/lib/machines/two.....................; give another name, or --force to replace it)", WORDS),
    ]),
    run("clean", "machinectl clean"),
    run("remove-read-only", "
        machinectl remove $four
        ls $pool/$four
    "),
    run("remove", "
        machinectl remove $two $three nobody
        machinectl list-images --no-legend
    ").hides(TIMES),
    run("clean-all", "machinectl clean --all").hides(&[Hide::Order]),
    run("cleaned", "
        machinectl list-images
        ls $pool
    "),
    run("host-name", "
        call machine1 RemoveImage string:.host
        machinectl remove .host
        machinectl read-only .host
    ").but(&[
        but("Read-only file system", "The host's own tree is no image to be changed", WORDS),
    ]),
];

const USED: &[But] = &[but("Device or resource busy", IN_USE, WORDS)];
const IN_USE: &str = "image \"used....................\" is in use: machine used.................... \
    (end or remove what uses it first)";

/// Images that machines run from.
#[rustfmt::skip]
pub const IMAGES_IN_USE: &[Step] = &[
    run("made", "cp -a $busybox $pool/$used"),
    does(Does::BootImage("used")),
    run("remove", "machinectl remove $used").but(USED),
    run("rename", "machinectl rename $used $two").but(USED),
    run("read-only", "machinectl read-only $used").but(USED),
    run("clone", "machinectl clone $used $two"),
    run("names", "
        call machine1 RemoveImage string:$used
        call machine1 RenameImage string:$used string:$two
        call machine1 CloneImage string:$used string:$three boolean:false
    ").but(USED),
    run("status", "
        machinectl show-image $used -p ReadOnly -p Name | sort
        machinectl show $used -p RootDirectory
    "),
    run("terminate", "machinectl terminate $used"),
    does(Does::Gone("used")),
    run("remove-now", "
        machinectl remove $used
        ls $pool | grep $used
    "),
];
