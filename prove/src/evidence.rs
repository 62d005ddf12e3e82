//! Running a command and reading figures out of what it prints.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a command printed, and whether it succeeded.
pub(crate) struct Evidence {
    pub(crate) success: bool,
    pub(crate) stdout: String,
}

impl Evidence {
    /// Runs a command to its end. One that cannot be started has failed and printed nothing.
    pub(crate) fn of(program: &str, arguments: &[&str]) -> Self {
        Self::of_command(Command::new(program).args(arguments))
    }

    fn of_command(command: &mut Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        eprintln!("$ {program} {}", arguments.join(" "));
        match command.stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
            Ok(Output { status, stdout, .. }) => {
                Self { success: status.success(), stdout: String::from_utf8_lossy(&stdout).into_owned() }
            }
            Err(error) => {
                eprintln!("cannot run {program}: {error}");
                Self { success: false, stdout: String::new() }
            }
        }
    }

    /// Runs the tests of a target whose names contain `filter`, in the release profile, showing what they print. Of the
    /// whole workspace, so that everything is compiled once.
    pub(crate) fn of_tests(target: &str, filter: &str) -> Self {
        Self::of_tests_with(target, filter, &[])
    }

    /// The same with these variables in the tests' environment.
    pub(crate) fn of_tests_with(target: &str, filter: &str, environment: &[(&str, &str)]) -> Self {
        let mut arguments = vec!["test", "--release", "--locked", "--workspace", "--test", target];
        arguments.extend(["--", filter, "--nocapture", "--test-threads", "1"]);
        environment.iter().for_each(|(name, value)| eprintln!("{name}={value}"));
        Self::of_command(Command::new("cargo").args(arguments).envs(environment.iter().copied()))
    }

    /// How many tests passed; `None` if one failed or none ran.
    pub(crate) fn tests_passed(&self) -> Option<u64> {
        let passed: u64 = self
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("test result: ok. "))
            .filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok())
            .sum();
        (self.success && passed > 0).then_some(passed)
    }

    /// The number a test printed after `name`; `None` if any of the tests failed.
    pub(crate) fn proven(&self, name: &str) -> Option<f64> {
        self.figure(name).filter(|_| self.success)
    }

    /// The number a test printed on a line of its own after `name`.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        let line = self.stdout.lines().find(|line| line.split(' ').any(|word| word == name))?;
        line.split(' ').skip_while(|word| *word != name).nth(1)?.parse().ok()
    }

    /// The object under `summary` in the last line.
    pub(crate) fn summary(&self) -> Option<Value> {
        let last = self.stdout.lines().rev().find(|line| !line.trim().is_empty())?;
        serde_json::from_str::<Value>(last).ok()?.get("summary").cloned()
    }
}
