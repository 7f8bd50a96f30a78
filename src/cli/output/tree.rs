//! Trees of processes, drawn as systemctl(1) draws them.

use std::fmt::Write as _;

use crate::machine::process_tree::{CgroupNode, Process, ProcessTree};

/// The lines of `tree`, without its topmost cgroup's name. `leader` is called what it is.
pub fn lines(tree: &ProcessTree, leader: i32) -> Vec<String> {
    let mut lines = Vec::new();
    let width = widest_pid(&tree.root);
    draw(&tree.root, "", width, &mut lines);
    let kept = count(&tree.root);
    if tree.count > kept {
        lines.push(format!("… and {} more", tree.count - kept));
    }
    let marked = format!("─{leader:>width$} ");
    for line in &mut lines {
        if line.contains(&marked) {
            line.push_str(" (leader)");
        }
    }
    lines
}

fn draw(node: &CgroupNode, prefix: &str, width: usize, lines: &mut Vec<String>) {
    let mut left = node.processes.len() + node.children.len();
    let mut branch = || {
        left -= 1;
        if left == 0 { ("└─", "  ") } else { ("├─", "│ ") }
    };
    for Process { pid, name } in &node.processes {
        let (mark, _) = branch();
        lines.push(format!("{prefix}{mark}{pid:>width$} {name}"));
    }
    for child in &node.children {
        let (mark, below) = branch();
        lines.push(format!("{prefix}{mark}{}", child.name));
        let mut deeper = prefix.to_owned();
        // Writing to a String cannot fail.
        let _ = write!(deeper, "{below}");
        draw(child, &deeper, width, lines);
    }
}

/// The most digits of any pid, so that names stand in one column.
fn widest_pid(node: &CgroupNode) -> usize {
    let own = node.processes.iter().map(|process| process.pid.to_string().len()).max().unwrap_or(0);
    node.children.iter().map(widest_pid).max().unwrap_or(0).max(own)
}

fn count(node: &CgroupNode) -> usize {
    node.processes.len() + node.children.iter().map(count).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree() {
        let process = |pid, name: &str| Process { pid, name: name.to_owned() };
        let node = |name: &str, processes: Vec<Process>, children: Vec<CgroupNode>| CgroupNode {
            name: name.to_owned(),
            processes,
            children,
        };
        let ssh = node("ssh.service", vec![process(1200, "sshd")], vec![]);
        let journal = node("systemd-journald.service", vec![process(99, "systemd-journal")], vec![]);
        let root = node(
            "",
            vec![],
            vec![
                node("init.scope", vec![process(98, "systemd")], vec![]),
                node("system.slice", vec![], vec![ssh, journal]),
            ],
        );
        let tree = ProcessTree { root, count: 5 };
        assert_eq!(
            lines(&tree, 98),
            [
                "├─init.scope",
                "│ └─  98 systemd (leader)",
                "└─system.slice",
                "  ├─ssh.service",
                "  │ └─1200 sshd",
                "  └─systemd-journald.service",
                "    └─  99 systemd-journal",
                "… and 2 more",
            ]
        );
        assert_eq!(lines(&ProcessTree::default(), 1), [""; 0]);
    }
}
