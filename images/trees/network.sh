# What the trees named *-network have in common: all that may manage a machine's network, none of it enabled, so that a test
# enables what it is about.
# shellcheck shell=bash disable=SC2034

# By the names that all releases of Debian have.
packages=(systemd systemd-sysv dbus libpam-systemd network-manager ifupdown iproute2)

customize() {
    local unit
    for unit in NetworkManager NetworkManager-dispatcher NetworkManager-wait-online networking dhcpcd wpa_supplicant \
        systemd-networkd systemd-networkd-wait-online systemd-resolved; do
        systemctl --quiet --root="$1" disable "$unit.service" || true
    done
}
