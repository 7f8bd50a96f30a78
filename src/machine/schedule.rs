//! In which order machines are started that need each other: pure data, driven by who starts them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::settings::MachineName;

/// What a machine's start depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Started with it, and before it; without them it is not started.
    pub requires: Vec<MachineName>,
    /// Started with it, and before it; whatever becomes of them.
    pub wants: Vec<MachineName>,
    /// Before it, if they are started at all.
    pub after: Vec<MachineName>,
    /// How long it waits after all these.
    pub delay: Duration,
}

/// How far a machine of a schedule is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Waiting,
    Running,
    Up,
    Failed,
}

#[derive(Debug, Clone)]
struct Job {
    needs: Needs,
    progress: Progress,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start this one, after its delay.
    Start(MachineName, Duration),
    /// Do not start this one, since that one, which it requires, did not start.
    Skip(MachineName, MachineName),
}

/// Machines that wait for each other in a circle: nobody can be the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("machines wait for each other: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" after "))]
pub struct Cycle(pub Vec<MachineName>);

/// Machines to be started, in the order of their names where nothing else decides.
#[derive(Debug)]
pub struct Schedule {
    jobs: BTreeMap<MachineName, Job>,
}

impl Schedule {
    /// Plans the start of `wanted` and of all that they require or want, as `needs` says for each.
    ///
    /// # Errors
    /// [`Cycle`], and whatever `needs` fails with.
    pub fn new<E: From<Cycle>>(
        wanted: impl IntoIterator<Item = MachineName>,
        mut needs: impl FnMut(&MachineName) -> Result<Needs, E>,
    ) -> Result<Self, E> {
        let mut jobs = BTreeMap::new();
        let mut open: Vec<MachineName> = wanted.into_iter().collect();
        while let Some(name) = open.pop() {
            if jobs.contains_key(&name) {
                continue;
            }
            let needs = needs(&name)?;
            open.extend(needs.requires.iter().chain(&needs.wants).cloned());
            jobs.insert(name, Job { needs, progress: Progress::Waiting });
        }
        let schedule = Self { jobs };
        match schedule.cycle() {
            Some(cycle) => Err(Cycle(cycle).into()),
            None => Ok(schedule),
        }
    }

