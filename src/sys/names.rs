//! Which modules of glibc's name service switch look up the names of hosts in our own process (nss(5)).

/// Keeps a program that is linked statically from loading modules of the host's C library: those of nsswitch.conf(5) are
/// for the version of glibc that they came with, and another one aborts, or crashes, at the first name. Files and DNS are
/// built in (glibc 2.34). Says whether that was needed.
pub fn use_own_modules_for_hosts() -> bool {
    // Who has no dynamic linker is linked statically (getauxval(3), AT_BASE).
    // SAFETY: a call without pointers.
    let is_static = unsafe { libc::getauxval(libc::AT_BASE) } == 0;
    #[cfg(target_env = "gnu")]
    if is_static {
        unsafe extern "C" {
            fn __nss_configure_lookup(
                database: *const libc::c_char,
                services: *const libc::c_char,
            ) -> libc::c_int;
        }
        // SAFETY: both are strings that end with NUL and live for ever; glibc copies what it keeps. It takes its own lock.
        unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    }
    is_static
}
