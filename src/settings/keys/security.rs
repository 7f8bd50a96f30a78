//! What its processes may do and use: `[security]`, `[resources]`.

use super::key::{BadValue, Key, Kind, NspawnKey, Trust};
use crate::settings::{
    ResourceLimit, SystemCallRule, parse_boolean, parse_capability_list, parse_oom_score_adjust,
};

pub(super) static KEYS: &[Key] = &[
    Key::new("security", "capability", Kind::List, |draft, given| {
        draft.settings.capabilities.add |= capabilities(given.text)?;
        Ok(())
    })
    .option("--capability=")
    .nspawn(&[NspawnKey::new("Exec", "Capability")])
    .trust(Trust::Never)
    .default("none beyond the default set"),
    Key::new("security", "drop-capability", Kind::List, |draft, given| {
        draft.settings.capabilities.drop |= capabilities(given.text)?;
        Ok(())
    })
    .option("--drop-capability=")
    .nspawn(&[NspawnKey::new("Exec", "DropCapability")])
    .default("none of the default set"),
    Key::new("security", "ambient-capability", Kind::List, |draft, given| {
        draft.settings.capabilities.ambient |= capabilities(given.text)?;
        Ok(())
    })
    .option("--ambient-capability=")
    .nspawn(&[NspawnKey::new("Exec", "AmbientCapability")])
    .trust(Trust::Never)
    .default("none"),
    Key::new("security", "no-new-privileges", Kind::Boolean, |draft, given| {
        draft.settings.no_new_privileges = parse_boolean(given.text)?;
        Ok(())
    })
    .option("--no-new-privileges=")
    .nspawn(&[NspawnKey::new("Exec", "NoNewPrivileges")])
    .trust(Trust::OnlyYes)
    .default("no"),
    Key::new("security", "system-call-filter", Kind::List, |draft, given| {
        let rule = given.text.parse::<SystemCallRule>();
        let hint = "a system call by its name in syscalls(2), or a group such as @mount";
        draft.settings.system_calls.push(rule.map_err(|error| BadValue::of_sentence(&error, hint))?);
        Ok(())
    })
    .option("--system-call-filter=")
    .nspawn(&[NspawnKey::new("Exec", "SystemCallFilter")])
    .trust(Trust::OnlyDeny)
    .default("the built-in allow list"),
    Key::new("security", "selinux-context", Kind::Text, |draft, given| {
        draft.settings.selinux_context = Some(given.text.to_owned());
        Ok(())
    })
    .option("--selinux-context=")
    .default("none"),
    Key::new("security", "selinux-apifs-context", Kind::Text, |draft, given| {
        draft.settings.selinux_apifs_context = Some(given.text.to_owned());
        Ok(())
    })
    .option("--selinux-apifs-context=")
    .default("none"),
    Key::new("security", "nesting", Kind::Boolean, |draft, given| {
        draft.settings.nesting = parse_boolean(given.text)?;
        Ok(())
    })
    .option("--nesting=")
    .default("no"),
    Key::new("resources", "rlimit", Kind::Pairs('='), |draft, given| {
        let limit: ResourceLimit = given.text.parse()?;
        draft.settings.rlimits.retain(|earlier| earlier.resource != limit.resource);
        draft.settings.rlimits.push(limit);
        Ok(())
    })
    .option("--rlimit=")
    .nspawn(LIMITS)
    .trust(Trust::Never)
    .default("the supervisor's own"),
    Key::new("resources", "oom-score-adjust", Kind::Number, |draft, given| {
        draft.settings.oom_score_adjust = Some(parse_oom_score_adjust(given.text)?);
        Ok(())
    })
    .option("--oom-score-adjust=")
    .nspawn(&[NspawnKey::new("Exec", "OOMScoreAdjust")])
    .trust(Trust::Never)
    .default("the supervisor's own"),
    Key::new("resources", "cpu-affinity", Kind::Numbers, |draft, given| {
        draft.settings.cpu_affinity = Some(given.text.parse()?);
        Ok(())
    })
    .option("--cpu-affinity=")
    .nspawn(&[NspawnKey::new("Exec", "CPUAffinity")])
    .trust(Trust::Never)
    .default("all CPUs of the supervisor"),
    Key::new("resources", "personality", Kind::Text, |draft, given| {
        draft.settings.personality = Some(given.text.parse()?);
        Ok(())
    })
    .option("--personality=")
    .nspawn(&[NspawnKey::new("Exec", "Personality")])
    .default("this host's architecture"),
];

/// `LimitNOFILE=` and its siblings, each a resource of `rlimit`.
static LIMITS: &[NspawnKey] = &[
    limit("LimitCPU", "CPU="),
    limit("LimitFSIZE", "FSIZE="),
    limit("LimitDATA", "DATA="),
    limit("LimitSTACK", "STACK="),
    limit("LimitCORE", "CORE="),
    limit("LimitRSS", "RSS="),
    limit("LimitNOFILE", "NOFILE="),
    limit("LimitAS", "AS="),
    limit("LimitNPROC", "NPROC="),
    limit("LimitMEMLOCK", "MEMLOCK="),
    limit("LimitLOCKS", "LOCKS="),
    limit("LimitSIGPENDING", "SIGPENDING="),
    limit("LimitMSGQUEUE", "MSGQUEUE="),
    limit("LimitNICE", "NICE="),
    limit("LimitRTPRIO", "RTPRIO="),
    limit("LimitRTTIME", "RTTIME="),
];

const fn limit(name: &'static str, prefix: &'static str) -> NspawnKey {
    NspawnKey { section: "Exec", name, prefix, words: false }
}

fn capabilities(list: &str) -> Result<u64, BadValue> {
    parse_capability_list(list).map_err(|error| BadValue::of_sentence(&error, "--capability=help lists them"))
}
