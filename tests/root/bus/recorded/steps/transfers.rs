//! Images that come and go.

use super::{Hide, Step, run};

const AN_ARCHIVE: &str = r#"
mkdir -p $dir/tree/etc $dir/tree/usr
printf 'ID=acme\nPRETTY_NAME="Acme 1"\n' >$dir/tree/etc/os-release
echo web >$dir/tree/etc/hostname
tar -C $dir/tree -cf $dir/a.tar .
gzip -k $dir/a.tar
{ head -c 512 /dev/zero; printf 'EFI PART'; head -c 65016 /dev/zero; } >$dir/a.raw
gzip -k $dir/a.raw
cp $dir/a.tar $dir/a.tar.gz $dir/a.raw $www
"#;

/// Images that come and go.
#[rustfmt::skip]
pub const TRANSFERS: &[Step] = &[
    run("made", AN_ARCHIVE),
    run("none", "
        machinectl list-transfers
        machinectl list-transfers --no-legend
    "),
    run("cancel-unknown", "
        machinectl cancel-transfer 77
        machinectl cancel-transfer x
        machinectl cancel-transfer 0
    "),
    run("import-tar", "
        machinectl import-tar $dir/a.tar $one
        cat $pool/$one/etc/hostname
    "),
    run("import-tar-exists", "machinectl import-tar $dir/a.tar $one"),
    run("import-tar-force", "machinectl import-tar --force $dir/a.tar $one"),
    run("import-tar-read-only", "
        machinectl import-tar --read-only $dir/a.tar.gz $two
        machinectl show-image $two -p ReadOnly
    "),
    run("import-tar-stdin", "
        machinectl import-tar - $three <$dir/a.tar
        machinectl show-image $three -p Type
    "),
    run("import-tar-no-file", "machinectl import-tar $dir/none.tar $four"),
    run("import-tar-no-name", "
        machinectl import-tar - </dev/null
        machinectl import-tar $dir/a.tar a/b
    "),
    run("import-tar-no-archive", "
        head -c 65536 /dev/urandom >$dir/noise
        machinectl import-tar $dir/noise $four
        ls $pool | grep $four
    "),
    run("import-raw", "
        machinectl import-raw $dir/a.raw $raw
        cmp $dir/a.raw $pool/$raw.raw
    "),
    run("import-raw-gz", "
        machinectl import-raw $dir/a.raw.gz $raw2
        cmp $dir/a.raw $pool/$raw2.raw
    "),
    run("import-raw-exists", "machinectl import-raw $dir/a.raw $raw"),
    run("import-fs", "
        machinectl import-fs $dir/tree $four
        cat $pool/$four/etc/hostname
    "),
    run("import-fs-exists", "machinectl import-fs $dir/tree $four"),
    run("import-fs-no-directory", "
        machinectl import-fs $dir/nothing $used
        machinectl import-fs $dir/a.tar $used
    "),
    run("listed", "machinectl list-images --no-legend | awk '{ print $1, $2, $3 }'"),
    run("export-tar", "
        machinectl export-tar $one $dir/out.tar
        tar -tf $dir/out.tar | grep hostname
    "),
    run("export-tar-stdout", "machinectl export-tar $one - | tar -t | grep hostname"),
    run("export-tar-gz", "
        machinectl export-tar $one $dir/out.tar.gz
        gzip -dc <$dir/out.tar.gz | tar -t | grep hostname
        machinectl export-tar --format=gzip $one $dir/out2
        gzip -dc <$dir/out2 | tar -t | grep hostname
    "),
    run("export-bad-format", "machinectl export-tar --format=lha $one $dir/out3"),
    run("export-raw", "
        machinectl export-raw $raw $dir/out.raw
        cmp $dir/a.raw $dir/out.raw
    "),
    run("export-unknown", "
        machinectl export-tar nobody $dir/x.tar
        machinectl export-raw nobody $dir/x.raw
    "),
    run("export-wrong-type", "
        machinectl export-tar $raw $dir/y.tar
        machinectl export-raw $one $dir/y.raw
    "),
    run("pull-tar", "
        machinectl pull-tar --verify=no $url/a.tar $used
        cat $pool/$used/etc/hostname
        machinectl remove $used
    "),
    run("pull-tar-gz", "
        machinectl pull-tar --verify=no $url/a.tar.gz $used
        cat $pool/$used/etc/hostname
    "),
    run("pull-tar-exists", "machinectl pull-tar --verify=no $url/a.tar $used"),
    run("pull-tar-force", "
        cp $www/a.tar $www/again.tar
        machinectl pull-tar --verify=no --force $url/again.tar $used
    "),
    run("pull-raw", "
        machinectl pull-raw --verify=no --force $url/a.raw $raw
        cmp $dir/a.raw $pool/$raw.raw
    "),
    run("pull-missing", "
        machinectl remove $used
        machinectl pull-tar --verify=no $url/none.tar $used
        ls $pool | grep $used
    "),
    run("pull-bad-url", "
        machinectl pull-tar --verify=no ftp://127.0.0.1/a.tar $used
        machinectl pull-tar --verify=no /a.tar $used
        machinectl pull-raw --verify=no x $used
    "),
    run("pull-bad-name", "
        machinectl pull-tar --verify=no $url/a.tar a/b
        machinectl pull-raw --verify=no $url/a.raw ../b
    "),
    run("pull-bad-verify", "machinectl pull-tar --verify=perhaps $url/a.tar $used"),
    run("running", r"
mkfifo $dir/in
machinectl import-tar - $used <$dir/in >$dir/out 2>&1 &
exec 3>$dir/in
until machinectl list-transfers --no-legend | grep -q .; do sleep 0.1; done
machinectl list-transfers
id=$(machinectl list-transfers --no-legend | awk '{ print $1 }')
machinectl cancel-transfer $id
wait $!
echo $?
exec 3>&-
machinectl list-transfers
    ").hides(&[Hide::Shape("9%"), Hide::Shape("n/a")]),
    run("running-pull", r"
machinectl pull-tar --verify=no $url/slow.tar $used >$dir/out 2>&1 &
until machinectl list-transfers --no-legend | grep -q .; do sleep 0.1; done
machinectl list-transfers --no-legend | awk '{ print $1, $3, $4, $5 }'
get import1 ListTransfers | sed 's/ [-+0-9.e]* \(.\/org\)/ PROGRESS \1/'
call import1 PullTar string:$url/slow.tar string:$two string:no boolean:false
machinectl cancel-transfer $(machinectl list-transfers --no-legend | awk '{ print $1 }')
wait $!
echo $?
ls $pool | grep $used
    "),
    run("remove-all", "
        machinectl remove $one $two $three $four $raw $raw2
        machinectl list-images
    "),
];

/// Pulls that are held to checksums and signatures.
#[rustfmt::skip]
pub const VERIFICATION: &[Step] = &[
    run("made", AN_ARCHIVE),
    run("checksum-missing", "
        machinectl pull-tar --verify=checksum $url/a.tar $one
        ls $pool
    "),
    run("checksum", "
        (cd $www && sha256sum a.tar a.raw >SHA256SUMS)
        machinectl pull-tar --verify=checksum $url/a.tar $one
        cat $pool/$one/etc/hostname
    "),
    run("checksum-raw", "
        machinectl pull-raw --verify=checksum $url/a.raw $raw
        cmp $dir/a.raw $pool/$raw.raw
    "),
    run("checksum-beside", "
        rm $www/SHA256SUMS
        (cd $www && cp a.tar c.tar && sha256sum c.tar >c.tar.sha256)
        machinectl pull-tar --verify=checksum $url/c.tar $three
        cat $pool/$three/etc/hostname
    "),
    run("checksum-bad", "
        cp $www/a.tar $www/b.tar
        (cd $www && sha256sum a.raw | sed s/a.raw/b.tar/ >SHA256SUMS)
        machinectl pull-tar --verify=checksum $url/b.tar $two
        ls $pool | grep $two
    "),
    run("checksum-not-listed", "
        cp $www/a.tar $www/d.tar
        machinectl pull-tar --verify=checksum $url/d.tar $two
        ls $pool | grep $two
    "),
    run("signature-missing", "
        machinectl pull-tar $url/b.tar $two
        machinectl pull-tar --verify=signature $url/b.tar $two
        ls $pool | grep $two
    "),
    run("signature", "
        install -D $fixtures/signer.gpg /etc/systemd/import-pubring.gpg
        cp $fixtures/SHA256SUMS* $www
        cp $www/a.raw $www/signed.raw
        machinectl pull-raw --verify=signature $url/signed.raw $raw2
        cmp $dir/a.raw $pool/$raw2.raw
    "),
    run("signature-by-default", "
        mkdir $www/sub
        cp $www/signed.raw $fixtures/SHA256SUMS* $www/sub
        machinectl pull-raw --force $url/sub/signed.raw $raw2
    "),
    run("signature-of-another", "
        cp $www/a.tar $www/e.tar
        (cd $www && sha256sum e.tar >>SHA256SUMS)
        machinectl pull-tar --verify=signature $url/e.tar $two
        ls $pool | grep $two
    "),
    run("signature-without-key", "
        rm /etc/systemd/import-pubring.gpg
        cp $fixtures/SHA256SUMS $www
        cp $www/signed.raw $www/other.raw
        machinectl pull-raw --verify=signature $url/signed.raw $used
        ls $pool | grep $used
    "),
    run("remove", "
        machinectl remove $one $three $raw $raw2
        machinectl list-images
    "),
];