    /// All that can be done now. What is to be started counts as started; what is skipped, as failed.
    pub fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        // A machine that is skipped has those that require it skipped too.
        while let Some((name, missing)) = self.skippable() {
            self.set(&name, Progress::Failed);
            steps.push(Step::Skip(name, missing));
        }
        let due: Vec<MachineName> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.progress == Progress::Waiting)
            .filter(|(_, job)| self.befores(job).all(|before| self.is_over(before)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.set(&name, Progress::Running);
            let delay = self.jobs.get(&name).map_or(Duration::ZERO, |job| job.needs.delay);
            steps.push(Step::Start(name, delay));
        }
        steps
    }

    /// Notes that the start of `name` is over.
    pub fn finished(&mut self, name: &MachineName, up: bool) {
        self.set(name, if up { Progress::Up } else { Progress::Failed });
    }

    /// Those whose start was not begun.
    pub fn waiting(&self) -> Vec<MachineName> {
        let waiting = self.jobs.iter().filter(|(_, job)| job.progress == Progress::Waiting);
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// Whether nothing is left to be started or waited for.
    pub fn is_done(&self) -> bool {
        self.jobs.values().all(|job| matches!(job.progress, Progress::Up | Progress::Failed))
    }

    fn set(&mut self, name: &MachineName, progress: Progress) {
        if let Some(job) = self.jobs.get_mut(name) {
            job.progress = progress;
        }
    }

    fn skippable(&self) -> Option<(MachineName, MachineName)> {
        let failed =
            |name: &&MachineName| self.jobs.get(*name).is_some_and(|job| job.progress == Progress::Failed);
        self.jobs.iter().filter(|(_, job)| job.progress == Progress::Waiting).find_map(|(name, job)| {
            let missing = job.needs.requires.iter().find(failed)?;
            Some((name.clone(), missing.clone()))
        })
    }

    /// What must be over before `job`, as far as it is started at all.
    fn befores<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = &'a MachineName> {
        let needs = &job.needs;
        needs
            .requires
            .iter()
            .chain(&needs.wants)
            .chain(&needs.after)
            .filter(|name| self.jobs.contains_key(*name))
    }

    fn is_over(&self, name: &MachineName) -> bool {
        self.jobs.get(name).is_none_or(|job| matches!(job.progress, Progress::Up | Progress::Failed))
    }

    /// A circle among the machines, from one that waits to itself.
    fn cycle(&self) -> Option<Vec<MachineName>> {
        // What waits for nothing that is left cannot be in a circle: taken away until nothing can be.
        let mut left: BTreeMap<&MachineName, &Job> = self.jobs.iter().collect();
        loop {
            let free: Vec<&MachineName> = left
                .iter()
                .filter(|(_, job)| self.befores(job).all(|before| !left.contains_key(before)))
                .map(|(name, _)| *name)
                .collect();
            if free.is_empty() {
                break;
            }
            left.retain(|name, _| !free.contains(name));
        }
        // Each one that is left waits for another that is left: going on, one comes round.
        let mut path: Vec<&MachineName> = vec![left.keys().next()?];
        loop {
            let job = left.get(path.last()?)?;
            let next = self.befores(job).find(|before| left.contains_key(before))?;
            if let Some(at) = path.iter().position(|name| *name == next) {
                let circle = path.iter().skip(at).chain([&next]);
                return Some(circle.map(|name| (*name).clone()).collect());
            }
            path.push(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MachineName {
        text.parse().expect("a name")
    }

    /// `a r:b,c w:d a:e`: a requires b and c, wants d, and comes after e.
    fn schedule(wanted: &str, lines: &[&str]) -> Result<Schedule, Cycle> {
        let mut all = BTreeMap::new();
        for line in lines {
            let mut words = line.split(' ');
            let machine = name(words.next().expect("a name"));
            let mut needs = Needs::default();
            for word in words {
                let (kind, names) = word.split_once(':').expect("a kind");
                let names: Vec<MachineName> = names.split(',').map(name).collect();
                match kind {
                    "r" => needs.requires = names,
                    "w" => needs.wants = names,
                    _ => needs.after = names,
                }
            }
            all.insert(machine, needs);
        }
        Schedule::new(wanted.split(' ').map(name), |name| Ok(all.get(name).cloned().unwrap_or_default()))
    }

    /// Runs a schedule in which those of `failing` fail; gives what was done, wave by wave.
    fn run(wanted: &str, lines: &[&str], failing: &[&str]) -> String {
        let mut schedule = match schedule(wanted, lines) {
            Ok(schedule) => schedule,
            Err(cycle) => return cycle.to_string(),
        };
        let mut waves = Vec::new();
        while !schedule.is_done() {
            let steps = schedule.steps();
            assert!(!steps.is_empty(), "stuck after {waves:?}");
            let words: Vec<String> = steps
                .iter()
                .map(|step| match step {
                    Step::Start(name, _) => name.to_string(),
                    Step::Skip(name, missing) => format!("-{name}({missing})"),
                })
                .collect();
            waves.push(words.join(" "));
            for step in steps {
                if let Step::Start(name, _) = step {
                    schedule.finished(&name, !failing.contains(&name.as_str()));
                }
            }
        }
        waves.join(" | ")
    }

    #[test]
    fn orders() {
        type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a str);
        let rows: &[Row<'_>] = &[
            ("a b c", &[], &[], "a b c"),
            ("a b", &["a a:b"], &[], "b | a"),
            ("a", &["a a:b"], &[], "a"),
            ("a", &["a r:b", "b r:c"], &[], "c | b | a"),
            ("a", &["a w:b"], &["b"], "b | a"),
            ("a", &["a r:b"], &["b"], "b | -a(b)"),
            ("a d", &["a r:b", "b r:c"], &["c"], "c d | -b(c) -a(b)"),
            ("a b c d", &["b r:a", "c r:a", "d r:b,c"], &[], "a | b c | d"),
            ("a b c d", &["b r:a", "c r:a", "d r:b,c"], &["c"], "a | b c | -d(c)"),
            ("a b", &["b a:a"], &["a"], "a | b"),
            ("a b", &["a a:b", "b a:a"], &[], "machines wait for each other: a after b after a"),
            // c is not started, so that its circle is none.
            ("x", &["x r:a", "a w:b", "b a:c", "c r:a"], &[], "b | a | x"),
            (
                "x c",
                &["x r:a", "a w:b", "b a:c", "c r:a"],
                &[],
                "machines wait for each other: a after b after c after a",
            ),
            ("a", &["a a:a"], &[], "machines wait for each other: a after a"),
        ];
        for (wanted, lines, failing, expected) in rows {
            assert_eq!(run(wanted, lines, failing), *expected, "{wanted} {lines:?} {failing:?}");
        }
    }

    #[test]
    fn delays_come_with_the_start() {
        let needs = Needs { delay: Duration::from_secs(3), ..Needs::default() };
        let mut schedule = Schedule::new([name("a")], |_| Ok::<_, Cycle>(needs.clone())).expect("no cycle");
        assert_eq!(schedule.steps(), [Step::Start(name("a"), Duration::from_secs(3))]);
        assert_eq!((schedule.steps(), schedule.is_done()), (vec![], false));
        schedule.finished(&name("a"), true);
        assert!(schedule.is_done());
    }
}
