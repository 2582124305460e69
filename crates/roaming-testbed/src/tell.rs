//! Figures of tests that pass.

/// Tells what a test measured, formatted as by `println!`: on standard error and not by printing, of which a test
/// that passes shows nothing.
#[macro_export]
macro_rules! tell {
    ($($figure:tt)*) => {{
        use std::io::Write as _;
        // Where nobody listens the figure is lost, and the test goes on.
        let _ = writeln!(std::io::stderr(), $($figure)*);
    }};
}
