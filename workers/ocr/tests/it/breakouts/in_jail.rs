//! `in-jail CONFIG PROGRAM ARGUMENT…`: enters the jail of the ocr child and becomes another program, as a document would
//! have it that has taken the child over. Only for tests; beside the child's list only that program may be started.

use std::{
    env,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(config), Some(program)) = (arguments.next(), arguments.next()) else { return ExitCode::from(2) };
    let Ok(config) = serde_json::from_str(&config) else { return ExitCode::from(2) };
    let mut jail = ocr::child::jail(&config);
    jail.programs.push(program.clone().into());
    if !jail.enter().is_closed() {
        return ExitCode::from(3);
    }
    // It comes back only when it fails.
    let _failed = Command::new(program).args(arguments).exec();
    ExitCode::from(4)
}
