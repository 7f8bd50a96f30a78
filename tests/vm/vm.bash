# What tests/vm/build and tests/vm/run both know of the VMs of check-vm: which there are, where their disks are kept, how
# qemu starts them.
# shellcheck shell=bash disable=SC2034

vm_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vm_cache=${SPINNEY_CACHE:-/var/cache/spinney}/vm
vm_names=(12 13)

vm_die() {
    echo "${0##*/}: $1" >&2
    [ $# -lt 2 ] || echo "hint: $2" >&2
    exit 1
}

vm_need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || vm_die "$tool is not installed" "tests/setup vm installs what check-vm needs"
    done
}

# Sets what differs between the VMs: `suite`, `kernel` (how its release begins), `recorded`, the version of its systemd, which
# is held to a record, `recorded_filter`, which part of it alone,
# `packaged`, where the package's suite runs without being asked for, with a reboot in its middle, and `fallbacks`, what is taken away for further rounds of the tests that match
# `fallback_filter` (tests/vm/README.md, "Fallbacks").
vm_facts() {
    # All of the root tests would take an emulated processor a quarter of an hour: these are what a kernel, or a systemd on
    # the host, decides.
    default_filters=(matrix:: hosts:: legacy_cgroups:: options::mounts:: options::private options::boot_clock
        kill::busybox::ready kill::busybox::teardown-cgroup limits::memory limits::fork limits::cpu
        limits::disk limits::weights image_disks::verity)
    fallbacks=() fallback_filter=matrix::busybox recorded='' recorded_filter='' packaged=''
    case $1 in
    12)
        suite=bookworm kernel=6.1. recorded=252
        default_filters+=(guest_units::debian-12)
        fallbacks=(sysctl:kernel.unprivileged_userns_clone=0)
        ;;
    13)
        suite=trixie kernel=6.12. recorded=257 recorded_filter=interfaces packaged=yes
        default_filters+=(guest_units::debian-13)
        fallbacks=(sysctl:user.max_time_namespaces=0 property:CapabilityBoundingSet=~CAP_MKNOD)
        ;;
    *) vm_die "there is no VM '$1'" "there are ${vm_names[*]}: Debian's releases" ;;
    esac
}

# The cached disk of the VM $1, whose facts are set, without its ending. Its name has a hash of all that it is made from.
vm_disk() {
    local hash
    hash=$({ echo "$suite" && cat "$vm_dir/build" "$vm_dir"/image/*; } | sha256sum | cut -c 1-16)
    echo "$vm_cache/$1-$hash"
}

# Sets `qemu`, the command that boots the kernel $1 with the kernel arguments $2, the raw disk $3 as root, and $4... beside it.
vm_qemu() {
    local kernel=$1 arguments=$2 root=$3 disk
    local raw=format=raw,if=none,cache=unsafe
    shift 3
    # shellcheck disable=SC2054
    qemu=(
        qemu-system-x86_64 -nodefaults -no-user-config -display none -nic none
        -machine q35 -accel tcg,thread=multi -smp 2 -m 2048
        # TCG of qemu 7.2 leaves garbage in EFLAGS after cmpxchg16b, which the kernel's allocator uses: with TF set by
        # chance that is a #DB or a double fault in kmalloc within seconds. Without cx16 the kernel goes another way.
        -cpu max,-cx16
        -kernel "$kernel"
        -append "root=/dev/nvme0n1 rw console=ttyS0 quiet panic=-1 mitigations=off no_timer_check $arguments"
        # Root on NVMe, since both cloud kernels have its driver and ext4 built in: no initramfs, which is 5 s of a boot
        # under TCG. It stays alone there, since newer kernels name NVMe disks in the order in which they answer.
        -drive "file=$root,id=root,$raw" -device nvme,drive=root,serial=root
    )
    for disk in "$@"; do qemu+=(-drive "file=$disk,id=${disk##*.},$raw" -device "virtio-blk-pci,drive=${disk##*.}"); done
}
