# What all test trees have in common; read by images/build-tree before the recipe.
#
# A recipe sets `suite`, `variant` (of mmdebstrap) and `packages`, and may define `customize ROOT`.
# shellcheck shell=bash disable=SC2034,SC2154

variant=minbase

# Runs mmdebstrap by the recipe, into the directory $1.
bootstrap() {
    local options=() option
    # Trees are made in seconds and thrown away whole: no fsync for each file. Nobody reads their manuals.
    for option in force-unsafe-io path-exclude=/usr/share/{doc,man,info,locale,lintian,bug}/\* \
        path-exclude=/usr/share/{bash,zsh}\*completion\*/\* path-exclude=/usr/share/zoneinfo/{right,posix}/\*; do
        options+=("--dpkgopt=$option")
    done
    # Frozen copies of a mirror keep Release files that are past their date.
    options+=('--aptopt=Acquire::Check-Valid-Until "false"' '--aptopt=APT::Install-Recommends "false"')
    mmdebstrap --mode=root --format=directory --variant="$variant" "${options[@]}" \
        --include="$(IFS=, && echo "${packages[*]}")" "$suite" "$1"
}

# Takes this host and this moment out of the tree $1: no two machines may come out as the same one.
seal() {
    rm -rf "$1"/etc/ssh/ssh_host_* "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/var/lib/dbus/machine-id \
        "$1"/var/log/{apt,dpkg.log,bootstrap.log,alternatives.log} "$1"/var/cache/{apt,debconf,ldconfig}/* \
        "$1"/etc/{apt/apt.conf.d,dpkg/dpkg.cfg.d}/99mmdebstrap
    : >"$1/etc/machine-id" # empty, not missing: the init gives itself one at each boot
    : >"$1/etc/fstab"
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' >"$1/etc/hosts"
    # For systemd (ConditionNeedsUpdate=): the packages are configured, and no boot needs to do ldconfig's and sysusers' work again.
    touch -r "$1/usr" "$1/etc/.updated" "$1/var/.updated"
    if [ -e "$1/etc/shadow" ]; then sed -i 's/^root:[^:]*:/root:*:/' "$1/etc/shadow"; fi
}

# Makes the inittab $1 suit a machine without virtual terminals: a login on its console, and none on tty1 to tty6.
login_on_console() {
    sed -i '/:respawn:.*getty.* tty[0-9]/d' "$1"
    echo 'co:2345:respawn:/sbin/agetty --noclear --keep-baud console 115200,38400,9600' >>"$1"
}
