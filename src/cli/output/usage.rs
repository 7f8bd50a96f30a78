//! What a machine uses, in words, as systemctl status has it.

use std::time::Duration;

use super::words::{size, span};
use crate::machine::usage::Usage;

/// Labels and values. `oom_kills` is how many of its processes died for want of memory.
pub fn lines(usage: &Usage, oom_kills: u64) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(tasks) = usage.tasks {
        let max = tasks.max.map(|max| format!(" (limit {max})")).unwrap_or_default();
        lines.push(("Tasks", format!("{}{max}", tasks.current)));
    }
    let killed = match oom_kills {
        0 => None,
        1 => Some("1 process was killed for want of it".to_owned()),
        killed => Some(format!("{killed} processes were killed for want of it")),
    };
    if let Some(memory) = usage.memory {
        let more = [
            memory.max.map(|max| format!("limit {}", size(max))),
            memory.peak.map(|peak| format!("peak {}", size(peak))),
            memory.swap.filter(|swap| *swap > 0).map(|swap| format!("swap {}", size(swap))),
            killed,
        ];
        let more: Vec<String> = more.into_iter().flatten().collect();
        let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
        lines.push(("Memory", size(memory.current) + &more));
    } else if let Some(killed) = killed {
        lines.push(("Memory", killed));
    }
    if let Some(cpu) = usage.cpu {
        lines.push(("CPU", span(Duration::from_micros(cpu.microseconds))));
    }
    if let Some(io) = usage.io {
        lines.push(("IO", format!("{} read, {} written", size(io.read_bytes), size(io.written_bytes))));
    }
    if let Some(network) = usage.network.filter(|network| network.received_packets + network.sent_packets > 0)
    {
        let (received, sent) = (size(network.received_bytes), size(network.sent_bytes));
        lines.push(("Network", format!("{received} received, {sent} sent")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::usage::{Cpu, Io, Memory, Network, Tasks};

    #[test]
    fn in_words() {
        let usage = Usage {
            memory: Some(Memory {
                current: 48 << 20,
                peak: Some(64 << 20),
                swap: Some(0),
                max: Some(64 << 20),
            }),
            cpu: Some(Cpu { microseconds: 1_500_000 }),
            io: Some(Io { read_bytes: 4096, written_bytes: 0 }),
            tasks: Some(Tasks { current: 3, max: Some(100) }),
            network: Some(Network { received_packets: 1, received_bytes: 60, ..Network::default() }),
        };
        let text = |usage: &Usage, kills| {
            let lines = lines(usage, kills);
            lines.into_iter().map(|(label, value)| format!("{label}: {value}")).collect::<Vec<_>>()
        };
        let expected = [
            "Tasks: 3 (limit 100)",
            "Memory: 48M (limit 64M, peak 64M, 2 processes were killed for want of it)",
            "CPU: 1s 500ms",
            "IO: 4K read, 0B written",
            "Network: 60B received, 0B sent",
        ];
        assert_eq!(text(&usage, 2), expected);
        assert_eq!(text(&Usage::default(), 0), [""; 0]);
        assert_eq!(text(&Usage::default(), 1), ["Memory: 1 process was killed for want of it"]);
    }
}
