//! The size of the console's window.

use super::{Answer, Arguments, Context, Fault, Method, done, failed};
use crate::sys::tty::Winsize;

pub(super) const METHOD: Method = Method {
    name: "SetConsoleSize",
    description: "# Sets the size of the console's window. Of several that are attached the last one counts.
method SetConsoleSize(rows: int, columns: int) -> ()",
    streams: false,
    perform,
};

fn perform(context: &mut Context<'_, '_, '_>, mut arguments: Arguments) -> Result<Answer, Fault> {
    let mut size = |name: &str| {
        let number = arguments.parameters.number::<u16>(name)?.filter(|number| *number > 0);
        number.ok_or_else(|| Fault::invalid_parameter(name))
    };
    let (ws_row, ws_col) = (size("rows")?, size("columns")?);
    arguments.parameters.finish()?;
    let Some(console) = &mut context.machine.parts.console else {
        return Err(failed("it has no console", None));
    };
    let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    console.set_size(size).map_err(|error| failed(error.to_string(), None))?;
    Ok(done())
}
